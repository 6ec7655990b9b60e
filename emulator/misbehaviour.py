"""Which events a fleet sends damaged, twice, or in two versions: drawn from the seed, so the same in every run."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Literal, NamedTuple

from emulator.business_day import Draft
from emulator.draws import Draws
from emulator.fleet import Fleet, TerminalPlan
from emulator.malformed import applicable

_MILLION = 1_000_000


class Misbehaviour(NamedTuple):
    """What to do wrong with one event; ``malformation`` is a key of MALFORMED, or empty.

    ``again`` names what follows a sound event: nothing, the same content again (``repeat``), or other content under
    the same key (``conflict``). A malformed event is never sent again on purpose.
    """

    malformation: str
    again: Literal["", "repeat", "conflict"]


NONE = Misbehaviour("", "")


def misbehaviour_of(fleet: Fleet, plan: TerminalPlan, sequence: int, event_type: str) -> Misbehaviour:
    """What the terminal does wrong with this event; NONE for nearly all, and at once when every share is 0."""
    if not (fleet.malformed or fleet.repeated or fleet.conflicting):
        return NONE
    draws = Draws(plan.seed, plan.id, "misbehaviour", sequence)
    if draws.below(_MILLION) < fleet.malformed * _MILLION:
        return Misbehaviour(draws.pick(applicable(event_type)), "")
    if draws.below(_MILLION) < fleet.conflicting * _MILLION:
        return Misbehaviour("", "conflict")
    if draws.below(_MILLION) < fleet.repeated * _MILLION:
        return Misbehaviour("", "repeat")
    return NONE


def conflicting(draft: Draft) -> Draft:
    """Another sound event for the same key: the same business on the next business day."""
    day = date.fromisoformat(draft.business_day_date) + timedelta(days=1)
    return draft._replace(business_day_date=day.isoformat())
