"""The journey of an event as data: which stage stands behind which hop, and which view hangs on which stage.

A journey is a tree of steps in flow order. A stage may be passed twice (the broker is), so a step has its own name.
Nothing in the checker knows a stage by name; another order is another list.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, Literal

from msgspec import Struct


class JourneyStep(Struct, frozen=True, kw_only=True):
    """One passage through a stage; ``after`` is the step before it ('' for the first), ``hop_before`` the way there."""

    step: str
    stage: str
    hop_before: str = ""
    after: str = ""
    witnessed: bool = True
    foreign: bool = False


class JourneyView(Struct, frozen=True, kw_only=True):
    """A view that is read at the end: it belongs to a step, or reads it over a ``hop`` of its own.

    ``types``: the event types that it holds; empty = all. ``counted_types``: those that its totals count. ``by_value``: its
    read has the content of every event, ``by_effect``: also what it shows of each, ``timed``: also when it applied each.
    ``named_by``: what a register is of.
    ``follows``: a view of registers that shows what that view of events holds: it is right at every moment, and never
    waited for. ``heard``: nobody keeps it, the lab itself heard it on the broker.
    """

    view: str
    step: str
    hop: str = ""
    holds: Literal["events", "registers"] = "events"
    types: list[str] = []
    counted_types: list[str] = []
    by_value: bool = False
    by_effect: bool = False
    timed: bool = False
    named_by: Literal["", "terminal", "store"] = ""
    follows: str = ""
    heard: bool = False


JOURNEY: Final[tuple[JourneyStep, ...]] = (
    JourneyStep(step="emulator", stage="emulator"),
    JourneyStep(step="broker-raw", stage="broker", hop_before="terminals-broker", after="emulator", witnessed=False),
    JourneyStep(step="parm", stage="parm", hop_before="parm-broker", after="broker-raw"),
    JourneyStep(step="broker-canonical", stage="broker", hop_before="parm-broker", after="parm", witnessed=False),
    JourneyStep(step="sync_stage", stage="sync_stage", hop_before="sync-broker", after="broker-canonical"),
    JourneyStep(step="gateway", stage="gateway", hop_before="sync-gateway", after="sync_stage"),
    JourneyStep(step="poseidon", stage="poseidon", hop_before="poseidon-gateway", after="gateway"),
    JourneyStep(step="views", stage="views", hop_before="views-gateway", after="gateway"),
)

VIEWS: Final[tuple[JourneyView, ...]] = (
    JourneyView(view="gateway", step="gateway", by_value=True, timed=True),
    JourneyView(view="orders", step="poseidon", by_value=True, by_effect=True, timed=True),
    JourneyView(view="tills", step="poseidon", holds="registers", follows="orders"),
    JourneyView(
        view="sales", step="views", counted_types=["transaction.retail", "transaction.void"], by_value=True, timed=True
    ),
    JourneyView(view="store_board", step="views", holds="registers", named_by="store"),
    JourneyView(view="device_inventory", step="views", holds="registers", named_by="terminal"),
    JourneyView(
        view="olympus_dgs", step="broker-canonical", hop="olympus-broker", holds="registers", named_by="terminal"
    ),
)


def without(steps: Sequence[JourneyStep], stages: Collection[str]) -> list[JourneyStep]:
    """The journey with these stages left out, and every step behind them."""
    left_out: set[str] = set()
    kept = []
    for step in steps:
        if step.stage in stages or step.after in left_out:
            left_out.add(step.step)
        else:
            kept.append(step)
    return kept


def views_of(views: Sequence[JourneyView], steps: Sequence[JourneyStep]) -> list[JourneyView]:
    """The views whose step is there."""
    present = {step.step for step in steps}
    return [view for view in views if view.step in present]
