"""Some events of a class by name, with what was expected and what was found side by side."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from fleetwire.content import HASH_BYTES
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import unpacked_times
from fleetwire.witness import ViewRead
from storefleet.verdict.addresses import Places
from storefleet.verdict.classify import Judged, rejected_unexpectedly
from storefleet.verdict.contents import contents_of
from storefleet.verdict.ends import ends
from storefleet.verdict.field_differences import field_differences
from storefleet.verdict.history import History, Sets, SourceLedger, StageRecord, ViewRecord, key_text, path_to
from storefleet.verdict.result import EXAMPLE_LIMIT, Example, FieldDifference


def examples(history: History, judged: Judged, places: Places, name: str) -> list[Example]:
    """At most EXAMPLE_LIMIT events of a class, by key; of every view that shows any, as many as of the others."""
    return [
        example(history, judged, places, name=name, source=source, sequence=sequence)
        for source, sequence in islice(_telling(history, judged, name), EXAMPLE_LIMIT)
    ]


def _keys(judged: Judged, name: str) -> list[tuple[str, int]]:
    """The views take turns, so that the many events of one do not hide the few of another."""
    overall = judged.overall.sets.get(name, {})
    shown = [classes.sets[name] for classes in judged.by_view.values() if name in classes.sets]
    turns = [_members(overall, sets) for sets in shown] + [_members(overall, overall)]
    keys: dict[tuple[str, int], None] = {}
    while turns and len(keys) < EXAMPLE_LIMIT:
        for turn in list(turns):
            key = next((key for key in turn if key not in keys), None)
            if key is None:
                turns.remove(turn)
            elif len(keys) < EXAMPLE_LIMIT:
                keys[key] = None
    return sorted(keys)


def _members(overall: Sets, sets: Sets) -> Iterator[tuple[str, int]]:
    for source, members in sorted(sets.items()):
        for sequence in members.numbers():
            if sequence in overall.get(source, IntervalSet()):
                yield source, sequence


def _telling(history: History, judged: Judged, name: str) -> Iterator[tuple[str, int]]:
    """Those that speak against the run first: the unexpectedly rejected must not hide behind the others."""
    if name != "rejected" or history.ledger is None:
        return iter(_keys(judged, name))
    sources, allowed = history.ledger.sources, history.allowed_rejections
    overall = judged.overall.sets.get(name, {})
    keys = list(_members(overall, overall))
    return iter(sorted(keys, key=lambda key: not rejected_unexpectedly(sources[key[0]], key[1], allowed)))


def example(history: History, judged: Judged, places: Places, *, name: str, source: str, sequence: int) -> Example:
    """One event of a class, with all that is known of it."""
    ledger = (history.ledger.sources.get(source) if history.ledger else None) or SourceLedger()
    view = _showing(history, judged, name, source, sequence)
    address = list(places.of(name, source, sequence))
    last, last_step, first = ends(way_to(history, view), view, address)
    return Example(
        name=key_text(source, sequence),
        view=view.view if view else "",
        guest=history.ledger is not None and source not in history.ledger.sources,
        expected=_expected(ledger, sequence),
        found=_found(ledger, view, name, source, sequence),
        places=address,
        fields=_fields(history, view, Key(source, sequence)) if name == "corrupted" and view else [],
        last_seen=last,
        last_seen_step=last_step,
        first_missing=first,
        sent_at_ms=ledger.times_ms[ledger.position(sequence)] if sequence in ledger.sequences else 0,
    )


def way_to(history: History, view: ViewRecord | None) -> list[StageRecord]:
    """The stages on the way to a view; of no view, to the first that events have."""
    last = view or next((one for one in history.views if one.holds == "events"), None)
    return way_to_step(history, last.step if last is not None else "")


def way_to_step(history: History, step: str) -> list[StageRecord]:
    """The stages on the way to a step."""
    return path_to({stage.step: stage for stage in history.stages}, step)


def _fields(history: History, view: ViewRecord, key: Key) -> list[FieldDifference]:
    """What differs, where both bodies are known."""
    place = view.view, key
    if key not in history.expected_bodies or place not in history.found_bodies:
        return []
    found = history.found_bodies[place]
    own = {"source": key.source, "sequence": key.sequence, "key": str(key)}
    named = {name: value for name, value in own.items() if name in found}
    return field_differences({**history.expected_bodies[key], **named}, found)


def _showing(history: History, judged: Judged, name: str, source: str, sequence: int) -> ViewRecord | None:
    """The first view in which the event is of this class."""
    for view in history.views:
        sets = judged.by_view[view.view].sets if view.view in judged.by_view else {}
        if sequence in sets.get(name, {}).get(source, IntervalSet()):
            return view
    return None


def _expected(ledger: SourceLedger, sequence: int) -> str:
    if sequence not in ledger.sequences:
        return "nothing: no terminal sent it"
    if sequence in ledger.malformed:
        return f"rejected: {ledger.malformed[sequence]}"
    return f"content {ledger.hash_of(sequence).hex()}"


def _found(ledger: SourceLedger, view: ViewRecord | None, name: str, source: str, sequence: int) -> str:
    if name == "rejected" and sequence in ledger.rejected:
        stage, reason = ledger.rejected[sequence]
        return f"rejected by {stage}: {reason}"
    if view is None:
        return "no outcome" if name == "never_read" else "acknowledged as applied"
    content = _content(view, source, sequence)
    if name == "corrupted" and (view.read or {})[source].others:
        content = _contents((view.read or {})[source], sequence) or content
    if name == "duplicated":
        times = dict((view.read or {})[source].repeated).get(sequence, 1)
        return f"{content}, {times} times"
    if name == "unexpected" and sequence in ledger.rejected:
        return f"{content}, although rejected by {ledger.rejected[sequence][0]}"
    return content if name != "stale" else _how_late(view, ledger, source, sequence)


def _how_late(view: ViewRecord, ledger: SourceLedger, source: str, sequence: int) -> str:
    """By the view's own times, where it says them; else that it came too late."""
    read = (view.read or {}).get(source)
    applied = (
        zip(IntervalSet(read.intervals).numbers(), unpacked_times(read.applied_at_ms), strict=False) if read else ()
    )
    at_ms = next((at_ms for number, at_ms in applied if number == sequence), 0)
    if not at_ms or sequence not in ledger.sequences:
        return "too late"
    after_ms = at_ms - ledger.times_ms[ledger.position(sequence)]
    return f"applied by {view.view} {after_ms / 1000:.1f} s after it was sent, deadline {view.deadline_s:.1f} s"


def _contents(read: ViewRead, sequence: int) -> str:
    """All that was seen under its key."""
    contents = [content.hex() for content in contents_of(read, sequence)]
    return f"contents {' and '.join(contents)}" if len(contents) > 1 else f"content {contents[0]}" if contents else ""


def _content(view: ViewRecord, source: str, sequence: int) -> str:
    read = (view.read or {}).get(source)
    start = 0
    for first, last in read.intervals if read else []:
        if first <= sequence <= last:
            at = start + (sequence - first) * HASH_BYTES
            assert read is not None
            return f"content {read.hashes[at : at + HASH_BYTES].hex()}" if read.hashes else "there"
        start += (last - first + 1) * HASH_BYTES
    return "absent"
