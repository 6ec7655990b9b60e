"""Events that got no outcome: which of them had their whole deadline in a healed lab, so that somebody must answer for them.

A terminal that was closed on purpose keeps what it has until it opens again: only what had its deadline before it closed
is anybody's. What had its deadline only because the machine stood still meanwhile is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fleetwire.intervals import IntervalSet
from storefleet.verdict.history import FOREVER_MS, History, Ledger, Sets, SourceLedger
from storefleet.verdict.lateness import had_whole_deadline
from storefleet.verdict.machine import Standstill


@dataclass(slots=True)
class Unanswered:
    """Of the events that were never read and have no outcome: those that are ``overdue``, and how many are ``excused``."""

    overdue: Sets = field(default_factory=dict)
    excused: int = 0
    """Overdue by the clock, and not by the time that the machine ran."""

    @property
    def count(self) -> int:
        """How many are overdue."""
        return sum(members.count for members in self.overdue.values())


def unanswered(history: History, never_read: Sets) -> Unanswered:
    """Judge what is of class never_read, as it was when the first view was asked, or when its terminal was closed."""
    result = Unanswered()
    view = next((view for view in history.views if view.holds == "events" and view.read is not None), None)
    told_ms = history.told_until_ms
    if view is None or told_ms is None or not history.drains:
        return result
    standstill = Standstill(history.stalls, history.machine)
    deadline_ms = round(view.deadline_s * 1000)
    ledger = history.ledger or Ledger()
    for source, members in never_read.items():
        entries = ledger.sources.get(source) or SourceLedger()
        at_ms = min(told_ms, _closed_ms(ledger, source))
        ran_ms = standstill.running_limit_ms(at_ms, deadline_ms)
        silent = without_outcome(entries, members)
        due = silent.intersection(had_whole_deadline(view, entries, at_ms=at_ms, limit_ms=at_ms - deadline_ms))
        overdue = due.intersection(had_whole_deadline(view, entries, at_ms=at_ms, limit_ms=ran_ms))
        if overdue:
            result.overdue[source] = overdue
        result.excused += due.count - overdue.count
    return result


def without_outcome(entries: SourceLedger, members: IntervalSet) -> IntervalSet:
    """Those of which the terminal was never told anything."""
    told = IntervalSet((number, number) for number in sorted(entries.rejected))
    return members.difference(entries.applied).difference(entries.applied_later).difference(told)


def _closed_ms(ledger: Ledger, source: str) -> int:
    """Since when its terminal is closed on purpose; FOREVER_MS: it is open."""
    register = ledger.registers.get(source)
    return register.at_ms if register is not None and register.reason == "planned_close" else FOREVER_MS
