"""Commands that only ask end at the first signal, in one line, with 130, whatever they wait for."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.endings.ended import hears, piped, read_line, without_asides
from tests.lab.command_line import DEADLINE_S, CommandLine, Lab, read_verdict, until

AT_ONCE_S = 5.0
"""A second, and four for a machine that does other things, too."""


@contextmanager
def standing_still(lab: Lab) -> Iterator[None]:
    """The lab's own process answers nobody."""
    process = lab.identities()["lab"]
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.signal(signal.SIGCONT)


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """Send a signal; the exit status and the rest of standard error."""
    began_s = time.monotonic()
    process.send_signal(number)
    assert process.stderr is not None
    said = process.stderr.read()
    status = process.wait(DEADLINE_S)
    assert time.monotonic() - began_s < AT_ONCE_S
    return status, without_asides(said)


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        (("status",), signal.SIGINT),
        (("wait", "--ready"), signal.SIGTERM),
        (("trace", "--last"), signal.SIGHUP),
        (("trade", "--rate", "20/s"), signal.SIGTERM),
    ],
)
def test_a_lab_that_does_not_answer(lab: Lab, asked: tuple[object, ...], number: signal.Signals) -> None:
    """Within 3 s the command says that it waits, and a signal ends it; the lab does not notice."""
    with standing_still(lab), piped(lab.command_line, *asked) as process:
        assert read_line(process, "at work for" if asked[0] != "wait" else "lab: no answer yet; at most ")
        status, said = stop(process, number)
    assert (status, said.splitlines()[-1]) == (130, "storefleet: stopped")
    lab.command_line.run("wait", "--ready")


@pytest.mark.parametrize(
    ("topic_filter", "number"),
    [((), signal.SIGINT), ((), signal.SIGTERM), ((), signal.SIGHUP), (("no/such/topic/#",), signal.SIGINT)],
)
def test_tail(lab: Lab, number: signal.Signals, topic_filter: tuple[str, ...]) -> None:
    """While lines flow, and while none does."""
    with piped(lab.command_line, "tail", *topic_filter) as process:
        assert process.stdout is not None
        if topic_filter:
            assert lab.description["topic_root"] + "/" in read_line(process, "no message of filter 'no/such/topic/#'")
        else:
            process.stdout.readline()
        assert stop(process, number) == (130, "storefleet: stopped\n")


def test_tail_whose_reader_stands_still(lab: Lab) -> None:
    """Its pipe is full, so that it waits in the midst of a write."""
    lab.command_line.run("trade", "--burst", 500)
    with piped(lab.command_line, "tail") as process:
        waits = f"/proc/{process.pid}/wchan"
        until(lambda: "pipe" in _read(waits), "it waits for its reader")
        process.send_signal(signal.SIGTERM)
        assert process.wait(AT_ONCE_S) == 130


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return file.read()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("up", "--stores", 2), 2, "stopped before anything began"),
        (("verdict", "/no/such/run"), 130, "stopped"),
        (("--help",), 130, "stopped"),
    ],
)
def test_before_the_imports_are_done(
    command_line: CommandLine, words: tuple[object, ...], status: int, said: str
) -> None:
    """As soon as there is a handler, long before the command's own code is loaded."""
    with piped(command_line, *words) as process:
        until(lambda: hears(process.pid, signal.SIGTERM), "it hears signals")
        assert stop(process, signal.SIGTERM) == (status, f"storefleet: {said}\n")
    assert not command_line.runs.is_dir() or all(folder.name.endswith("-lab") for folder in command_line.runs.iterdir())


def test_a_hang_up_that_is_ignored(lab: Lab) -> None:
    """As under nohup: the terminal may be closed."""
    words = ["nohup", *lab.command_line._words(("tail", "--count", 200))]
    with subprocess.Popen(
        words, cwd=lab.command_line.folder, env=lab.command_line.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        assert len(process.stdout.readlines()) == 199
        assert process.wait(DEADLINE_S) == 0


def test_down_is_heard_and_may_be_left(lab: Lab) -> None:
    """The last test of this lab: one signal is acknowledged, a second one ends the waiting; the lab is judged anyway."""
    parm = lab.identities()["parm-1"]
    parm.signal(signal.SIGSTOP)
    with piped(lab.command_line, "down") as process:
        read_line(process, "at most ")
        process.send_signal(signal.SIGINT)
        read_line(process, "stopping: lab lab drains already")
        read_line(process, "events have no outcome; at most ")
        status, said = stop(process, signal.SIGTERM)
    assert (status, said.splitlines()[-1]) == (
        130,
        "storefleet: stopped waiting; lab lab goes on to its verdict by itself",
    )
    parm.signal(signal.SIGCONT)
    lab.command_line.until_nothing_is_left(within_s=DEADLINE_S)
    assert read_verdict(lab.run_folder)["validity"] == "valid"
