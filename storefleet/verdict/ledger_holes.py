"""What a ledger lacks: numbers that a terminal must have committed, since it committed or reported later ones."""

from __future__ import annotations

from fleetwire.intervals import IntervalSet
from storefleet.verdict.history import History, SourceLedger


def holes_of(history: History, source: str) -> IntervalSet:
    """The numbers of one source that are missing in the ledger; nearly always none."""
    entries = (history.ledger.sources.get(source) if history.ledger else None) or SourceLedger()
    reported = history.stages[0].taken.get(source) if history.stages else None
    if reported is not None and reported == entries.sequences and len(reported) == 1:
        return IntervalSet()
    last = max(entries.sequences.last, reported.last if reported else 0)
    if not last or entries.sequences.to_list() == [(1, last)]:
        return IntervalSet()
    return IntervalSet([(1, last)]).difference(entries.sequences)


def sources_with_holes(history: History) -> dict[str, IntervalSet]:
    """Source -> what the ledger lacks of it."""
    ledger = history.ledger.sources if history.ledger else {}
    reported = history.stages[0].taken if history.stages else {}
    found = ((name, holes_of(history, name)) for name in sorted(ledger.keys() | reported.keys()))
    return {name: holes for name, holes in found if holes}
