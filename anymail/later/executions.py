"""What is remembered about jobs: which have ended, and how often workers have begun with one.

A job is published again for each further attempt, as its next turn.
"""

from __future__ import annotations

from ..delivery.memory import Memory

MAX_EXECUTIONS = 4
"""The last of so many executions that began without an end gives the job up."""


_FIRST = 0
"""The record of a job that was published once, and which a worker has begun with."""


class Executions:
    """Those of one job, which is in one of its turns.

    ``seconds`` is how long they are remembered.

    There is a record of each job: _FIRST, or the turn that was published last, or a negative number
    if it has ended. Each execution that has begun, and not ended, has a slot. (The first one has
    the record for that: most jobs are run once, and the cache is called as little as possible.)
    """

    def __init__(
        self, job_id: str, turn: int, seconds: float, memory: Memory | None = None
    ) -> None:
        self.turn = turn
        self.seconds = seconds
        self.memory = memory or Memory()
        self._key = f"anymail.job.{job_id}"
        self._number = 0
        self._record_says: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether this process, or another one that shares its memory, has had the job before."""
        return self._record() is not None

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, or a later turn of it was published.

        Then it must not be run: it is a copy.
        """
        return self._ends(self._record())

    def _record(self) -> int | None:
        record: int | None = self.memory.get(self._key)
        return record

    def _ends(self, record: int | None) -> bool:
        return record is not None and (record < 0 or record > self.turn)

    def begin(self) -> int | None:
        """Note that an execution begins. Returns how many have begun that did not end, with it.

        Those of all turns. None if the job is a copy, see :attr:`is_over`.
        """
        if self.memory.add(self._key, _FIRST, self.seconds):
            self._number, self._record_says = 1, _FIRST
            return self._number
        record = self._record()
        if self._ends(record):
            return None
        if record == _FIRST:
            self.memory.add(self._slot(1), True, self.seconds)
        for number in range(1, MAX_EXECUTIONS):
            if self.memory.add(self._slot(number), True, self.seconds):
                self._number = number
                return number
        return MAX_EXECUTIONS

    def end(self) -> None:
        """Note that the execution has come to its end, whatever becomes of the job."""
        if self._record_says is not None and self._record_says < 0:
            return  # Of a job that has ended, nobody counts them.
        if self._record_says == _FIRST:
            self.note_turn(self.turn)
        if self._number:
            self.memory.delete(self._slot(self._number))

    def note_turn(self, turn: int) -> None:
        """Note that the job was published for a turn. (Not before: nobody would run this one.)"""
        if not self.is_over:
            self._note(turn)

    def note_end(self) -> None:
        """Note that nothing more is to be done about the job."""
        self._note(-1)

    def _note(self, record: int) -> None:
        self.memory.set(self._key, record, self.seconds)
        self._record_says = record

    def _slot(self, number: int) -> str:
        return f"{self._key}.{number}"
