"""What is remembered about jobs: which have ended, and how often workers have begun with one.

A job is published again for each further attempt, as its next turn.
"""

from __future__ import annotations

from ..delivery.memory import Memory

MAX_EXECUTIONS = 4
"""The last of so many executions that began without an end gives the job up."""


class Executions:
    """Those of one job, which is in one of its turns.

    ``seconds`` is how long they are remembered.
    """

    def __init__(
        self, job_id: str, turn: int, seconds: float, memory: Memory | None = None
    ) -> None:
        self.turn = turn
        self.seconds = seconds
        self.memory = memory or Memory()
        self._key = f"anymail.job.{job_id}"
        self._number = 0

    @property
    def is_known(self) -> bool:
        """Whether this process, or another one that shares its memory, has had the job before."""
        return self._record() is not None

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, or a later turn of it was published.

        Then it must not be run: it is a copy.
        """
        record = self._record()
        return record is not None and (record < 0 or record > self.turn)

    def _record(self) -> int | None:
        # The turn that was published last; negative if it has ended.
        record: int | None = self.memory.get(self._key)
        return record

    def begin(self) -> int:
        """Note that an execution begins. Returns how many have begun that did not end, with it.

        Those of all turns.
        """
        if not self.memory.is_shared:
            # For this process to know that it's the one which had the job before.
            self.note_turn(self.turn)
        for number in range(1, MAX_EXECUTIONS):
            if self.memory.add(self._slot(number), True, self.seconds):
                self._number = number
                return number
        return MAX_EXECUTIONS

    def end(self) -> None:
        """Note that the execution has come to its end, whatever becomes of the job."""
        if self._number:
            self.memory.delete(self._slot(self._number))

    def note_turn(self, turn: int) -> None:
        """Note that the job was published for a turn. (Not before: nobody would run this one.)"""
        if not self.is_over:
            self.memory.set(self._key, turn, self.seconds)

    def note_end(self) -> None:
        """Note that nothing more is to be done about the job."""
        self.memory.set(self._key, -1, self.seconds)

    def _slot(self, number: int) -> str:
        return f"{self._key}.{number}"
