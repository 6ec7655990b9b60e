"""A process is its id and its start: what has ended, or is somebody else by now, is left alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storefleet.process_identity import ProcessIdentity, end_all, identify, start_time

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes that sleep; all are ended after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(program: bytes = os.fsencode(shutil.which("sleep") or "/bin/sleep")) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([program, b"60"]))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_a_living_process(start: Start) -> None:
    """A running process is identified, and stays the same for as long as it runs."""
    identity = identify(start().pid)
    assert identity.started
    assert identity.alive()
    assert identify(identity.process_id) == identity
    assert identify(os.getpid()).alive()


def test_what_has_ended(start: Start) -> None:
    """A process that has ended is not alive, as a zombie already, and takes no signal."""
    process = start()
    identity = identify(process.pid)
    assert end_all([identity]) == [identity]
    assert not identity.alive()
    assert start_time(process.pid) is None
    process.wait()
    assert not identity.alive()
    assert not identity.signal(signal.SIGTERM)
    assert end_all([identity]) == []


def test_somebody_else_with_the_same_id(start: Start) -> None:
    """A process of the same id that began at another time is left alone."""
    process = start()
    for stranger in (ProcessIdentity(process.pid, "1"), ProcessIdentity(process.pid, "")):
        assert not stranger.alive()
        assert not stranger.signal(signal.SIGKILL)
        assert end_all([stranger]) == []
    assert process.poll() is None


def test_a_stopped_process_is_ended_too(start: Start) -> None:
    """A process that was paused is alive, and is ended like any other; all are ended together."""
    processes = [start() for _ in range(3)]
    identities = [identify(process.pid) for process in processes]
    assert identities[0].signal(signal.SIGSTOP)
    assert identities[0].alive()
    assert end_all(identities) == identities
    assert [process.wait() for process in processes] == [-signal.SIGKILL] * 3


def test_nobody() -> None:
    """Where there is no process there is no identity that is alive."""
    assert identify(2**22 + 1) == ProcessIdentity(2**22 + 1, "")
    assert not identify(2**22 + 1).alive()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are UTF-8 elsewhere")
@pytest.mark.parametrize("name", [b"a) R 1 (b", b"\xff\xfe", b"new\nline"])
def test_any_name(start: Start, tmp_path: Path, name: bytes) -> None:
    """Whatever bytes a process has for its name, it is identified."""
    program = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - a Path holds no such bytes
    shutil.copy(shutil.which("sleep") or "/bin/sleep", os.fsdecode(program))
    identity = identify(start(program).pid)
    assert identity.started.isdigit()
    assert identity.alive()


def test_what_a_process_started_ends_with_it() -> None:
    """A shell's own child is ended with the shell, and also when the shell is gone already."""
    for kill_shell_first in (False, True):
        shell = subprocess.Popen(
            ["/bin/sh", "-c", "sleep 60 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
        )
        assert shell.stdout is not None
        child = identify(int(shell.stdout.readline()))
        leader = identify(shell.pid)
        assert child.alive()
        if kill_shell_first:
            shell.kill()
            shell.wait()
        end_all([leader])
        deadline_s = time.monotonic() + 40.0
        while child.alive() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert not child.alive()
        shell.kill()
        shell.wait()
        shell.stdout.close()
