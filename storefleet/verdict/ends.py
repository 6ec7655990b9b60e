"""Both ends of a place: the last stage that had an event by all evidence, and the first behind it that lacks it.

An address (:mod:`storefleet.verdict.blame`) names what lies between them; people ask for the ends. Of a single stage the
event came in and never out, so it is last seen there, and the next one lacks it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from storefleet.verdict.history import StageRecord, ViewRecord


class Ends(NamedTuple):
    """``last_step`` tells apart the passages of a stage that the journey passes twice; empty: there is no such end."""

    last: str = ""
    last_step: str = ""
    first: str = ""


class _Place(NamedTuple):
    name: str
    step: str
    is_hop: bool


def ends(path: Sequence[StageRecord], view: ViewRecord | None, address: Sequence[str]) -> Ends:
    """The ends of an address on the way to a view; none where it does not lie there.

    Where it begins with a stage, that stage took the event; where it ends with one, what came out of it lacks the event.
    """
    way = _way(path, view)
    begin = _find([place.name for place in way], address)
    if begin < 0:
        return Ends()
    last = way[max(0, begin - way[begin].is_hop)]
    behind = (place.name for place in way[begin + len(address) :] if not place.is_hop)
    return Ends(last.name, last.step, next(behind, way[-1].name))


def _way(path: Sequence[StageRecord], view: ViewRecord | None) -> list[_Place]:
    way: list[_Place] = []
    for stage in path:
        if stage.hop_before:
            way.append(_Place(stage.hop_before, stage.step, is_hop=True))
        way.append(_Place(stage.stage, stage.step, is_hop=False))
    if view is not None:
        if view.hop:
            way.append(_Place(view.hop, view.step, is_hop=True))
        way.append(_Place(view.view, view.step, is_hop=False))
    return way


def _find(names: Sequence[str], address: Sequence[str]) -> int:
    """Where the address begins; of a way that passes it twice, the first time. -1: nowhere."""
    length = len(address)
    starts = (start for start in range(len(names)) if [*names[start : start + length]] == [*address])
    return next(starts, -1) if address else -1
