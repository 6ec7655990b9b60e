"""How every command ends, whoever reads it and whatever signal comes: the one place that decides it.

Exit status, everywhere: 0 valid, or done; 1 invalid; 2 it did not begin (one line says why); 3 unknown; 130 stopped by a
signal: by the first one where a command only asks, by a second one where a lab drains.

- SIGINT (Ctrl-C), SIGTERM and SIGHUP (the terminal was closed) ask a command to stop, and all mean the same. A command that
  only asks ends at once, in one line. One that has a lab on its hands takes them over (:class:`Stops`): the first is heard
  and the lab drains, a second one ends it. A terminal that is closed may send several SIGHUPs: they ask once.
- Once the status is decided nothing changes it: a signal while the verdict is told lets it be told.
- A reader that has gone is no failure: the status stays what it is. A command that has no end of its own has then shown
  enough, and ends.
- What else keeps standard output from being written (a full disk, ``>&-``) is said in one line on standard error. A status
  that is an answer in itself stays that answer; of a command whose work is to show, it is 3: what it was to show is not
  known to whoever asked.

It imports nothing heavy: signals are heard before anything else is loaded.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn, Self, TextIO

from storefleet.standard_streams import Descriptor, take_over

VALID: Final = 0
DID_NOT_BEGIN: Final = 2
UNKNOWN: Final = 3
STOPPED: Final = 130
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOOK_INTERVAL_S: Final = 0.25
SHOW_CURSOR: Final = "\x1b[?25h"
HIDE_CURSOR: Final = "\x1b[?25l"
"""DECTCEM, set and reset."""
SILENCE_S: Final = 2.7
SILENCE_BEFORE_ASKING_S: Final = 2.0
"""No command is silent for longer than 3 s; a lab that is asked first has some time to answer."""


class Manner(NamedTuple):
    """How a command ends."""

    stopped_status: int = STOPPED
    """Of the first signal, as long as nobody has taken the signals over."""
    stopped: str = "stopped"
    shows: bool = False
    """What it could not write is what it was asked for."""


_STARTS_A_LAB: Final = Manner(DID_NOT_BEGIN, "stopped before anything began")
_SHOWS: Final = Manner(shows=True)
MANNERS: Final = {
    "": _SHOWS,  # --help, --version
    "up": _STARTS_A_LAB,
    "demo": _STARTS_A_LAB,
    "status": _SHOWS,
    "tail": _SHOWS,
    "log": _SHOWS,
    "trace": _SHOWS,
    "bench": _SHOWS,
}
"""By command; all others only ask, and their status is their answer."""


class _Ending:
    """What is known of the end of this process's command."""

    def __init__(self) -> None:
        self.command = ""
        self.manner = Manner()
        self.status: int | None = None
        """Once it is decided."""
        self.signals_since = 0
        """How many came since then."""
        self.taken_over = False
        """Whether a lab had the signals: then only its end is left."""
        self.output: Descriptor | None = None
        self.errors: Descriptor | None = None
        self.doing: Doing | None = None


_ending: Final = _Ending()


def begin() -> None:
    """Hear signals and hold the standard streams, before anything else is imported; for the command line's process."""
    words = (word for word in sys.argv[1:] if not word.startswith("-"))  # no option before a command takes a value
    _ending.command = next(words, "")
    _ending.manner = MANNERS.get("" if {"-h", "--help"} & {*sys.argv[1:]} else _ending.command, Manner())
    _ending.output, _ending.errors = take_over()
    _hear(_on_signal)
    threading.Thread(target=_look, name="endings", daemon=True).start()


def _hear(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Install a handler; what was there before. A SIGHUP that nohup has told us to ignore stays ignored."""
    before: dict[int, Any] = {}
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    return before


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    """Nobody has the signals, or has them any more."""
    if _ending.status is None and not _ending.taken_over:
        say_at_once(f"storefleet: {_ending.manner.stopped}")
        os._exit(_ending.manner.stopped_status)
    _ending.signals_since += 1
    if _ending.signals_since > 1:  # the work is done, and whoever insists does not want to be told
        os._exit(STOPPED if _ending.status is None else _ending.status)


def say_at_once(text: str) -> None:
    """A line on standard error, also from a signal's handler; below what a terminal has echoed."""
    if _ending.errors is not None:
        _ending.errors.write_at_once(("\n" if _ending.errors.isatty() else "") + text + "\n")


class Stops:
    """Within ``with Stops(hear)`` the signals are the block's own matter: ``hear(1)`` the first, ``hear(2)`` the second.

    It is called from a signal's handler, in the main thread, between any two steps of what that does.
    """

    def __init__(self, hear: Callable[[int], None]) -> None:
        self._hear_stop = hear
        self.count = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = _hear(self._on_signal)
        _ending.taken_over = True
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            if signal.getsignal(number) == self._on_signal:
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self.count and number == signal.SIGHUP:
            return
        self.count += 1
        if self.count <= 2:
            self._hear_stop(self.count)


def keep_cursor() -> None:
    """Ctrl-Z gives the shell a terminal with its cursor, which a picture that is redrawn hides."""
    if signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
        signal.signal(signal.SIGTSTP, _on_suspend)


def _on_suspend(number: int, _frame: FrameType | None) -> None:
    if _ending.output is not None:
        _ending.output.write_at_once(SHOW_CURSOR)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)  # here it stands still, until SIGCONT
    signal.signal(number, _on_suspend)
    if _ending.output is not None:
        _ending.output.write_at_once(HIDE_CURSOR)


def decide(status: int) -> None:
    """The work is done with this status; all that is left is to tell it."""
    _ending.status = status
    _ending.signals_since = 0
    _hear(_on_signal)


def stop_at_once(text: str) -> NoReturn:
    """End now, from wherever this is called, with one line."""
    say_at_once(f"storefleet: {text}")
    os._exit(STOPPED)


def end(status: int) -> NoReturn:
    """The command has ended with this status: write what is left, and say what could not be written."""
    if _ending.status is None:
        decide(status)
    sys.stdout.flush()
    if _ending.output is not None and (lost := _ending.output.lost):
        status = status or (UNKNOWN if _ending.manner.shows else VALID)
        sys.stderr.write(_lost_text(lost) + "\n")
    sys.stderr.flush()
    raise SystemExit(status)


def takes_more(stream: TextIO) -> bool:
    """Whether the reader of a standard stream keeps up; a lab does not wait for one that does not."""
    descriptor = _ending.errors if stream is sys.stderr else _ending.output
    return descriptor is None or descriptor.failure is not None or descriptor.takes_more


class Doing:
    """What a command is at: within ``with Doing(line)`` a silence is broken with this line, or not where it is empty."""

    def __init__(self, line: Callable[[], str], *, after_s: float = SILENCE_S, endless: bool = False) -> None:
        """``line`` is called in a thread, after so long a silence.

        ``endless``: it goes on for somebody who reads, and ends without him.
        """
        self.line = line
        self.after_s = after_s
        self.endless = endless
        self._before: Doing | None = None

    def __enter__(self) -> Self:
        self._before, _ending.doing = _ending.doing, self
        return self

    def __exit__(self, *_: object) -> None:
        _ending.doing = self._before


def _look() -> None:
    """Beside the command: is there still a reader, and has it heard anything lately?"""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they are to interrupt the command, not this
    output, errors = _ending.output, _ending.errors
    assert output is not None
    assert errors is not None
    began_s = time.monotonic()
    at_work = Doing(lambda: f"{_ending.command}: at work for {time.monotonic() - began_s:.0f} s")
    while _ending.status is None:
        time.sleep(LOOK_INTERVAL_S)
        doing = _ending.doing or at_work
        if doing.endless:
            _end_without_a_reader(output)
        if time.monotonic() - max(output.written_s, errors.written_s) >= doing.after_s:
            _break_silence(doing, errors)


def _break_silence(doing: Doing, errors: Descriptor) -> None:
    try:
        line = doing.line()
    except Exception as error:  # noqa: BLE001 - whatever it is, the command itself will meet it
        line = f"{_ending.command}: at work; {type(error).__name__}"
    if line and _ending.status is None:
        errors.write_at_once(f"{line}\n")


def _end_without_a_reader(output: Descriptor) -> None:
    if output.reader_gone:
        os._exit(VALID)
    if output.lost:
        say_at_once(_lost_text(output.lost))
        os._exit(UNKNOWN)


def _lost_text(why: str) -> str:
    return f"storefleet: standard output could not be written: {why}"
