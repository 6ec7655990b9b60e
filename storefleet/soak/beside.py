"""What runs beside a lab and belongs to no lab: loops that take the machine's time, and a probe that tells when it stood.

The probe is a process of its own that only sleeps: where it wakes far too late, the machine gave nobody time. Both end with
whoever started them, in order or not.

    python -P -m storefleet.soak.beside      the probe: a line of unix milliseconds, from and until, for every standstill
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple, Self

from storefleet.own_python import own_process

NAP_S: Final = 0.05
STANDSTILL_S: Final = 0.5
"""The lab notes its own from the same length on (:attr:`storefleet.observatory.Observatory.STALL_FLOOR_MS`)."""
LOOPS_A_CORE: Final = 2
END_S: Final = 5.0

_BUSY: Final = """
import os
parent = os.getppid()
while os.getppid() == parent:
    for _ in range(200_000):
        pass
"""


class Standstill(NamedTuple):
    """A time in which the machine gave the probe no time; unix milliseconds."""

    from_ms: int
    until_ms: int

    def overlaps(self, from_ms: float, until_ms: float) -> bool:
        """Whether it has a moment in common with that time."""
        return self.from_ms <= until_ms and from_ms <= self.until_ms


class Beside:
    """The probe, and ``loops`` busy loops while they are wanted; use it as ``with Beside() as beside``."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._loops: list[subprocess.Popen[bytes]] = []
        self._folder = tempfile.TemporaryDirectory(prefix="storefleet-beside-", ignore_cleanup_errors=True)
        self._seen = Path(self._folder.name) / "standstills"

    def __enter__(self) -> Self:
        with self._seen.open("wb") as seen:
            own = own_process("storefleet.soak.beside")
            self._processes.append(
                subprocess.Popen(
                    own.command, env=own.environment, stdin=subprocess.DEVNULL, stdout=seen, start_new_session=True
                )
            )
        return self

    def __exit__(self, *_: object) -> None:
        self.quiet()
        _end(self._processes)
        self._folder.cleanup()

    def busy(self) -> int:
        """Begin to take all of the machine's time, twice over; returns by how many loops."""
        for _ in range(LOOPS_A_CORE * len(os.sched_getaffinity(0)) - len(self._loops)):
            self._loops.append(
                subprocess.Popen([sys.executable, "-I", "-c", _BUSY], stdin=subprocess.DEVNULL, start_new_session=True)
            )
        return len(self._loops)

    def quiet(self) -> None:
        """End the loops."""
        _end(self._loops)

    def standstills(self) -> list[Standstill]:
        """All that the probe has seen so far."""
        return read_standstills(self._seen.read_text(encoding="ascii"))


def read_standstills(text: str) -> list[Standstill]:
    """What the probe has written; a last line that is not whole yet comes the next time."""
    lines = text.split("\n")[:-1]
    return [Standstill(*map(int, line.split())) for line in lines]


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Each by its own id; none of them has anything to finish."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait(END_S)
    processes.clear()


def standstills_of(naps: Iterable[tuple[float, float]]) -> Iterable[Standstill]:
    """From (seconds that a nap took, unix time at its end): those that took far too long."""
    for took_s, woke_s in naps:
        late_s = took_s - NAP_S
        if late_s > STANDSTILL_S:
            yield Standstill(round((woke_s - late_s) * 1000), round(woke_s * 1000))


def _naps() -> Iterable[tuple[float, float]]:
    """Until whoever started us is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        before_s = time.monotonic()
        time.sleep(NAP_S)
        yield time.monotonic() - before_s, time.time()


def main() -> None:
    """Watch until nobody wants it any more."""
    for one in standstills_of(_naps()):
        sys.stdout.write(f"{one.from_ms} {one.until_ms}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
