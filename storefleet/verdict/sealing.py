"""Seals a run folder, and holds one against its seal: reads the files whose marks :mod:`storefleet.verdict.seal` compares.

Every byte of a file of up to WHOLE_BYTES is digested; of a larger one so much in blocks all over it. What is cut out of it
or put into it is found at once; an edit that changes no length may lie between two blocks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final

import msgspec

from fleetwire import bounded_json
from fleetwire.ledger_format import LEDGER_FILE_NAME
from storefleet.verdict.history import Ledger
from storefleet.verdict.ledger_file import read_ledger
from storefleet.verdict.letter_file import LETTERS_FILE_NAME
from storefleet.verdict.log_file import LOG_FILE_NAME
from storefleet.verdict.packed_file import has_evidence, open_evidence
from storefleet.verdict.run_format import READS_FILE_NAME, SLIMMED_VERSION, WITNESSES_FILE_NAME, Plan
from storefleet.verdict.seal import DIGEST_BYTES, DroppedFile, FileMark, Seal, Slimmed, differences, plan_marks

FILES: Final = (READS_FILE_NAME, WITNESSES_FILE_NAME, LETTERS_FILE_NAME, LOG_FILE_NAME)
WHOLE_BYTES: Final = 8 * 1024 * 1024
"""A million events leave 420 MB: to digest all of it would take a tenth of the judge's time."""
BLOCK_BYTES: Final = 64 * 1024
CHUNK_BYTES: Final = 1024 * 1024

Marks = dict[str, FileMark]


def sealed(folder: Path, plan: bytes) -> bytes:
    """The content of ``plan.json`` with the seal of all that lies in the folder now."""
    values = bounded_json.decode(plan)
    try:
        ledger = read_ledger(folder / LEDGER_FILE_NAME)
    except Exception:  # noqa: BLE001 - a run always ends with a verdict, and the judge says what the matter is
        ledger = Ledger()
    seal = _seal(msgspec.convert(values, Plan), plan, file_marks(folder, FILES), ledger)
    return msgspec.json.encode({**values, "seal": msgspec.to_builtins(seal)})


def sealed_as_slimmed(plan: bytes, slimmed: Slimmed) -> bytes:
    """The content of a sealed ``plan.json`` with a seal that names what was dropped and packed since."""
    values = {**bounded_json.decode(plan), "version": SLIMMED_VERSION}
    seal = msgspec.convert(values["seal"], Seal)
    seal.slimmed, seal.plan = slimmed, plan_marks(values)
    return msgspec.json.encode({**values, "seal": msgspec.to_builtins(seal)})


def broken_seal(folder: Path, plan: Plan, content: bytes, ledger: Ledger | None) -> list[tuple[str, str]]:
    """A note for everything that is not as the run left it. A run that was never read at its end need have no seal."""
    if plan.seal is None:
        unsealed = plan.sealed_at_end and has_evidence(folder / READS_FILE_NAME)
        return [("never_sealed", "")] if unsealed else []
    found = _seal(plan, content, file_marks(folder, FILES), ledger or Ledger())
    broken = []
    if plan.seal.slimmed is not None:
        found.slimmed = Slimmed(kept=file_marks(folder, plan.seal.slimmed.kept))
        broken = list(_strangers(folder, plan.seal.slimmed))
    return [("seal_broken", what) for what in (*differences(plan.seal, found), *broken)]


def dropped_file(path: Path) -> DroppedFile:
    """The record of a file that is to go; raises OSError."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return DroppedFile(size_bytes=size_bytes, sha256=digest.hexdigest())


def _strangers(folder: Path, slimmed: Slimmed) -> Iterator[str]:
    """What is there again under the name of a dropped file, and is not that file."""
    for name, dropped in slimmed.dropped.items():
        path = _below(folder, name)
        if path is None or not path.is_file():
            continue
        try:
            same = path.stat().st_size == dropped.size_bytes and dropped_file(path) == dropped
        except OSError:
            same = False
        if not same:
            yield f"{name[:200]} is not the one that was dropped when the run was slimmed, {dropped.size_bytes:,} bytes"


def _below(folder: Path, name: str) -> Path | None:
    """A name that a plan gives, as a place in its folder; None for one that lies elsewhere."""
    parts = PurePosixPath(name)
    return None if parts.is_absolute() or ".." in parts.parts or "\0" in name else folder / parts


def _seal(plan: Plan, content: bytes, marks: Marks, ledger: Ledger) -> Seal:
    return Seal(
        run=plan.name,
        started_at_ms=plan.started_at_ms,
        plan=plan_marks(bounded_json.decode(content)),
        files=marks,
        ledger_created_at_ms=ledger.created_at_ms,
        tables=ledger.tables,
    )


def file_marks(folder: Path, names: Iterable[str]) -> Marks:
    """Of those of these files that are there, packed or not."""
    marks = {}
    for name in names:
        path = _below(folder, name)
        if path is not None and has_evidence(path):
            marks[name] = _file_mark(path)
    return marks


def _file_mark(path: Path) -> FileMark:
    try:
        with open_evidence(path) as file:
            return mark_of(file)
    except OSError:
        return FileMark(size_bytes=0, digest="")


def mark_of(file: BinaryIO) -> FileMark:
    """The mark of an open file; raises OSError."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    size_bytes = file.seek(0, os.SEEK_END)
    for start in _starts(size_bytes):
        file.seek(start)
        digest.update(file.read(BLOCK_BYTES))
    return FileMark(size_bytes=size_bytes, digest=digest.hexdigest())


def _starts(size_bytes: int) -> Iterable[int]:
    """Where blocks begin: one behind the other, or so many of them from the first byte to the last, evenly apart."""
    if size_bytes <= WHOLE_BYTES:
        return range(0, size_bytes, BLOCK_BYTES)
    gaps = WHOLE_BYTES // BLOCK_BYTES - 1
    return ((size_bytes - BLOCK_BYTES) * number // gaps for number in range(gaps + 1))
