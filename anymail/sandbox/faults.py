"""What goes wrong at providers, on request: see :meth:`anymail.sandbox.Sandbox.fail_next`."""

from __future__ import annotations

import random
import re
import threading
from dataclasses import dataclass

PROBLEMS = ("message", "unsuitable", "account", "busy", "unreachable", "unclear")
"""As ``anymail.exceptions.Problem`` has them."""

REFUSALS = ("message", "unsuitable", "account", "busy")
"""Those that a provider answers with an error. The others are about the connection."""

_DEFAULT_OUTAGE = 5.0


@dataclass
class Fault:
    """Something that goes wrong.

    - ``problem``: one of PROBLEMS
    - ``seconds``: of "busy", when the provider asks to come back; of "unreachable", how long
    - ``calls``: how many calls it concerns; None if a share of them
    - ``share``: the chance of each call, 0 to 1
    - ``provider``: whose calls; None for any provider's
    """

    problem: str
    seconds: float | None = None
    calls: int | None = 1
    share: float = 1
    provider: str | None = None

    def __post_init__(self) -> None:
        if self.problem not in PROBLEMS:
            raise ValueError(f"The problem must be one of {', '.join(PROBLEMS)}")
        if self.problem == "unreachable" and self.seconds is None:
            self.seconds = _DEFAULT_OUTAGE


_SPECIFICATION = re.compile(
    r"(?:(?P<provider>[a-z0-9_-]+)=)?(?P<problem>[a-z]+)(?::(?P<seconds>[0-9.]+))?"
    r"(?:x(?P<calls>[0-9]+)|@(?P<share>[0-9.]+)%)?"
)


def parse_fault(text: str) -> Fault:
    """Return a fault from text such as "busy:3", "postmark=unclear", "accountx5", "message@20%".

    Raises ValueError.
    """
    match = _SPECIFICATION.fullmatch(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no fault: [PROVIDER=]PROBLEM[:SECONDS][xCALLS or @SHARE%], such as "
            "busy:3, postmark=accountx5 or unclear@20%"
        )
    share = None if match["share"] is None else float(match["share"]) / 100
    return Fault(
        match["problem"],
        seconds=None if match["seconds"] is None else float(match["seconds"]),
        calls=int(match["calls"] or 1) if share is None else None,
        share=1 if share is None else share,
        provider=match["provider"] and match["provider"].replace("-", "_"),
    )


class Faults:
    """The faults to come. It can be used from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self.random = random.Random()  # noqa: S311 (whose mail fails is no secret)

    def add(self, fault: Fault) -> None:
        """Have it happen, after those that are there already."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """Have nothing go wrong any more."""
        with self._lock:
            self._faults.clear()

    def next(self, provider: str) -> Fault | None:
        """Return what goes wrong with the next call of a provider's API, if anything."""
        with self._lock:
            for fault in self._faults:
                if fault.provider not in (None, provider):
                    continue
                if fault.calls is None:
                    if self.random.random() < fault.share:
                        return fault
                    continue
                fault.calls -= 1
                if fault.calls == 0:
                    self._faults.remove(fault)
                return fault
        return None
