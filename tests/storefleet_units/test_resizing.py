"""The live picture on a real pseudo-terminal that gets another size while it is drawn."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from tests.lab.command_line import REPOSITORY
from tests.storefleet_units.screen_model import Screen

DEADLINE_S = 30.0
SCRIPT = """
import sys, time
from storefleet.live import LiveDisplay
from tests.storefleet_units.test_panel import BROKEN
display = LiveDisplay()
display.say("lab [red] of 8 stores \\x1b[2J starting")
display.say("ready in 2.6 s")
while sys.stdin.readline().strip() == "":
    display.show(BROKEN)
display.close()
print("the end")
"""


class Terminal:
    """A process behind a pseudo-terminal, and what a person sees of it; every line given to it draws once."""

    def __init__(self, width: int, height: int) -> None:
        self._mine, theirs = pty.openpty()
        self._size(width, height)
        self.screen = Screen(width, height)
        environment = {**os.environ, "TERM": "xterm", "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"}
        for name in ("CI", "NO_COLOR", "COLUMNS", "LINES"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", SCRIPT], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs, env=environment
        )
        os.close(theirs)
        os.set_blocking(self._mine, False)

    def resize(self, width: int, height: int) -> None:
        """As when a person drags the window."""
        self.screen.resize(width, height)
        self._size(width, height)

    def tell(self, line: bytes = b"\n") -> None:
        """Draw once more, or end."""
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        """What stands there when it holds and nothing more comes; fails after the deadline."""
        end_s, quiet = time.monotonic() + DEADLINE_S, 0
        while time.monotonic() < end_s:
            try:
                self.screen.write(os.read(self._mine, 65_536).decode())
                quiet = 0
            except BlockingIOError:
                quiet += 1
                time.sleep(0.01)
            if quiet >= 10 and condition(self.screen.text):
                return self.screen.text
        raise AssertionError("\n".join(self.screen.text))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()
        os.close(self._mine)

    def _size(self, width: int, height: int) -> None:
        fcntl.ioctl(self._mine, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """One of 100 columns and 30 rows."""
    opened = Terminal(100, 30)
    yield opened
    opened.close()


@pytest.mark.parametrize("sizes", [[(60, 30)], [(40, 24), (120, 40)], [(80, 10), (100, 30)], [(40, 10), (50, 12)]])
def test_a_resize_leaves_no_fragments(terminal: Terminal, sizes: list[tuple[int, int]]) -> None:
    """What was said stands there once, below it one picture that fits, and nothing else."""
    terminal.tell()
    terminal.until(lambda text: any("waiting" in row for row in text))
    for width, height in sizes:
        terminal.resize(width, height)
        terminal.tell()
        text = terminal.until(lambda rows: sum("faults on" in row for row in rows) == 1)
        assert len(terminal.screen.rows) == height
        picture = next(at for at, row in enumerate(text) if "faults on" in row)
        assert len(text) - picture <= height - 1
        assert sum("waiting: every" in row for row in text) == 1
        assert sum(row.strip("│ ").startswith("stage ") for row in text) == 1
        above = text[:picture]
        assert "".join(above) in "lab [red] of 8 stores \ufffd[2J startingready in 2.6 s"
        assert text[picture - 1].endswith("2.6 s")


def test_at_the_end_the_picture_is_gone_and_what_was_said_stays(terminal: Terminal) -> None:
    """Also when the size changed just before."""
    terminal.tell()
    terminal.until(lambda text: any("waiting" in row for row in text))
    terminal.resize(70, 20)
    terminal.tell(b"end\n")
    text = terminal.until(lambda rows: rows[-1:] == ["the end"])
    assert text == ["lab [red] of 8 stores \ufffd[2J starting", "ready in 2.6 s", "the end"]
