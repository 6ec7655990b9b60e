"""Writes down what happens in a run, at once: one line each in ``log.jsonl`` (:mod:`storefleet.verdict.log_file`).

A line is written whole or not at all. While the disk has no room, up to WAITING_LIMIT lines wait for it, in order. The
file holds HAPPENING_LIMIT happenings, KIND_LIMIT of one kind and party, so that nobody who is restless pushes the others
out; what has no line any more is counted, and the log says so. The newest are kept in memory too, for whoever asks.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from fleetwire.clock import now_ms as host_now_ms
from storefleet.verdict.log_file import HAPPENING_LIMIT, KINDS, Happening, LogHeader, cleaned, read_log
from storefleet.verdict.machine import LAB_PROCESS

RECENT: Final = 100
KIND_LIMIT: Final = 1_000
WAITING_LIMIT: Final = 1_000
NO_ROOM: Final = "no space left on device"

_log = logging.getLogger(__name__)


class Note(Protocol):
    """Whoever is told what happens; ``kind`` is a row of KINDS, ``at_ms`` None means now."""

    def __call__(self, kind: str, who: str = "", text: str = "", at_ms: int | None = None) -> None:
        """It happened."""


def unnoted(kind: str, who: str = "", text: str = "", at_ms: int | None = None) -> None:
    """A :class:`Note` for where nobody keeps a log."""


class RunLog:
    """The log of one run; a new one goes on behind what an earlier lab of the run has written."""

    def __init__(self, path: Path, header: LogHeader, now_ms: Callable[[], int] = host_now_ms) -> None:
        """Nothing is written before something happens. ``header`` is for a new file."""
        earlier = read_log(path)
        self.recent: deque[Happening] = deque(earlier, maxlen=RECENT)
        """The newest, whether they have a line or not."""
        self.refusal = ""
        """Why the disk took none the last time; empty: it took all."""
        self.unkept = 0
        self._path = path
        self._header = header
        self._now_ms = now_ms
        self._kept = Counter((happening.kind, happening.who) for happening in earlier)
        self._count = len(earlier)
        self._waiting: deque[bytes] = deque()
        self._begun = False
        self._ended = False

    def note(self, kind: str, who: str = "", text: str = "", at_ms: int | None = None) -> None:
        """Something happened; see :class:`Note`."""
        if self._ended:
            return
        assert kind in KINDS, f"{kind!r} is no row of KINDS"
        happening = cleaned(Happening(at_ms=self._now_ms() if at_ms is None else at_ms, kind=kind, who=who, text=text))
        self.recent.append(happening)
        if self._admits(happening):
            self._waiting.append(_line(happening))
            self.flush()
        else:
            self._leave_out()

    def flush(self) -> None:
        """Write what waits for the disk, as far as there is room."""
        if not self._waiting:
            return
        try:
            with self._path.open("ab", buffering=0) as file:
                self._begin(file.seek(0, os.SEEK_END))
                while self._waiting and self._write(file.fileno(), self._waiting[0]):
                    self._waiting.popleft()
        except OSError as error:
            self._refused(error.strerror or str(error))

    def end(self) -> None:
        """Say how much has no line, and write nothing more: the file is as the run leaves it."""
        if self._ended:
            return
        if self.unkept:
            self._say_unkept(f"{self.unkept:,} happenings of this lab were counted only")
        self.flush()
        self._ended = True

    def _admits(self, happening: Happening) -> bool:
        kind = happening.kind, happening.who
        if self._count >= HAPPENING_LIMIT or self._kept[kind] >= KIND_LIMIT or len(self._waiting) >= WAITING_LIMIT:
            return False
        self._count += 1
        self._kept[kind] += 1
        return True

    def _leave_out(self) -> None:
        self.unkept += 1
        if self.unkept == 1:
            limits = f"{HAPPENING_LIMIT:,} happenings, {KIND_LIMIT:,} of one kind and party"
            _log.warning("%s has room for %s; further ones are counted only", self._path, limits)
            self._say_unkept(f"further happenings of a kind, or all, are counted only: there is room for {limits}")

    def _say_unkept(self, text: str) -> None:
        self._waiting.append(_line(cleaned(Happening(at_ms=self._now_ms(), kind="unkept", who=LAB_PROCESS, text=text))))
        self.flush()

    def _begin(self, size_bytes: int) -> None:
        """Before this lab's first line: the header of a new file, or the end of a line that a death has cut off."""
        if self._begun:
            return
        self._begun = True
        if not size_bytes:
            self._waiting.appendleft(msgspec.json.encode(self._header) + b"\n")
        elif _is_torn(self._path, size_bytes):
            self._waiting.appendleft(b"\n")

    def _write(self, descriptor: int, line: bytes) -> bool:
        end = os.lseek(descriptor, 0, os.SEEK_END)
        try:
            complete, reason = os.write(descriptor, line) == len(line), NO_ROOM
        except OSError as error:
            complete, reason = False, error.strerror or str(error)
        if complete:
            self.refusal = ""
        else:
            os.ftruncate(descriptor, end)
            self._refused(reason)
        return complete

    def _refused(self, reason: str) -> None:
        if not self.refusal:
            _log.error("%s: %s: make room on this disk; what happens waits for it", self._path, reason)
        self.refusal = reason


def _line(happening: Happening) -> bytes:
    return msgspec.json.encode(happening) + b"\n"


def _is_torn(path: Path, size_bytes: int) -> bool:
    with path.open("rb") as file:
        file.seek(size_bytes - 1)
        return file.read(1) != b"\n"
