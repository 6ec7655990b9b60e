"""Slims the folder of a valid run: drops what only its stages needed, packs large evidence, and names both in the seal.

Whoever judges, traces or tells of the run finds the same as before. One rename of ``plan.json`` makes a whole folder a
slimmed one; before it everything whole is still there, after it everything packed is, so a death at any moment leaves a
folder that is judged right. What cannot be written leaves the folder whole, and is a StorageError of one line.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import closing
from io import BufferedReader
from pathlib import Path
from typing import Final

from fleetwire import bounded_json
from fleetwire.errors import FleetError, StorageError
from fleetwire.ledger_format import LEDGER_FILE_NAME
from storefleet.verdict.journeys_file import JOURNEYS_FILE_NAME
from storefleet.verdict.ledger_file import read_ledger
from storefleet.verdict.letter_file import LETTERS_FILE_NAME
from storefleet.verdict.packed_file import PackedFile, pack, packed_path
from storefleet.verdict.run_format import (
    JUNIT_FILE_NAME,
    PLAN_FILE_NAME,
    READS_FILE_NAME,
    REPORT_FILE_NAME,
    VERDICT_FILE_NAME,
    WITNESSES_FILE_NAME,
    Plan,
)
from storefleet.verdict.seal import FileMark, Seal, Slimmed
from storefleet.verdict.sealing import dropped_file, file_marks, mark_of, sealed_as_slimmed

STATE_FOLDER: Final = "state"
"""Below it each process has a folder of its own."""
PACKED: Final = (WITNESSES_FILE_NAME, JOURNEYS_FILE_NAME, READS_FILE_NAME, LETTERS_FILE_NAME)
UNSEALED: Final = (PLAN_FILE_NAME, VERDICT_FILE_NAME, JUNIT_FILE_NAME, REPORT_FILE_NAME)
"""They say what was found, and of what."""
BUSY_TIMEOUT_S: Final = 2.0
UNFINISHED: Final = ".new"

_log = logging.getLogger(__name__)


def slim(folder: Path, foreign: Collection[str] = ()) -> Slimmed | None:
    """Slim a folder that is sealed, and say what was done; None where it is not sealed, or is slim already.

    ``foreign``: stages of somebody else's, whose state is not ours to drop. Raises StorageError; the folder is whole then.
    """
    try:
        plan = (folder / PLAN_FILE_NAME).read_bytes()
        seal = bounded_json.decode(plan, type=Plan).seal
        if seal is None or seal.slimmed is not None:
            return None
        slimmed = _prepare(folder, seal, foreign)
        _write_plan(folder, sealed_as_slimmed(plan, slimmed))
    except (OSError, ValueError, sqlite3.Error, FleetError) as error:
        _take_back(folder)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise StorageError(f"{folder} stays whole, it could not be slimmed: {reason}") from error
    _drop(folder, slimmed)
    return slimmed


def _prepare(folder: Path, seal: Seal, foreign: Collection[str]) -> Slimmed:
    """All that is written before the folder is a slimmed one; what was there stays."""
    packed = [name for name in PACKED if (folder / name).is_file()]
    for name in packed:
        _pack(folder / name, seal.files.get(name))
    dropped = {name: dropped_file(folder / name) for name in _own_state(folder, foreign)}
    _compact(folder / LEDGER_FILE_NAME, seal)
    sealed = {*seal.files, *UNSEALED}
    kept = sorted(name for name in _files(folder) if name not in sealed and not _is_left_out(name))
    return Slimmed(dropped=dropped, packed=packed, kept=file_marks(folder, kept))


def _pack(path: Path, mark: FileMark | None) -> None:
    """A packed copy beside a file, which has this mark if it is sealed."""
    unfinished = packed_path(path).with_name(packed_path(path).name + UNFINISHED)
    pack(path, unfinished)
    with BufferedReader(PackedFile(unfinished)) as copy:
        if mark is not None and mark_of(copy) != mark:
            raise StorageError(f"{path.name} is not as its run left it")
    unfinished.replace(packed_path(path))


def _own_state(folder: Path, foreign: Collection[str]) -> Iterator[str]:
    """Files of stages of ours."""
    for name in _files(folder / STATE_FOLDER):
        stage = name.partition("/")[0].rpartition("-")[0]
        if stage and stage not in foreign:
            yield f"{STATE_FOLDER}/{name}"


def _files(folder: Path) -> Iterator[str]:
    """Ordinary files below a folder, by name; what is reached by a link lies elsewhere and is not ours."""
    for place, _, names in os.walk(folder):
        for name in names:
            path = Path(place, name)
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(folder).as_posix()


def _is_left_out(name: str) -> bool:
    """State is dropped, or is somebody else's; the ledger is sealed by its rows; packed files by what is in them."""
    first = name.partition("/")[0]
    packed = {packed_path(Path(one)).name for one in PACKED}
    return first in {STATE_FOLDER, *packed} or first.startswith(LEDGER_FILE_NAME) or name.endswith(UNFINISHED)


def _compact(ledger: Path, seal: Seal) -> None:
    """One file without a write-ahead log, and without the room that its outbox has left; the same rows.

    A copy takes its place only once the checker has read the same of it.
    """
    if not ledger.is_file() or ledger.is_symlink():
        return
    copy = ledger.with_name(ledger.name + UNFINISHED)
    copy.unlink(missing_ok=True)
    with closing(sqlite3.connect(ledger, timeout=BUSY_TIMEOUT_S, isolation_level=None)) as database:
        (mode,) = database.execute("PRAGMA journal_mode = DELETE").fetchone()
        if mode != "delete":
            raise StorageError(f"somebody reads {ledger.name}")
        database.execute("VACUUM INTO ?", (str(copy),))
    if read_ledger(copy).tables != seal.tables:
        raise StorageError(f"{ledger.name} is not as its run left it")
    copy.replace(ledger)


def _write_plan(folder: Path, content: bytes) -> None:
    """From here on the folder is slimmed."""
    unfinished = folder / (PLAN_FILE_NAME + UNFINISHED)
    unfinished.write_bytes(content)
    unfinished.replace(folder / PLAN_FILE_NAME)


def _drop(folder: Path, slimmed: Slimmed) -> None:
    """Take away what the seal names as dropped or packed; what cannot go is only in the way."""
    names = [*slimmed.dropped, *slimmed.packed]
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        for place, _, _ in os.walk(folder / STATE_FOLDER, topdown=False):
            with contextlib.suppress(OSError):  # something of somebody else's is in it
                Path(place).rmdir()
    except OSError as error:
        _log.warning("%s is slimmed, but %s cannot be removed: %s", folder, error.filename, error.strerror)


def _take_back(folder: Path) -> None:
    """The folder is whole: copies that were made of its files only take room."""
    copies = [packed_path(folder / name) for name in PACKED if (folder / name).is_file()]
    unfinished = (folder / (name + UNFINISHED) for name in (PLAN_FILE_NAME, LEDGER_FILE_NAME))
    for path in (*copies, *(copy.with_name(copy.name + UNFINISHED) for copy in copies), *unfinished):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
