"""Places on the way of an event at which it can get lost, come in, or be held up, and what a checker can know there.

The way to a view is a row of marks: taken by a stage, held by a store, handed on by a stage, held by the view. A cut
goes between two marks. What must be reported follows from the journey and from who has a witness alone: the places
between the last mark before the cut that says yes and the first one behind it that says no.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from storefleet.selftest.ground import Event, Ground, one
from storefleet.verdict.blame import Address
from storefleet.verdict.history import StageRecord, ViewRecord

TAKEN: Final = "taken"
HANDED_ON: Final = "handed_on"
HELD: Final = "held"


@dataclass(slots=True, frozen=True)
class Mark:
    """``says_yes``: presence shows here; ``says_no``: absence does; ``by_word``: the mark before speaks for it, too.

    ``testifies``: what is not in its witness was never here, whoever it is of.
    """

    step: str
    kind: str
    places: Address
    says_yes: bool
    says_no: bool
    by_word: bool = False
    testifies: bool = False


def marks(ground: Ground, view: ViewRecord, event: Event) -> list[Mark]:
    """The way to a view, from the terminal that committed the event (the first mark) to the view (the last)."""
    result = [Mark("", "committed", (), says_yes=True, says_no=True)]
    before: StageRecord | None = None
    for stage in ground.path(view.step):
        decides = stage.witnessed and ground.committed_ms(event) > stage.undecided_until_ms
        if stage.hop_before:
            said = before is not None and not stage.taken and event.source in before.handed_on
            seen = stage.witnessed and bool(stage.taken)
            says_no, testifies = decides and seen, seen and not stage.undecided_until_ms
            result.append(Mark(stage.step, TAKEN, (stage.hop_before,), seen or said, says_no, said, testifies))
        if stage.step == view.step and not view.hop:
            return [*result, Mark(stage.step, HELD, (stage.stage,), says_yes=True, says_no=True)]
        places: Address = (stage.stage,)
        if any(own.step == stage.step and not own.hop and own is not view for own in ground.event_views):
            result.append(Mark(stage.step, HELD, places, says_yes=True, says_no=True))
            places = ()
        word = stage.witnessed and bool(stage.handed_on)
        says_no = decides and word and bool(stage.hop_before)
        testifies = word and not stage.undecided_until_ms
        result.append(Mark(stage.step, HANDED_ON, places, word, says_no, testifies=testifies))
        before = stage
    return [*result, Mark(view.step, HELD, (view.hop, view.view), says_yes=True, says_no=True)]


def span(way: list[Mark], cut: int) -> Address:
    """The places that are left for what was there before the cut and is not behind it."""
    known = max(
        index for index, mark in enumerate(way) if (index < cut and mark.says_yes) or (index <= cut and mark.by_word)
    )
    lacking = min(index for index, mark in enumerate(way) if index >= cut and mark.says_no)
    return tuple(place for mark in way[known + 1 : lacking + 1] for place in mark.places)


def entry_span(way: list[Mark], cut: int) -> Address:
    """The places at which something came in that is behind the cut and was not before it; stores do not testify."""
    witnesses = [index for index, mark in enumerate(way) if mark.kind in (TAKEN, HANDED_ON)]
    last_no = max((index for index in witnesses if index < cut and way[index].testifies), default=0)
    yes = (index for index in witnesses if index >= cut and way[index].says_yes and not way[index].by_word)
    first_yes = min(yes, default=len(way) - 1)
    return tuple(place for mark in way[last_no + 1 : first_yes + 1] for place in mark.places)


def draw_cut(ground: Ground, event: Event) -> Mark:
    """Any mark on the way to any view; the cut goes before it."""
    way = marks(ground, ground.event_view(), event)
    return ground.random.choice(way[1:])


def cut_views(ground: Ground, cut: Mark) -> list[ViewRecord]:
    """The views of events that lie behind a cut, in flow order."""
    behind = {stage.step for stage in ground.behind(cut.step)}
    at_step = cut.kind != HANDED_ON
    return [view for view in ground.event_views if view.step in behind or (at_step and view.step == cut.step)]


def lose(ground: Ground, cut: Mark, event: Event) -> None:
    """Nobody behind the cut has seen the event."""
    number = one(event.sequence)
    stage = ground.stage(cut.step)
    if cut.kind == TAKEN:
        ground.without(stage.taken, event.source, number)
    ground.without(stage.handed_on, event.source, number)
    for later in ground.behind(cut.step):
        ground.without(later.taken, event.source, number)
        ground.without(later.handed_on, event.source, number)
    for view in cut_views(ground, cut):
        ground.forget(view, event)


def place_of_loss(ground: Ground, cut: Mark, event: Event) -> tuple[str, Address]:
    """The first view behind the cut, and the address that it gives."""
    view = cut_views(ground, cut)[0]
    way = marks(ground, view, event)
    return view.view, span(way, index_of(way, cut))


def index_of(way: list[Mark], cut: Mark) -> int:
    """Where a cut lies on another way that passes it."""
    return next(index for index, mark in enumerate(way) if (mark.step, mark.kind) == (cut.step, cut.kind))
