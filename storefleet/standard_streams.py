"""Standard input, output and error that never fail: a command does its work whoever reads it.

What could not be written (the reader has gone, the disk is full, the descriptor is closed) is remembered here, once, and
never raised: no command, library or traceback of ours stumbles over it. Whoever ends the command asks what became of it.
A descriptor that was closed at the start is held open on the null device, so that no file or socket of ours takes its number
and is written into by whoever means to print.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
import time
from typing import Final, TextIO

INPUT, OUTPUT, ERRORS = 0, 1, 2
READER_GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EIO})
"""A pipe, a socket or a terminal whose other end was closed: that is no failure, who has read enough may go."""


class Descriptor(io.RawIOBase):
    """One descriptor that takes all that is written to it, for ever."""

    def __init__(self, number: int, failure: OSError | None = None) -> None:
        """``failure``: why nothing can be written from the start."""
        super().__init__()
        self._number = number
        self._barrier = failure
        self.failure: OSError | None = None
        """Why something that was written is lost; None while nothing is."""
        self.written_s = time.monotonic()
        """When something was written the last time, or the stream began."""

    @property
    def reader_gone(self) -> bool:
        """Whether the other end was closed: by what a write has met, or as the descriptor looks now."""
        if self.failure is not None:
            return self.failure.errno in READER_GONE
        return self._barrier is None and bool(self._poll(0, timeout_ms=0) & (select.POLLERR | select.POLLHUP))

    @property
    def takes_more(self) -> bool:
        """Whether a line can be written now without waiting for the reader."""
        return bool(self._poll(select.POLLOUT, timeout_ms=0))

    @property
    def lost(self) -> str:
        """Why what was written is lost, in words; empty while nothing is, or nobody is left who misses it."""
        if self.failure is None or self.reader_gone:
            return ""
        return "it is closed" if self.failure.errno == errno.EBADF else self.failure.strerror or str(self.failure)

    def writable(self) -> bool:
        """Always."""
        return True

    def fileno(self) -> int:
        """Its number."""
        return self._number

    def isatty(self) -> bool:
        """Whether a person sees it."""
        return os.isatty(self._number)

    def write(self, data: object, /) -> int:
        """Write all of it, or remember why not; a signal's handler runs in between."""
        left = memoryview(data).cast("B")  # type: ignore[arg-type]
        size = len(left)
        self.written_s = time.monotonic()
        if self.failure is None and self._barrier is not None:
            self.failure = self._barrier
        while left and self.failure is None:
            try:
                left = left[os.write(self._number, left) :]
            except BlockingIOError:  # somebody else who has this pipe has made it non-blocking
                self._poll(select.POLLOUT, timeout_ms=1000)
            except OSError as error:
                self.failure = error
        return size

    def write_at_once(self, text: str) -> None:
        """From a signal's handler: past every buffer, and nothing where the reader stands still."""
        self.written_s = time.monotonic()
        if self._barrier is None and self.takes_more:
            try:
                os.write(self._number, text.encode(errors="replace"))
            except OSError as error:
                self.failure = error

    def _poll(self, events: int, *, timeout_ms: int) -> int:
        poll = select.poll()
        poll.register(self._number, events)
        return next((found for _, found in poll.poll(timeout_ms)), 0)


def take_over() -> tuple[Descriptor, Descriptor]:
    """Put streams that never fail in the place of the interpreter's; returns standard output and error."""
    closed = {number: _hold_open(number) for number in (INPUT, OUTPUT, ERRORS)}
    output, errors = (Descriptor(number, closed[number]) for number in (OUTPUT, ERRORS))
    if sys.stdin is None:
        sys.stdin = open(INPUT, encoding="utf-8", closefd=False)  # noqa: SIM115 - it stays for good
    sys.stdout = _text(output, sys.stdout, "strict", by_line=output.isatty())
    sys.stderr = _text(errors, sys.stderr, "backslashreplace", by_line=True)
    return output, errors


def _hold_open(number: int) -> OSError | None:
    """Why the descriptor cannot be used; None when it can."""
    try:
        os.fstat(number)
    except OSError as error:
        taken = os.open(os.devnull, os.O_RDWR)
        if taken != number:
            os.dup2(taken, number, inheritable=True)
            os.close(taken)
        else:
            os.set_inheritable(number, True)
        return error
    return None


def _text(descriptor: Descriptor, before: TextIO | None, errors: str, *, by_line: bool) -> TextIO:
    """A text stream as the interpreter had made it, over a descriptor that never fails."""
    encoding = before.encoding if before is not None else "utf-8"
    errors = (before.errors if before is not None else None) or errors
    return io.TextIOWrapper(io.BufferedWriter(descriptor), encoding=encoding, errors=errors, line_buffering=by_line)
