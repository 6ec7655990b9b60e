"""Where the events stand that are under way: each once, at the stage that does not move, and at none behind it.

An event that is committed and not through yet lies on one leg of the way: the one behind the farthest stage that is known
to have had it. There it waits for the leg's own stage, unless somebody whom the leg depends on stands still: then it waits
for the first of these, in the order of the way. So what the sync stage has in hand, and what the broker keeps for it
meanwhile, stand at a gateway that is stopped; and what terminals may not send, because nobody answers what they have sent,
stands at whoever holds up the answers.

A stage that nobody reports for (somebody else's, without the control plane) ends no leg: its legs are one with the next.
Sans-io: values in, values out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple


class Waiting(NamedTuple):
    """How many events wait somewhere; ``oldest_ms``: when the oldest of them was committed, unix milliseconds."""

    events: int
    oldest_ms: int

    def with_others(self, others: Waiting) -> Waiting:
        """These and other ones."""
        return Waiting(self.events + others.events, min(self.oldest_ms, others.oldest_ms))


class Wait(NamedTuple):
    """For whom the events of a leg wait: for the first of ``holders`` that stands still, else for the ``owner``."""

    owner: str
    holders: tuple[str, ...]


_POSEIDON: Final = Wait("poseidon", ("chaos", "gateway", "poseidon"))
_VIEWS: Final = Wait("views", ("chaos", "gateway", "views"))

LEGS: Final[dict[str, tuple[Wait, ...]]] = {
    "kept": (Wait("emulator", ("emulator",)),),
    "unsent": (Wait("parm", ("emulator", "chaos", "broker", "parm", "sync_stage", "gateway", "poseidon")),),
    "raw": (Wait("parm", ("chaos", "broker", "parm")),),
    "in_parm": (Wait("parm", ("parm", "chaos", "broker")),),
    "canonical": (Wait("sync_stage", ("chaos", "broker", "sync_stage", "gateway")),),
    "in_sync": (Wait("gateway", ("sync_stage", "chaos", "gateway")),),
    "to_both": (_POSEIDON, _VIEWS),
    "to_poseidon": (_POSEIDON,),
    "to_views": (_VIEWS,),
}
"""In the order of the way: kept by a terminal that is offline or closed; not acknowledged by the broker, of one that is
online; with the broker for PARM; taken by PARM; with the broker for the sync stage; taken by the sync stage; stored in the
gateway, and not read by both, by Poseidon, by the views."""
CLOSED_BY: Final = {"raw": "parm", "in_parm": "parm", "canonical": "sync_stage", "in_sync": "sync_stage"}
"""Leg -> the stage whose report says that an event has left it."""
HANDS: Final = {"in_parm": "parm", "in_sync": "sync_stage"}
"""Leg -> the stage that has its events in hand, by its own counter ``in_hand``."""
_ORDER: Final = tuple(LEGS)


def waits_on(leg: str, unwitnessed: Collection[str] = ()) -> tuple[Wait, ...]:
    """For whom the events of a leg wait, where nobody reports for some stages."""
    further: list[str] = []
    last = leg
    while CLOSED_BY.get(last) in unwitnessed:
        last = _ORDER[_ORDER.index(last) + 1]
        further += [holder for wait in LEGS[last] for holder in wait.holders]
    return tuple(wait._replace(holders=tuple(dict.fromkeys((*wait.holders, *further)))) for wait in LEGS[leg])


def stand(
    legs: Mapping[str, Waiting],
    *,
    standing: Collection[str],
    present: Collection[str],
    unwitnessed: Collection[str] = (),
) -> dict[str, Waiting | None]:
    """Stage -> what waits at it; who is not named has nothing. None: nobody can tell.

    ``standing``: who does not move. What would wait for a stage that is not ``present`` waits at the broker. Of an
    ``unwitnessed`` stage nobody can tell how much of it waits there, while a neighbour that stands still has the rest.
    """
    found: dict[str, Waiting | None] = {}
    unclear: set[str] = set()
    for leg, waiting in legs.items():
        places = set()
        for wait in waits_on(leg, unwitnessed):
            owner = wait.owner if wait.owner in present else "broker"
            place = next((holder for holder in wait.holders if holder in standing), owner)
            places.add(place)
            if place != owner and owner in unwitnessed:
                unclear.add(owner)
        for place in places:
            there = found.get(place)
            found[place] = waiting if there is None else there.with_others(waiting)
    return found | dict.fromkeys(unclear, None)
