"""Labs in a terminal: Ctrl-C, Ctrl-Z, Ctrl-S, a closed window, and readers who turn no page."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.endings.terminal import GO_ON, HOLD, INTERRUPT, SUSPEND, terminal
from tests.lab.command_line import DEADLINE_S, CommandLine, read_verdict, until

UP = ("up", "--stores", 2, "--rate", "20/s", "--name", "lab", "--runs", "runs")
SHOW_CURSOR = "\x1b[?25h"
PLAIN = {"NO_COLOR": "1"}


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    """``storefleet`` with a home and a runs folder of this test."""
    command = CommandLine(tmp_path)
    yield command
    command.end_leftovers()


def wait_for_trade(command_line: CommandLine) -> None:
    """Until the lab trades."""
    until((command_line.home / "labs" / "lab" / "control.json").exists, "the lab can be asked")
    command_line.run("wait", "--ready")
    command_line.attach("lab").wait_for_trade(total=10)


def verdict_of(command_line: CommandLine) -> str:
    """Of the one run, once nothing of its lab runs any more."""
    command_line.until_nothing_is_left(within_s=DEADLINE_S)
    (folder,) = command_line.run_folders()
    return str(read_verdict(folder)["validity"])


def test_a_closed_window_is_one_signal(command_line: CommandLine) -> None:
    """The terminal goes, and everything in it is told so; the lab drains and is judged."""
    with terminal(command_line, *UP) as window:
        wait_for_trade(command_line)
        window.close()
        assert verdict_of(command_line) == "valid"


def test_ctrl_z_and_on(command_line: CommandLine) -> None:
    """Whoever is in the shell meanwhile sees the cursor; then the run goes on, and Ctrl-C ends it as ever."""
    with terminal(command_line, *UP) as window:
        wait_for_trade(command_line)
        assert not window.shown.endswith(SHOW_CURSOR)
        window.press(SUSPEND)
        until(lambda: window.state == "T", "it stands still")
        assert SHOW_CURSOR in window.shown
        command_line.attach("lab").identities()["lab"].signal(signal.SIGCONT)
        command_line.run("status")
        window.press(INTERRUPT)
        assert window.process.wait(DEADLINE_S) == 0
        assert "stopping: what was traded drains for at most 30 s" in window.shown
    assert verdict_of(command_line) == "valid"


@pytest.mark.parametrize("environment", [{}, PLAIN])
def test_a_terminal_that_is_held(command_line: CommandLine, environment: dict[str, str]) -> None:
    """Ctrl-S holds what is shown, never the lab: it answers, ends and is judged; Ctrl-Q shows the verdict."""
    with terminal(command_line, *UP, **environment) as window:
        wait_for_trade(command_line)
        window.press(HOLD)
        time.sleep(1.0)  # pictures come four times a second; nothing outside tells that one was held
        seen = window.shown
        traded = command_line.attach("lab").committed()
        until(lambda: command_line.attach("lab").committed() > traded + 20, "it trades on")
        assert command_line.json("status")["ready"]
        assert window.shown == seen
        assert command_line.run("down").stdout.startswith("VALID ")
        assert window.process.poll() is None
        window.press(GO_ON)
        assert window.process.wait(DEADLINE_S) == 0
        until(lambda: "VALID  lab" in window.shown, "the verdict is shown")
        assert (SHOW_CURSOR in window.shown) == (not environment)


def test_a_reader_who_turns_no_page(command_line: CommandLine) -> None:
    """``up | less``: a full pipe does not hold the lab; who insists is not told the verdict, whose status stands."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"." * 4096)
    with subprocess.Popen(
        command_line._words(UP), cwd=command_line.folder, env=command_line.environment, stdin=subprocess.DEVNULL,
        stdout=writer, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        wait_for_trade(command_line)
        assert command_line.run("down").stdout.startswith("VALID ")
        for _ in range(2):
            time.sleep(0.5)  # two signals at the same time may be taken for one
            process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
    os.close(reader)
    os.close(writer)
