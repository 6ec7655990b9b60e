"""Hand-written histories: a healthy run of a few terminals, and ways to spoil it at one place."""

from __future__ import annotations

from fleetwire.content import HASH_BYTES
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.history import History, Ledger, StageRecord, ViewRecord
from storefleet.verdict.journey import JOURNEY, VIEWS, JourneyStep, JourneyView

SOURCES = ("taco.west.s0001.r01", "taco.west.s0001.r02", "bagel.east.s0002.r01")
START_MS = 1_700_000_000_000
RETAIL = "transaction.retail"


def content(source: str, sequence: int, salt: int = 0) -> bytes:
    """Eight bytes that differ by key and salt."""
    return (SOURCES.index(source) * 1_000_000 + sequence * 10 + salt).to_bytes(HASH_BYTES)


def ledger(events: int = 10, sources: tuple[str, ...] = SOURCES) -> Ledger:
    """Every source committed ``events`` sales of one euro, one a second, and was told that all are applied."""
    result = Ledger()
    for source in sources:
        entries = result.source(source)
        for sequence in range(1, events + 1):
            entries.append(
                sequence,
                content(source, sequence),
                START_MS + sequence * 1000,
                type_code=result.type_code(RETAIL),
                day_code=result.day_code("2025-03-01"),
                amount_cents=100,
            )
        entries.applied.add_range(1, events)
    return result


def read_of(source: str, numbers: IntervalSet, salts: dict[int, int] | None = None) -> ViewRead:
    """A final read of one source that holds these numbers, some of them with another content."""
    hashes = b"".join(content(source, number, (salts or {}).get(number, 0)) for number in numbers.numbers())
    return ViewRead(intervals=numbers.to_list(), hashes=hashes)


def healthy(
    events: int = 10, steps: tuple[JourneyStep, ...] = JOURNEY, views: tuple[JourneyView, ...] = VIEWS
) -> History:
    """A run in which everything arrived."""
    truth = ledger(events)
    history = History(ledger=truth)
    for step in steps:
        seen = step.witnessed and not step.foreign
        sets = [{source: IntervalSet([(1, events)]) for source in truth.sources} if seen else {} for _ in range(2)]
        history.stages.append(
            StageRecord(
                step=step.step,
                stage=step.stage,
                hop_before=step.hop_before,
                after=step.after,
                witnessed=seen,
                foreign=step.foreign,
                taken=sets[0],
                handed_on=sets[1],
            )
        )
    history.views = [view_of(view, truth) for view in views]
    return history


def view_of(view: JourneyView, truth: Ledger) -> ViewRecord:
    """A view that agrees with the ledger and did so two seconds after healing."""
    record = ViewRecord(view=view.view, step=view.step, hop=view.hop, holds=view.holds, follows=view.follows)
    record.counted_types = list(view.counted_types)
    record.healed_at_ms = START_MS + 20_000
    record.converged_at_ms = START_MS + 22_000
    record.read_at_ms = START_MS + 40_000
    if view.holds == "events":
        record.read = {source: read_of(source, entries.sequences) for source, entries in truth.sources.items()}
    else:
        names = SOURCES if view.named_by == "terminal" or view.follows else ("taco.west.s0001", "bagel.east.s0002")
        record.registers_expected = dict.fromkeys(names, "OPEN")
        record.registers_found = dict(record.registers_expected)
    return record


def stage(history: History, step: str) -> StageRecord:
    """The stage at a step."""
    return next(stage for stage in history.stages if stage.step == step)


def view(history: History, name: str) -> ViewRecord:
    """The view of that name."""
    return next(view for view in history.views if view.view == name)


def remove(sets: dict[str, IntervalSet], source: str, sequence: int) -> None:
    """Take one number out of the set of a source."""
    if source in sets:
        sets[source] = sets[source].difference(IntervalSet([(sequence, sequence)]))


def forget(history: History, name: str, source: str, sequence: int) -> None:
    """Take one event out of the final read of a view."""
    record = view(history, name)
    assert record.read is not None
    numbers = IntervalSet(record.read[source].intervals).difference(IntervalSet([(sequence, sequence)]))
    record.read[source] = read_of(source, numbers)


def lose(history: History, source: str, sequence: int, *, after: str, handed_on: bool) -> None:
    """Lose an event behind a step: it was taken there (and handed on), and nothing behind saw it."""
    behind: set[str] = set()
    for record in history.stages:
        if record.after == after or record.after in behind:
            behind.add(record.step)
            remove(record.taken, source, sequence)
            remove(record.handed_on, source, sequence)
    if not handed_on:
        remove(stage(history, after).handed_on, source, sequence)
    for reader in history.views:
        if reader.holds == "events" and (reader.step in behind or (reader.hop and reader.step == after)):
            forget(history, reader.view, source, sequence)
