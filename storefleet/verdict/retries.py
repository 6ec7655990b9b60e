"""Which events a stage really took first on a retry, over all its instances and incarnations. Pure.

An incarnation says of each event whether it took it first on a retry, and it knows only what it has seen itself. What any
other had taken before, it takes again, whatever it says. What a report named before the terminal's ledger sent it again was
taken at the first sending: the message itself says how often it was sent, and anybody on the way may have written that. And
an incarnation that began without all that its predecessor knew cannot tell a loss before the stage from one with the
predecessor: of what was committed before it began, that is not known.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import NamedTuple

from fleetwire.intervals import Interval, IntervalSet
from storefleet.verdict.history import Ledger, SourceLedger, StageRecord


class Taking(NamedTuple):
    """What an incarnation took of a source, and what of it first on a retry."""

    taken: IntervalSet
    on_retry: IntervalSet


Place = tuple[int, int]
"""Instance and incarnation."""
Takings = dict[str, Taking]
"""By source."""


class SaidOnRetry:
    """What incarnations of a stage say they took first on a retry, held against what the stage reported meanwhile.

    Give ``hear`` the reports in the order of the file, until nothing is ``waiting``.
    """

    def __init__(self, takings: Mapping[Place, Takings], ledger: Ledger) -> None:
        self.waiting: dict[str, list[tuple[int, int]]] = {}
        """Source -> (when it was sent again, number), newest first."""
        self._taken: dict[str, IntervalSet] = {}
        self._refuted: dict[str, IntervalSet] = {}
        for own in takings.values():
            for source, taking in own.items():
                resent_ms = ledger.sources[source].resent_ms if taking.on_retry and source in ledger.sources else {}
                said = [(at_ms, number) for number, at_ms in resent_ms.items() if number in taking.on_retry]
                if said:
                    self.waiting[source] = sorted({*said, *self.waiting.get(source, ())}, reverse=True)

    def hear(self, at_ms: int, taken: Mapping[str, list[Interval]]) -> None:
        """One report."""
        for source in self.waiting.keys() & taken.keys():
            self._settle(source, at_ms)
            self._taken.setdefault(source, IntervalSet()).update(IntervalSet(taken[source]))

    def refuted(self) -> dict[str, IntervalSet]:
        """What a report named as taken before the terminal sent it again; source -> numbers."""
        for source in list(self.waiting):
            self._settle(source, math.inf)
        return self._refuted

    def _settle(self, source: str, until_ms: float) -> None:
        """What was sent again by then had been taken before if it is known by now."""
        resent, taken = self.waiting[source], self._taken.get(source, ())
        while resent and resent[-1][0] <= until_ms:
            _, number = resent.pop()
            if number in taken:
                self._refuted.setdefault(source, IntervalSet()).add(number)
        if not resent:
            del self.waiting[source]


def enter_retries(
    record: StageRecord,
    takings: Mapping[Place, Takings],
    blanks: Mapping[Place, int],
    ledger: Ledger,
    taken_before: Mapping[str, IntervalSet],
) -> None:
    """Fill ``first_taken_on_retry``, ``retry_undecided``. ``blanks``: incarnation without a memory -> its first report;
    ``taken_before``: what the stage had taken, by its own reports, before it was sent again."""
    for source in sorted({name for own in takings.values() for name in own}):
        entries = ledger.sources.get(source) or SourceLedger()
        own = {place: takings[place][source] for place in sorted(takings) if source in takings[place]}
        early = taken_before.get(source)
        if early:
            own = {place: Taking(one.taken, one.on_retry.difference(early)) for place, one in own.items()}
        sure, unsure = _of_source(own, blanks, entries)
        if sure:
            record.first_taken_on_retry[source] = sure
        if unsure:
            record.retry_undecided[source] = unsure


def _of_source(
    own: Mapping[Place, Taking], blanks: Mapping[Place, int], entries: SourceLedger
) -> tuple[IntervalSet, IntervalSet]:
    sure, unsure, at_first = IntervalSet(), IntervalSet(), IntervalSet()
    for instance in dict.fromkeys(instance for instance, _ in own):
        before, retried = IntervalSet(), IntervalSet()
        for place, taking in own.items():
            if place[0] != instance:
                continue
            fresh = taking.on_retry.difference(before)
            doubtful = fresh.intersection(_committed_until(entries, _blank_ms(place, blanks)))
            unsure.update(doubtful)
            sure.update(fresh.difference(doubtful))
            retried.update(fresh)
            before.update(taking.taken)
        at_first.update(before.difference(retried))
    return sure.difference(at_first), unsure.difference(at_first).difference(sure)


def _blank_ms(place: Place, blanks: Mapping[Place, int]) -> int:
    """Until when this incarnation cannot know what others of its stage took; 0: it knows all."""
    instance, incarnation = place
    mine = (at_ms for (one, number), at_ms in blanks.items() if one == instance and number <= incarnation)
    others = (at_ms for (one, _), at_ms in blanks.items() if one != instance)
    return max((*mine, *others), default=0)


def _committed_until(entries: SourceLedger, at_ms: int) -> IntervalSet:
    count = bisect_right(entries.times_ms, at_ms)
    return IntervalSet([(1, entries.sequence_at(count - 1))]) if count else IntervalSet()
