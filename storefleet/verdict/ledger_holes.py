"""What a ledger lacks: numbers that a terminal must have committed, since it committed or reported later ones."""

from __future__ import annotations

from fleetwire.intervals import IntervalSet
from storefleet.verdict.history import History, SourceLedger


def _holes_of(entries: SourceLedger, reported: IntervalSet | None) -> IntervalSet:
    last = max(entries.sequences.last, reported.last if reported else 0)
    if not last or entries.sequences.to_list() == [(1, last)]:
        return IntervalSet()
    return IntervalSet([(1, last)]).difference(entries.sequences)


def sources_with_holes(history: History) -> dict[str, IntervalSet]:
    """Source -> what the ledger lacks of it."""
    ledger = history.ledger.sources if history.ledger else {}
    reported = history.stages[0].taken if history.stages else {}
    result = {}
    for name in ledger.keys() | reported.keys():
        entries, numbers = ledger.get(name) or SourceLedger(), reported.get(name)
        if numbers != entries.sequences or len(entries.sequences) > 1:
            result[name] = _holes_of(entries, numbers)
    return {name: holes for name, holes in sorted(result.items()) if holes}
