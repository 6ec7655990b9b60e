"""What the final reads say of a few events: which view holds them, since when, and which could not use them.

Only the wanted sources are decoded. What one view's read says that cannot be costs that view alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Raw, Struct, field

from fleetwire import bounded_json
from fleetwire.identity import Key
from fleetwire.packed_times import END_OF_TIME_MS, unpacked_times
from fleetwire.possible import require_ordered
from fleetwire.witness import ViewRead
from storefleet.verdict.packed_file import read_evidence
from storefleet.verdict.run_format import READS_FORMAT, RUN_VERSION
from storefleet.verdict.views import rows_that_do_not_fit


class Found(NamedTuple):
    """One view knows an event: it holds it since ``at_ms`` (``exact``), or did so then. ``skipped``: why it does not."""

    view: str
    at_ms: int
    exact: bool = True
    skipped: str = ""


class _File(Struct):
    format: str = ""
    version: int = 0
    views: dict[str, Raw] = {}


class _View(Struct):
    at_ms: int
    events: dict[str, Raw] | None = None
    skips: list[dict[str, str]] = field(default_factory=list)


_decode_view = bounded_json.Decoder(_View).decode
_decode_read = bounded_json.Decoder(ViewRead).decode


def events_read(path: Path, views: Collection[str], keys: Collection[Key]) -> dict[Key, list[Found]]:
    """By key, what these views say; nothing where there were no final reads, or they cannot be read."""
    result: dict[Key, list[Found]] = {}
    try:
        file = bounded_json.decode(read_evidence(path), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return result
    if file.format != READS_FORMAT or file.version > RUN_VERSION:
        return result
    for name in views:
        try:
            found = list(_found(name, _decode_view(file.views[name]), keys)) if name in file.views else []
        except ValueError:  # msgspec's errors are ValueErrors
            continue
        for key, one in found:
            result.setdefault(key, []).append(one)
    return result


def _found(name: str, view: _View, keys: Collection[Key]) -> Iterator[tuple[Key, Found]]:
    """Raises ValueError for what cannot be."""
    if not 0 < view.at_ms < END_OF_TIME_MS:
        raise ValueError("at_ms is no time")
    reasons = {skip.get("id", ""): skip.get("reason", "") for skip in view.skips}
    for key in keys:
        if str(key) in reasons:
            yield key, Found(name, view.at_ms, exact=False, skipped=reasons[str(key)] or "no reason")
    held = {key.source for key in keys} & (view.events or {}).keys()
    reads = {source: _read(source, (view.events or {})[source]) for source in held}
    for key in keys:
        position = _position(reads[key.source], key.sequence) if key.source in reads else None
        if position is not None:
            applied_ms = _applied_ms(reads[key.source], position)
            yield key, Found(name, applied_ms or view.at_ms, exact=bool(applied_ms))


def _read(source: str, raw: Raw) -> ViewRead:
    read = _decode_read(raw)
    require_ordered({source: read.intervals}, "events")
    if problem := rows_that_do_not_fit(read, sum(last - first + 1 for first, last in read.intervals)):
        raise ValueError(problem)
    return read


def _position(read: ViewRead, sequence: int) -> int | None:
    """Where the number stands among all that the intervals hold; None: it is not there."""
    before = 0
    for first, last in read.intervals:
        if first <= sequence <= last:
            return before + sequence - first
        before += last - first + 1
    return None


def _applied_ms(read: ViewRead, position: int) -> int:
    """0: the view does not say when, or says no time."""
    times_ms = unpacked_times(read.applied_at_ms)
    at_ms = times_ms[position] if times_ms else 0
    return at_ms if 0 < at_ms < END_OF_TIME_MS else 0
