"""``processes.jsonl`` of a run folder: every start of a process, written before it starts, and every end unasked.

So an incarnation has its number once in a run, whoever dies and however often, as long as the disk has room: a line that
it has none for is lost, and said to be. The open journal is locked: it shows that
the run has a lab, and the kernel takes the lock back when that lab dies. A line that a death left half written is ended
by the next one and says nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
from collections import defaultdict
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from fleetwire import bounded_json
from fleetwire.clock import now_ms
from fleetwire.errors import SettingsError

JOURNAL_FILE_NAME: Final = "processes.jsonl"
READ_LIMIT: Final = 20_000
LINE_LIMIT_BYTES: Final = 8_192
"""So many lines, and of each so much, are read of somebody's run folder."""

_log = logging.getLogger(__name__)


def has_lab(folder: Path) -> bool:
    """Whether a lab has the journal of this run folder open now."""
    try:
        with (folder / JOURNAL_FILE_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # there is none, or none that can be read
    return False


class JournalLine(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One start (``exit`` is empty), or one end that nobody had asked for; unix milliseconds."""

    at_ms: int
    name: str
    incarnation: int
    exit: str = ""


_decode = bounded_json.Decoder(JournalLine).decode


class ProcessJournal:
    """The journal of the run in ``folder``, its earlier lines read; raises SettingsError while a lab has it open."""

    def __init__(self, folder: Path) -> None:
        self.exits: dict[str, list[str]] = defaultdict(list)
        """Process -> how its incarnations ended, as far as nobody had asked them to."""
        self.newest_ms = 0
        self._incarnations: dict[str, int] = {}
        self._file = _locked(folder)
        self._torn = False
        for line in self._lines():
            self._enter(line)

    def know(self, name: str, incarnation: int) -> None:
        """A process was heard to have had this incarnation: the next one comes after it."""
        self._incarnations[name] = max(incarnation, self._incarnations.get(name, 0))

    def start(self, name: str) -> int:
        """Note that a process is about to start; returns its incarnation, from 1."""
        incarnation = self._incarnations.get(name, 0) + 1
        self._write(JournalLine(at_ms=now_ms(), name=name, incarnation=incarnation))
        return incarnation

    def end(self, name: str, how: str) -> None:
        """Note that a process ended unasked."""
        self._write(JournalLine(at_ms=now_ms(), name=name, incarnation=self._incarnations.get(name, 0), exit=how))

    def close(self) -> None:
        """Close the file, which gives the run free."""
        self._file.close()

    def _lines(self) -> Iterator[JournalLine]:
        self._file.seek(0)
        content = self._file.readall()
        self._torn = not content.endswith(b"\n") and bool(content)
        for text in content.splitlines():
            try:
                yield _decode(text)
            except (msgspec.DecodeError, UnicodeDecodeError):
                _log.info("a line of %s is torn; it is skipped", JOURNAL_FILE_NAME)

    def _enter(self, line: JournalLine) -> None:
        self.newest_ms = max(self.newest_ms, line.at_ms)
        if line.exit:
            self.exits[line.name].append(line.exit)
        else:
            self.know(line.name, line.incarnation)

    def _write(self, line: JournalLine) -> None:
        self._enter(line)
        text = b"\n" * self._torn + msgspec.json.encode(line) + b"\n"
        try:
            complete = self._file.write(text) == len(text)
            reason = "no space left on device"
        except OSError as error:
            complete, reason = False, error.strerror or str(error)
        self._torn = not complete
        if not complete:
            _log.error("%s: %s: make room on this disk", self._file.name, reason)


def read_journal(folder: Path) -> list[JournalLine]:
    """What the journal of a run tells, whoever has it open; [] where there is none. Torn lines are skipped."""
    lines: list[JournalLine] = []
    try:
        with (folder / JOURNAL_FILE_NAME).open("rb") as file:
            for _ in range(READ_LIMIT):
                if not (text := file.readline(LINE_LIMIT_BYTES)):
                    break
                with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                    lines.append(_decode(text))
    except OSError:
        return []
    return lines


def _locked(folder: Path) -> FileIO:
    path = folder / JOURNAL_FILE_NAME
    try:
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise SettingsError(f"cannot write {path}: {error.strerror}; is the folder yours, the disk full?") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise SettingsError(
            f"the lab of {folder} still lives; see: storefleet status, or end it: storefleet down"
        ) from None
    except OSError as error:
        file.close()
        raise SettingsError(
            f"cannot lock {path}: {error.strerror}; keep runs on a file system that locks, with --runs DIR"
        ) from error
    return file
