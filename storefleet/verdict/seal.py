"""The seal of a run folder: what its files held when the run ended, and what of them is not so any more. Sans-io.

A lab writes the seal into ``plan.json`` once nothing more will be written. It guards against what is lost, swapped or
edited afterwards, by accident or by hand; who makes a new seal is not found out. The ledger is sealed by what its tables
say, not by its bytes: whoever reads it may move rows out of its write-ahead log. Files are sealed by what they say as
well, so packing one (:mod:`storefleet.verdict.packed_file`) breaks no seal. A valid run that was slimmed names in its seal
what was dropped, and everything that stayed, so that a file that anybody else took away is missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

import msgspec
from msgspec import Struct, field

DIGEST_BYTES: Final = 16
KEY_DIGEST_BYTES: Final = 8


class FileMark(Struct, frozen=True, kw_only=True):
    """A file's size, and a digest of its bytes; none where it cannot be read."""

    size_bytes: int
    digest: str


class TableMark(Struct, frozen=True, kw_only=True):
    """How many rows a table of the ledger has, its newest row, and a digest of what the checker reads of them."""

    rows: int
    newest_row: int
    digest: str


class DroppedFile(Struct, frozen=True, kw_only=True):
    """A file that was taken out of the folder once its run was found valid."""

    size_bytes: int
    sha256: str
    """Of all its bytes, hexadecimal, as ``sha256sum`` says it."""


class Slimmed(Struct, frozen=True, kw_only=True):
    """Files by their names below the folder: ``packed`` lie there as NAME.gz, ``kept`` is what else stayed.

    Evidence and ledger are sealed beside it; the verdict's own files can be made again, and are not named.
    """

    dropped: dict[str, DroppedFile] = field(default_factory=dict)
    packed: list[str] = field(default_factory=list)
    kept: dict[str, FileMark] = field(default_factory=dict)


class Seal(Struct, kw_only=True):
    """What a run left. ``plan``: key of ``plan.json`` -> digest of its value; files and tables by name."""

    run: str
    started_at_ms: int
    plan: dict[str, str] = field(default_factory=dict)
    files: dict[str, FileMark] = field(default_factory=dict)
    ledger_created_at_ms: str = ""
    tables: dict[str, TableMark] = field(default_factory=dict)
    """Empty where the ledger could not be read when the run ended."""
    slimmed: Slimmed | None = None
    """None: the folder is whole."""


def plan_marks(values: Mapping[str, Any]) -> dict[str, str]:
    """Digest of the value of every key of a plan but its seal, however its file is laid out."""
    return {key: _value_digest(value) for key, value in values.items() if key != "seal"}


def _value_digest(value: object) -> str:
    text = msgspec.json.encode(value, order="deterministic")
    return blake2b(text, digest_size=KEY_DIGEST_BYTES).hexdigest()


def table_mark(rows: Sequence[object], newest_row: int) -> TableMark:
    """The mark of a table of these rows."""
    digest = blake2b(msgspec.msgpack.encode(rows), digest_size=DIGEST_BYTES).hexdigest()
    return TableMark(rows=len(rows), newest_row=newest_row, digest=digest)


def joined(one: TableMark | None, other: TableMark) -> TableMark:
    """A table of several shards as one."""
    if one is None:
        return other
    rows, newest_row = one.rows + other.rows, one.newest_row + other.newest_row
    return TableMark(rows=rows, newest_row=newest_row, digest=one.digest + other.digest)


def differences(seal: Seal, found: Seal) -> Iterator[str]:
    """What is not as it was left, a line each. A ledger that cannot be read any more is told elsewhere."""
    if (seal.run, seal.started_at_ms) != (found.run, found.started_at_ms):
        ours, theirs = (f"{one.run[:80]!r}, begun at {one.started_at_ms} ms" for one in (found, seal))
        yield f"the seal is of run {theirs}, not of {ours}"
        return
    if keys := sorted(key for key in seal.plan.keys() | found.plan if seal.plan.get(key) != found.plan.get(key)):
        yield f"plan.json is not the one that this run left: {', '.join(key[:80] for key in keys[:8])}"
    left, now = _with_kept(seal), _with_kept(found)
    for name in sorted(left.keys() | now):
        if (what := _file_difference(left.get(name), now.get(name))) is not None:
            yield f"{name[:200]} {what}"
    if not found.tables:
        return
    if not seal.tables:
        yield "ledger.sqlite could not be read when the run ended"
    elif seal.ledger_created_at_ms != found.ledger_created_at_ms:
        theirs, ours = (one.ledger_created_at_ms[:80] or "no time" for one in (found, seal))
        yield f"ledger.sqlite is another run's: created at {theirs}, not at {ours}"
    else:
        yield from _table_differences(seal.tables, found.tables)


def _with_kept(seal: Seal) -> dict[str, FileMark]:
    """All files that have marks."""
    return {**seal.files, **(seal.slimmed.kept if seal.slimmed is not None else {})}


def _file_difference(left: FileMark | None, found: FileMark | None) -> str | None:
    if left == found:
        return None
    if left is None:
        return "was not there when the run ended"
    if found is None:
        return f"is gone: {left.size_bytes:,} bytes"
    if not found.digest:
        return "cannot be read to its end"
    what = f"{found.size_bytes:,} bytes for {left.size_bytes:,}"
    if found.size_bytes == left.size_bytes:
        what = f"as many bytes, {found.size_bytes:,}, but others"
    return f"is not the one that this run left: {what}"


def _table_differences(left: Mapping[str, TableMark], found: Mapping[str, TableMark]) -> Iterator[str]:
    nothing = TableMark(rows=0, newest_row=0, digest="")
    for name in sorted(left.keys() | found):
        mark, now = left.get(name, nothing), found.get(name, nothing)
        if mark == now:
            continue
        what = f"as many rows, {now.rows:,}, but others"
        if mark.rows != now.rows:
            what = f"{now.rows:,} rows for {mark.rows:,}"
        yield f"ledger.sqlite is not as this run left it: table {name} has {what}"
