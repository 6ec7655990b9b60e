"""What a lab of ours always records and this run lacks: nothing follows from its absence, so the verdict is unknown.

Every row of :data:`QUESTIONS` looks for one kind. A field that an older storefleet did not write is not missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from fleetwire.identity import Terminal
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.history import History, Ledger, ViewRecord
from storefleet.verdict.ledger_holes import sources_with_holes

EARLY_MS: Final = 5_000
"""A stage reports every second, and once more when it stops: what ends so much earlier than others ends too early."""

Found = Iterator[tuple[str, str]]
"""Code of UNKNOWN_REASONS and the particulars."""


def missing_evidence(history: History) -> Found:
    """All that is missing; the ledger is there."""
    for look in QUESTIONS:
        yield from look(history)


def _ledger_gaps(history: History) -> Found:
    holes = sources_with_holes(history)
    if holes:
        first, numbers = next(iter(holes.items()))
        low, high = numbers.to_list()[0]
        count = sum(numbers.count for numbers in holes.values())
        yield "ledger_gaps", f"{count:,} events of {len(holes):,} sources, the first {first} {low} to {high}"


def _ledger_contradictions(history: History) -> Found:
    for name, entries in (history.ledger or Ledger()).sources.items():
        told = max(entries.applied.last, entries.applied_later.last, *entries.rejected, *entries.attempts, 0)
        if told > entries.sequences.last and not entries.sequences.last < _reported(history, name):
            yield "ledger_contradicts", f"{name}: an outcome or sending of {told:,}; it committed {entries.count:,}"
            return


def _reported(history: History, source: str) -> int:
    """The last number of a source that the terminals themselves reported."""
    reported = history.stages[0].taken.get(source) if history.stages else None
    return reported.last if reported else 0


def _reads_without_value(history: History) -> Found:
    for view in history.views:
        for source, read in sorted((view.read or {}).items()):
            lacking = [
                what
                for what, expected, found in (
                    ("hashes", view.by_value, read.hashes),
                    ("effects", view.by_effect and _has_effects(history, source), read.effects),
                )
                if expected and read.intervals and not found
            ]
            if lacking:
                yield "evidence_missing", f"{view.view}: no {' and no '.join(lacking)} of {source}"
                break


def _has_effects(history: History, source: str) -> bool:
    entries = (history.ledger or Ledger()).sources.get(source)
    return entries is not None and bool(entries.effects)


def _reads_without_totals(history: History) -> Found:
    for view in history.views:
        if view.by_value and view.counted_types and view.read is not None and view.totals_found is None:
            yield "evidence_missing", f"{view.view}: no totals"


def _registers_without_truth(history: History) -> Found:
    for view in history.views:
        if not view.was_read or not (view.named_by or view.follows):
            continue
        lacking = sorted(_names(history, view) - view.registers_expected.keys())
        if lacking:
            yield "evidence_missing", f"{view.view}: not said what {lacking[0]} must show ({len(lacking):,} in all)"


def _names(history: History, view: ViewRecord) -> set[str]:
    """What the view must have registers of: a terminal that was ever online, or its store, or all that a view holds."""
    ledger = history.ledger or Ledger()
    if view.follows:
        followed = next((other.read for other in history.views if other.view == view.follows), None) or {}
        return {name for name, read in followed.items() if _is_known(ledger, name, read)}
    online = ledger.registers.keys() | {name for name, source in ledger.sources.items() if source.applied}
    return set(online) if view.named_by == "terminal" else {Terminal.parse(name).store_id for name in online}


def _is_known(ledger: Ledger, name: str, read: ViewRead) -> bool:
    """Whether all that the view holds of a source is the ledger's: what a stranger does to a till nobody can say."""
    entries = ledger.sources.get(name)
    return entries is not None and not IntervalSet(read.intervals).difference(entries.sequences)


def _witnesses(history: History) -> Found:
    if history.witnessed_bytes is None or any(code.startswith("witnesses_") for code, _ in history.notes):
        return  # an older storefleet, or it is said already
    stages = list({stage.stage: stage for stage in history.stages if stage.witnessed}.values())
    newest_ms = max((stage.last_report_ms or 0 for stage in stages), default=0)
    for stage in stages:
        if stage.last_report_ms is None:
            yield "evidence_missing", f"no report of {stage.stage}"
        elif stage.alive_at_end and stage.last_report_ms < newest_ms - EARLY_MS:
            early_s = (newest_ms - stage.last_report_ms) / 1000
            yield "evidence_missing", f"the reports of {stage.stage} end {early_s:,.1f} s before those of others"


QUESTIONS: Final[tuple[Callable[[History], Found], ...]] = (
    _ledger_gaps,
    _ledger_contradictions,
    _reads_without_value,
    _reads_without_totals,
    _registers_without_truth,
    _witnesses,
)
