"""What an event must have said, made again from the run's plan: the same fleet and seed trade the same business.

The ledger keeps hashes, not bodies. So whoever wants to see what was altered needs the till of that one source, played
again from its first event on. What comes out counts only if its hash is the ledger's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from emulator.business_day import Business, Draft, Till
from emulator.fleet import Fleet
from emulator.misbehaviour import conflicting
from fleetwire.content import content_hash
from fleetwire.errors import SettingsError
from fleetwire.identity import Key
from storefleet.verdict.history import Ledger

REPLAYED_EVENTS: Final = 200_000
"""So many events are played again in all, at most: a few seconds."""


def expected_bodies(fleet_values: Mapping[str, Any], ledger: Ledger, keys: Iterable[Key]) -> dict[Key, dict[str, Any]]:
    """The bodies of these events, of all that can be made again: another fleet's, or too far on, are left out."""
    return {key: msgspec.to_builtins(draft._asdict()) for key, draft in _drafts(fleet_values, ledger, keys)}


def planted_contents(fleet_values: Mapping[str, Any], ledger: Ledger, keys: Iterable[Key]) -> dict[Key, bytes]:
    """Content hash of what the terminals sent beside these events as a planted conflict, of all that can be made again."""
    return {key: _hash(conflicting(draft)) for key, draft in _drafts(fleet_values, ledger, keys)}


def _drafts(fleet_values: Mapping[str, Any], ledger: Ledger, keys: Iterable[Key]) -> Iterator[tuple[Key, Draft]]:
    wanted: dict[str, set[int]] = defaultdict(set)
    for key in keys:
        wanted[key.source].add(key.sequence)
    try:
        fleet = Fleet.from_options(**fleet_values)
        plans = {plan.id: plan for plan in fleet.terminals() if plan.id in wanted}
    except (SettingsError, TypeError):
        return
    business = Business(fleet)
    left = REPLAYED_EVENTS
    for source, numbers in sorted(wanted.items(), key=lambda item: max(item[1])):
        left -= max(numbers)
        if left < 0:
            break
        if source in plans:
            yield from _replayed(Till(plans[source], business), ledger, source, numbers)


def _replayed(till: Till, ledger: Ledger, source: str, numbers: set[int]) -> Iterator[tuple[Key, Draft]]:
    entries = ledger.sources.get(source)
    for sequence in range(1, max(numbers) + 1):
        draft = till.next_event()
        if sequence not in numbers or entries is None or sequence not in entries.sequences:
            continue
        if _hash(draft) == entries.hash_of(sequence):
            yield Key(source, sequence), draft


def _hash(draft: Draft) -> bytes:
    return content_hash(draft.type, draft.time, draft.business_day_date, draft.data)
