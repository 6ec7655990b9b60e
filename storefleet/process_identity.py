"""A process is its id plus its start time: an id alone may long belong to somebody else.

What a crash left behind is ended by this pair and never by name or pattern.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from signal import Signals
from typing import NamedTuple


class ProcessIdentity(NamedTuple):
    """Start time is an opaque text: the kernel's clock ticks on Linux, ``ps`` elsewhere."""

    process_id: int
    started: str

    def alive(self) -> bool:
        """Whether exactly this process still runs (a zombie does not)."""
        return start_time(self.process_id) == self.started

    def signal(self, number: Signals) -> bool:
        """Send it a signal; False when it is gone."""
        if not self.alive():
            return False
        try:
            os.kill(self.process_id, number)
        except ProcessLookupError:
            return False
        return True

    def signal_group(self, number: Signals) -> None:
        """Signal it and, when it leads a group as every child of a lab does, all that it started.

        A group outlives its leader, and no new process gets the leader's id meanwhile: so a process of that id with
        another start time is somebody else's, and none at all means that only the rest of the group may be left.
        """
        found = start_time(self.process_id)
        if found not in (None, self.started):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if found is None or os.getpgid(self.process_id) == self.process_id:
                os.killpg(self.process_id, number)
            else:
                os.kill(self.process_id, number)


def identify(process_id: int) -> ProcessIdentity:
    """The identity of a running process; its start time is empty when it is gone already."""
    return ProcessIdentity(process_id, start_time(process_id) or "")


def start_time(process_id: int) -> str | None:
    """When a process began; None when there is none (or only its zombie)."""
    if Path("/proc/self/stat").exists():
        try:
            fields = Path(f"/proc/{process_id}/stat").read_bytes().rpartition(b")")[2].decode().split()
        except OSError:
            return None
        return None if fields[0] in ("Z", "X") else fields[19]
    return _told_by_ps(process_id)


def _told_by_ps(process_id: int) -> str | None:
    """The same words for the same process, whatever time zone and language whoever asks has."""
    found = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(process_id)],
        env={**os.environ, "TZ": "UTC0", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    status, _, started = found.stdout.strip().partition(" ")
    return None if found.returncode or status.startswith("Z") else started.strip()


def end_all(identities: list[ProcessIdentity], *, timeout_s: float = 2.0) -> list[ProcessIdentity]:
    """SIGKILL every one that still runs, with all that it started, and wait; returns those that were alive."""
    alive = [identity for identity in identities if identity.alive()]
    for identity in identities:
        if identity.started:
            identity.signal_group(signal.SIGKILL)
    deadline = time.monotonic() + timeout_s
    while any(identity.alive() for identity in alive) and time.monotonic() < deadline:
        time.sleep(0.01)
    return alive
