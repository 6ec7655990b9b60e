"""A process that somebody stops is noted, also while it still stands, and one that runs is not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefleet.observatory import Observatory
from storefleet.process_identity import identify
from storefleet.processes import Child
from storefleet.stopped_processes import StoppedProcesses
from tests.lab.command_line import until
from tests.storefleet_units.noted import Noted


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as process:
        yield process
        process.kill()


def test_a_stop_is_noted_piece_by_piece(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """Each full second of a stop at once, and the rest when it is over; a short one not at all. The log has it once."""
    now_ms = [10_000]
    noted = Noted()
    observatory = Observatory(tmp_path / "witnesses.jsonl", note=noted.note)
    child = Child(name="broker-1", command=["x"], environment=lambda _: {}, log_file=tmp_path / "log")
    child.identity = identify(sleeper.pid)
    watch = StoppedProcesses(observatory, {"broker-1": child}, lambda: now_ms[0])

    def look(at_ms: int, number: signal.Signals | None = None) -> list[tuple[int, float]]:
        if number is not None:
            os.kill(sleeper.pid, number)
            wanted = "T" if number == signal.SIGSTOP else "S"
            stat = Path(f"/proc/{sleeper.pid}/stat")
            until(
                lambda: stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] == wanted, "the signal arrives"
            )
        now_ms[0] = at_ms
        watch.look()
        return [(stall.at_ms, stall.duration_ms) for stall in observatory.stalls]

    assert (look(10_000), watch.stopped_s("broker-1")) == ([], None)
    assert look(10_200, signal.SIGSTOP) == []
    assert look(10_600, signal.SIGCONT) == [], "shorter than counts"
    assert look(11_000, signal.SIGSTOP) == []
    assert look(12_100) == [(11_000, 1_100)]
    now_ms[0] = 12_350
    assert watch.stopped_s("broker-1") == 1.35, "since it was seen to be, however it is noted"
    assert look(12_700, signal.SIGCONT) == [(11_000, 1_100), (12_100, 600)]
    assert watch.stopped_s("broker-1") is None
    assert noted.rows == [("stopped", "broker-1", "", 11_000), ("running", "broker-1", "after 1.7 s", 12_700)]
    observatory.close()
