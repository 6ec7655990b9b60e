"""What a lab of ours always records and this run lacks: nothing follows from its absence, so the verdict is unknown.

Every row of :data:`QUESTIONS` looks for one kind. A field that an older storefleet did not write is not missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import END_OF_TIME_MS
from fleetwire.witness import ViewRead
from storefleet.verdict.history import History, Ledger, Sets, ViewRecord

EARLY_MS: Final = 5_000
"""A stage reports every second, and once more when it stops: what ends so much earlier than others ends too early."""

APPEND_ONLY: Final = ("event", "outcome", "attempt", "planted")
"""Tables of the ledger."""

Found = Iterator[tuple[str, str]]
"""Code of UNKNOWN_REASONS and the particulars."""


def missing_evidence(history: History) -> Found:
    """All that is missing but events in the ledger, which is there."""
    for look in QUESTIONS:
        yield from look(history)


def ledger_gaps(holes: Sets) -> Found:
    """What the ledger lacks, by source."""
    if holes:
        first, numbers = next(iter(holes.items()))
        low, high = numbers.to_list()[0]
        count = sum(numbers.count for numbers in holes.values())
        yield "ledger_gaps", f"{count:,} events of {len(holes):,} sources, the first {first} {low} to {high}"


def _ledger_contradictions(history: History) -> Found:
    for name, entries in (history.ledger or Ledger()).sources.items():
        if entries.applied == entries.sequences and not (entries.applied_later or entries.rejected or entries.attempts):
            continue
        told = max(entries.applied.last, entries.applied_later.last, *entries.rejected, *entries.attempts, 0)
        if told > entries.sequences.last and not entries.sequences.last < _reported(history, name):
            yield "ledger_contradicts", f"{name}: an outcome or sending of {told:,}; it committed {entries.count:,}"
            return


def _ledger_rows(history: History) -> Found:
    """Nothing is ever deleted from these tables, so that their newest row is as many as they have."""
    for table in APPEND_ONLY:
        mark = history.ledger.tables.get(table) if history.ledger else None
        if mark is not None and mark.rows != mark.newest_row:
            yield "evidence_missing", f"the ledger has {mark.rows:,} rows of {table}, the newest is {mark.newest_row:,}"


def _ledger_effects(history: History) -> Found:
    for name, entries in (history.ledger or Ledger()).sources.items():
        if entries.lacking_effects:
            lacking = f"{entries.lacking_effects:,} of {entries.count:,} events"
            yield "evidence_missing", f"the ledger does not say what {lacking} of {name} do"
            return


def _reported(history: History, source: str) -> int:
    """The last number of a source that the terminals themselves reported."""
    reported = history.stages[0].taken.get(source) if history.stages else None
    return reported.last if reported else 0


def _reads_without_a_row(history: History) -> Found:
    for view in history.views:
        rows = {
            "hashes": _without_hashes(view),
            "effects": _without_effects(view, history),
            "times": _without_times(view, history),
        }
        for row, sources in rows.items():
            if sources:
                yield "evidence_missing", f"{view.view}: no {row} of {min(sources)}"


def _without_hashes(view: ViewRecord) -> list[str]:
    reads = (view.read or {}) if view.by_value else {}
    return [source for source, read in reads.items() if not read.hashes and read.intervals]


def _without_effects(view: ViewRecord, history: History) -> list[str]:
    reads = (view.read or {}) if view.by_effect else {}
    ledger = (history.ledger or Ledger()).sources
    lacking = [source for source, read in reads.items() if not read.effects and read.intervals]
    return [source for source in lacking if source in ledger and ledger[source].effects]


def _without_times(view: ViewRecord, history: History) -> list[str]:
    """Of a stranger's documents nobody need know when they came."""
    reads = (view.read or {}) if view.timed else {}
    ledger = (history.ledger or Ledger()).sources
    return [source for source, read in reads.items() if not read.applied_at_ms and read.intervals and source in ledger]


def _reads_without_totals(history: History) -> Found:
    for view in history.views:
        if view.by_value and view.counted_types and view.read is not None and view.totals_found is None:
            yield "evidence_missing", f"{view.view}: no totals"


def _registers_without_truth(history: History) -> Found:
    for view in history.views:
        if not view.was_read or not (view.named_by or view.follows):
            continue
        lacking = _lacking(history, view)
        if lacking:
            yield "evidence_missing", f"{view.view}: not said what {min(lacking)} must show ({len(lacking):,} in all)"


def _lacking(history: History, view: ViewRecord) -> set[str]:
    """What the view must have registers of, and nobody says which: a terminal that was ever online, or its store, or all
    that a view holds."""
    ledger = history.ledger or Ledger()
    expected = view.registers_expected.keys()
    if view.follows:
        followed = next((other.read for other in history.views if other.view == view.follows), None) or {}
        return {name for name in followed.keys() - expected if _is_known(ledger, name, followed[name])}
    online = ledger.registers.keys() | {name for name, source in ledger.sources.items() if source.applied}
    names = online if view.named_by == "terminal" else {name.rpartition(".")[0] for name in online}
    return names - expected


def _is_known(ledger: Ledger, name: str, read: ViewRead) -> bool:
    """Whether all that the view holds of a source is the ledger's: what a stranger does to a till nobody can say."""
    entries = ledger.sources.get(name)
    if entries is None:
        return False
    return read.intervals == entries.sequences.to_list() or not IntervalSet(read.intervals).difference(
        entries.sequences
    )


def _witnesses(history: History) -> Found:
    if history.witnessed_bytes is None or any(code.startswith("witnesses_") for code, _ in history.notes):
        return  # an older storefleet, or it is said already
    stages = list({stage.stage: stage for stage in history.stages if stage.witnessed}.values())
    latest_ms = END_OF_TIME_MS if history.ended_ms is None else history.ended_ms + EARLY_MS
    newest_ms = max((at_ms for stage in stages if (at_ms := stage.last_report_ms or 0) <= latest_ms), default=0)
    for stage in stages:
        if stage.last_report_ms is None:
            yield "evidence_missing", f"no report of {stage.stage}"
        elif stage.last_report_ms > latest_ms:
            late_s = (stage.last_report_ms - latest_ms + EARLY_MS) / 1000
            yield "evidence_missing", f"a report of {stage.stage} is of {late_s:,.1f} s after the end of the run"
        elif stage.alive_at_end and stage.last_report_ms < newest_ms - EARLY_MS:
            early_s = (newest_ms - stage.last_report_ms) / 1000
            yield "evidence_missing", f"the reports of {stage.stage} end {early_s:,.1f} s before those of others"


QUESTIONS: Final[tuple[Callable[[History], Found], ...]] = (
    _ledger_contradictions,
    _ledger_rows,
    _ledger_effects,
    _reads_without_a_row,
    _reads_without_totals,
    _registers_without_truth,
    _witnesses,
)
