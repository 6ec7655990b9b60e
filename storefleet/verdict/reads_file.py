"""Reads ``reads.json`` view by view: what one view's read says that cannot be costs that view alone, and is told.

A file of a newer version is refused like everywhere; any other damage leaves less to judge by, and a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from fleetwire import bounded_json
from fleetwire.errors import BadPayload
from fleetwire.identity import MAXIMUM_SEQUENCE, Key
from fleetwire.packed_times import END_OF_TIME_MS
from fleetwire.plain_words import plain
from fleetwire.possible import Impossible, require_ordered
from storefleet.verdict.run_format import READS_FORMAT, FinalRead, Reads
from storefleet.verdict.views import rows_that_do_not_fit

LARGEST: Final = 2**62
VIEW_LIMIT: Final = 1_000


class _Views(msgspec.Struct):
    """The file, with every view still as it stands there."""

    format: str = ""
    views: dict[str, msgspec.Raw] = {}
    told_until_row: Annotated[int, Meta(ge=0)] | None = None
    witnessed_bytes: Annotated[int, Meta(ge=0)] | None = None


def read_views(path: Path, content: bytes, notes: list[tuple[str, str]]) -> Reads:
    """Every view that can be used; for each other one a note."""
    reads = Reads()
    try:
        file = bounded_json.decode(content, type=_Views)
        if file.format != READS_FORMAT:
            raise Impossible(f"its format is {file.format[:80]!r}, not {READS_FORMAT!r}")
        if len(file.views) > VIEW_LIMIT:
            raise Impossible(f"it names {len(file.views):,} views")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        notes.append(("read_broken", f"{path.name}: {plain(error)}"))
        return reads
    reads.told_until_row, reads.witnessed_bytes = file.told_until_row, file.witnessed_bytes
    for view, raw in file.views.items():
        try:
            read = bounded_json.decode(raw, type=FinalRead)
            _require_possible(read)
        except (msgspec.DecodeError, UnicodeDecodeError, BadPayload) as error:
            notes.append(("read_broken", f"{view[:80]}: {plain(error)}"))
        else:
            reads.views[view] = read
    return reads


def _require_possible(read: FinalRead) -> None:
    """Raises Impossible, or BadPayload for a key that is none."""
    for name in ("at_ms", "asked_at_ms", "begun_at_ms", "healed_at_ms", "calm_since_ms", "converged_at_ms"):
        if not 0 <= (getattr(read, name) or 0) < END_OF_TIME_MS:
            raise Impossible(f"{name} is no time")
    if any(not 0 <= from_ms <= until_ms < END_OF_TIME_MS for from_ms, until_ms in read.calm_earlier):
        raise Impossible("calm_earlier: a time ends before it begins")
    if read.registers_changed_ms and not min(read.registers_changed_ms.values()) >= 0:
        raise Impossible("registers_changed_ms: a time before all time")
    if read.events is not None:
        require_ordered({source: one.intervals for source, one in read.events.items()}, "events")
        for source, one in read.events.items():
            if problem := rows_that_do_not_fit(one, sum(last - first + 1 for first, last in one.intervals)):
                raise Impossible(f"{source}: {problem}")
        _require_numbers(_named(read))
    if read.unreached is not None:
        require_ordered(read.unreached, "unreached")
    if any(not (-LARGEST < count < LARGEST and -LARGEST < cents < LARGEST) for _, _, count, cents in read.totals or ()):
        raise Impossible("totals: a number too large")
    for text in read.altered:
        Key.parse(text)


def _named(read: FinalRead) -> Iterator[int]:
    """Every number that stands beside the intervals."""
    for one in (read.events or {}).values():
        for sequence, times in one.repeated:
            yield sequence
            yield times
        for sequence, _ in one.others:
            yield sequence


def _require_numbers(numbers: Iterator[int]) -> None:
    if any(not 0 < number <= MAXIMUM_SEQUENCE for number in numbers):
        raise Impossible("repeated or others: a number that no event has")
