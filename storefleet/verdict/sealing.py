"""Seals a run folder, and holds one against its seal: reads the files whose marks :mod:`storefleet.verdict.seal` compares.

Every byte of a file of up to WHOLE_BYTES is digested; of a larger one so much in blocks all over it. What is cut out of it
or put into it is found at once; an edit that changes no length may lie between two blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from fleetwire.ledger_format import LEDGER_FILE_NAME
from storefleet.verdict.history import Ledger
from storefleet.verdict.ledger_file import read_ledger
from storefleet.verdict.letter_file import LETTERS_FILE_NAME
from storefleet.verdict.log_file import LOG_FILE_NAME
from storefleet.verdict.run_format import READS_FILE_NAME, WITNESSES_FILE_NAME, Plan
from storefleet.verdict.seal import DIGEST_BYTES, FileMark, Seal, differences, plan_marks

FILES: Final = (READS_FILE_NAME, WITNESSES_FILE_NAME, LETTERS_FILE_NAME, LOG_FILE_NAME)
WHOLE_BYTES: Final = 8 * 1024 * 1024
"""A million events leave 420 MB: to digest all of it would take a tenth of the judge's time."""
BLOCK_BYTES: Final = 64 * 1024

Marks = dict[str, FileMark]


def sealed(folder: Path, plan: bytes) -> bytes:
    """The content of ``plan.json`` with the seal of all that lies in the folder now."""
    values = msgspec.json.decode(plan)
    try:
        ledger = read_ledger(folder / LEDGER_FILE_NAME)
    except Exception:  # noqa: BLE001 - a run always ends with a verdict, and the judge says what the matter is
        ledger = Ledger()
    seal = _seal(msgspec.convert(values, Plan), plan, _file_marks(folder), ledger)
    return msgspec.json.encode({**values, "seal": msgspec.to_builtins(seal)})


def broken_seal(folder: Path, plan: Plan, content: bytes, ledger: Ledger | None) -> list[tuple[str, str]]:
    """A note for everything that is not as the run left it. A run that was never read at its end need have no seal."""
    if plan.seal is None:
        unsealed = plan.sealed_at_end and (folder / READS_FILE_NAME).exists()
        return [("never_sealed", "")] if unsealed else []
    found = _seal(plan, content, _file_marks(folder), ledger or Ledger())
    return [("seal_broken", what) for what in differences(plan.seal, found)]


def _seal(plan: Plan, content: bytes, marks: Marks, ledger: Ledger) -> Seal:
    return Seal(
        run=plan.name,
        started_at_ms=plan.started_at_ms,
        plan=plan_marks(msgspec.json.decode(content)),
        files=marks,
        ledger_created_at_ms=ledger.created_at_ms,
        tables=ledger.tables,
    )


def _file_marks(folder: Path) -> Marks:
    """Of the files that are there and can be read."""
    marks = {}
    for name in FILES:
        try:
            marks[name] = _file_mark(folder / name)
        except OSError:
            continue
    return marks


def _file_mark(path: Path) -> FileMark:
    digest = blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb", buffering=0) as file:
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
