"""Every event that is not as it should be, with its address: one table of evidence questions, one row a class.

An event that several views show in the same class is blamed once, by the first of them in flow order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from fleetwire.intervals import IntervalSet
from storefleet.verdict.blame import Address, Evidence, Values, blame
from storefleet.verdict.classify import NO_READ, Judged, by_source
from storefleet.verdict.held_up import HeldUp
from storefleet.verdict.history import History, Ledger, SourceLedger, ViewRecord, key_text
from storefleet.verdict.lateness import Readings, due_moments, overdue, plain_limit
from storefleet.verdict.result import KEY_LIMIT, PlaceAccount

Shares = dict[Address, IntervalSet]


@dataclass(slots=True)
class Places:
    """Class -> address -> source -> numbers."""

    by_class: dict[str, dict[Address, dict[str, IntervalSet]]] = field(default_factory=dict)

    def of(self, name: str, source: str, sequence: int) -> Address:
        """The address of one event; () when it has none."""
        for address, sources in self.by_class.get(name, {}).items():
            if source in sources and sequence in sources[source]:
                return address
        return ()

    def accounts(self) -> list[PlaceAccount]:
        """How many at which address, the most first within a class."""
        return [
            PlaceAccount(what=name, places=list(address), count=count, keys=_first_keys(addresses[address]))
            for name, addresses in self.by_class.items()
            for address, count in sorted(_counts(addresses).items(), key=lambda item: -item[1])
        ]


def _first_keys(sources: dict[str, IntervalSet]) -> list[str]:
    keys = (key_text(source, number) for source, members in sorted(sources.items()) for number in members.numbers())
    return list(islice(keys, KEY_LIMIT))


def _counts(addresses: dict[Address, dict[str, IntervalSet]]) -> dict[Address, int]:
    return {address: sum(members.count for members in sources.values()) for address, sources in addresses.items()}


@dataclass(slots=True)
class _Question:
    """One source's events of one class in one view."""

    evidence: Evidence
    values: Values
    view: ViewRecord
    source: str
    ledger: SourceLedger
    members: IntervalSet
    timeline: dict[str, Readings]
    held_up: HeldUp


def _missing(question: _Question) -> Shares:
    chain = question.evidence.chain(question.view, question.source, question.ledger)
    return blame(chain, question.members)


def _altered(question: _Question) -> Shares:
    chain = question.evidence.value_chain(question.view, question.source, question.members, question.values)
    return blame(chain, question.members)


def _doubled(question: _Question) -> Shares:
    """Every effect is to be idempotent, whatever the hops repeat: the party that shows it twice is to blame."""
    view = question.view
    path = question.evidence.path(view.step)
    return {(path[-1].stage if path and not view.hop else view.view,): question.members}


def _invented(question: _Question) -> Shares:
    return question.evidence.origin(question.view, question.source, question.members)


def _late(question: _Question) -> Shares:
    """By the moment when its deadline had just passed: what every stage had seen then, and who stood still."""
    view, result = question.view, Shares()
    path = [(stage.hop_before, stage.stage) for stage in question.evidence.path(view.step)]
    for at_ms, late in _moments(question):
        chain = question.evidence.chain_at(view, question.source, question.ledger, at_ms)
        for address, members in blame(chain, late).items():
            culprit = question.held_up.culprit(address, path, at_ms)
            result.setdefault(culprit, IntervalSet()).update(members)
    return result


def _moments(question: _Question) -> Iterator[tuple[int, IntervalSet]]:
    """Moments, and which members were overdue and not there; every member once."""
    view, rest = question.view, question.members
    read = (view.read or {}).get(question.source, NO_READ)
    for at_ms, late in due_moments(view, question.ledger, read, rest):
        yield at_ms, late
        rest = rest.difference(late)
    limit = plain_limit(view)
    for at_ms, seen in question.timeline.get(question.source, []):
        late = overdue(view, question.ledger, seen, at_ms=at_ms, limit_ms=limit(at_ms)).intersection(rest)
        if late:
            yield at_ms, late
            rest = rest.difference(late)
    if rest and view.asked_at_ms is not None:
        yield view.asked_at_ms, rest


QUESTIONS: Final[dict[str, Callable[[_Question], Shares]]] = {
    "lost": _missing,
    "corrupted": _altered,
    "duplicated": _doubled,
    "unexpected": _invented,
    "stale": _late,
    "never_read": _missing,
}


def account_places(history: History, judged: Judged) -> Places:
    """The addresses of all events of a class that has any."""
    result = Places()
    evidence = Evidence(history)
    values = Values({name: classes.sets.get("corrupted", {}) for name, classes in judged.by_view.items()})
    views = [view for view in history.views if view.view in judged.by_view]
    timelines = {view.view: by_source(view.timeline) for view in views} if judged.overall.sets.get("stale") else {}
    ledger = history.ledger or Ledger()
    held_up = HeldUp(history.stalls)
    for name, ask in QUESTIONS.items():
        for source, members in judged.overall.sets.get(name, {}).items():
            rest = members
            for view in views:
                here = rest.intersection(judged.by_view[view.view].sets.get(name, {}).get(source, IntervalSet()))
                if not here:
                    continue
                entries = ledger.sources.get(source) or SourceLedger()
                timeline = timelines.get(view.view, {})
                shares = ask(_Question(evidence, values, view, source, entries, here, timeline, held_up))
                _enter(result, name, source, shares)
                rest = rest.difference(here)
    return result


def _enter(result: Places, name: str, source: str, shares: Shares) -> None:
    addresses = result.by_class.setdefault(name, {})
    for address, members in shares.items():
        addresses.setdefault(address, {}).setdefault(source, IntervalSet()).update(members)
