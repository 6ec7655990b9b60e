"""What every view holds beside what the ledger has, kept up while a run goes on, and read to the end when it is asked.

The views of our stages say what they hold with their snapshots, PARM's is what the lab's own observer remembers, and the
gateway is read by its changes feed, only while somebody waits. Whoever asks reads the views first and the ledger after:
an event is in the ledger before it is on its way, so what is not there by then was never committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp

from fleetwire.errors import ControlError
from fleetwire.intervals import IntervalSet
from storefleet.contents import Comparison, Held, LedgerContents
from storefleet.gateway_contents import GatewayContents
from storefleet.gateway_read import UNREADABLE
from storefleet.ledger_events import LedgerEvents, Row
from storefleet.ledger_outcomes import Outcomes
from storefleet.observatory import EVENT_VIEWS, REGISTER_VIEWS
from storefleet.under_way import UnderWay
from storefleet.verdict.journey import JourneyView

if TYPE_CHECKING:
    from storefleet.lab import Lab

GATEWAY: Final = "gateway"
CANONICAL: Final = "canonical"
STAGE_OF: Final = {**{view: stage for stage, view in EVENT_VIEWS.items()}, **REGISTER_VIEWS}
"""View -> the stage of ours that says what it holds."""
ASK_INTERVAL_S: Final = 0.1
ASK_TIMEOUT_S: Final = 5.0
FRESH_TIMEOUT_S: Final = 0.15

_log = logging.getLogger(__name__)


class ViewContents:
    """``comparisons``: by view of events that can be compared by content, as of the last look."""

    def __init__(
        self, lab: Lab, ledger: Path, outcomes: Outcomes, views: Sequence[JourneyView], under_way: UnderWay
    ) -> None:
        """``under_way`` is told of every event of the ledger, and of what is said of it there."""
        self._lab = lab
        self._under_way = under_way
        self._outcomes = outcomes
        self._ledger = LedgerContents(outcomes.rejected, outcomes.refused)
        self._events = LedgerEvents(ledger)
        self._gateway = GatewayContents(lambda: lab.gateway_url)
        self._gateway_fault = ""
        self._canonical = Held()
        self._views = [view.view for view in views]
        held = {**lab.observatory.held, GATEWAY: self._gateway.held, CANONICAL: self._canonical}
        names = [view.view for view in views if view.holds == "events" and view.view in held]
        self._comparisons = {name: Comparison(self._ledger, held[name]) for name in names}
        self._looked_s = 0.0
        self.read_again: dict[str, int] = {}
        """View -> events that it has once had, and must read again; as of the last look."""

    # -- the ledger ----------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Take in some of what is new in the ledger, and all that was told of it."""
        self._take(self._events.read())

    async def catch_up(self) -> None:
        """Read the ledger to its end, in a thread while that takes long."""
        while True:
            self._take(await self._events.read_aside())
            if not self._events.unread:
                return

    def committed(self) -> dict[str, IntervalSet]:
        """Everything by now: of the ledger, and what the emulator said before that could be read."""
        found = {source: numbers.copy() for source, numbers in self._ledger.committed.items()}
        for source, numbers in self._lab.observatory.events["emulator"].items():
            found.setdefault(source, IntervalSet()).update(numbers)
        return found

    def _take(self, rows: Sequence[Row]) -> None:
        touched = self._ledger.add((source, sequence, content) for source, sequence, content, _ in rows)
        self._under_way.add((source, sequence, at_ms) for source, sequence, _, at_ms in rows)
        rejected = self._outcomes.read()
        self._under_way.touch(rejected | self._outcomes.take_applied_news() | self._lab.observatory.take_news())
        self._ledger.note_rejections(rejected)
        for comparison in self._comparisons.values():
            comparison.touch(touched | rejected)

    # -- a wait --------------------------------------------------------------------------------------------------

    def comparisons(self) -> dict[str, Comparison]:
        """By view; of PARM's only while the lab has heard all of it."""
        whole = self._hear_observer()
        return {view: one for view, one in self._comparisons.items() if view != CANONICAL or whole}

    async def attend(self, heard: set[str], until: Collection[str]) -> None:
        """Ask every stage for what its views hold by now, and follow the gateway; ``heard`` gets who has answered.

        Goes on until cancelled, the gateway until it is in ``until``, which grows.
        """
        stages = {STAGE_OF[view] for view in self._views if view in STAGE_OF}
        asked = [self._ask(stage, heard) for stage in sorted(stages)]
        if GATEWAY in self._comparisons:
            asked.append(self._follow_gateway(heard, until))
        async with asyncio.TaskGroup() as asking:
            for one in asked:
                asking.create_task(one)

    async def _ask(self, stage: str, heard: set[str]) -> None:
        while True:
            # A stage that starts answers before it is ready, when its views may hold only some of what it has.
            is_ready = any(member.ready for member in self._lab.control.stage(stage))
            with contextlib.suppress(ControlError):
                await self._lab.stage_call(stage, "snapshot_now", timeout_s=ASK_TIMEOUT_S)
                if is_ready:
                    heard.add(stage)
                    return
            await asyncio.sleep(ASK_INTERVAL_S)

    async def _follow_gateway(self, heard: set[str], until: Collection[str]) -> None:
        async with aiohttp.ClientSession() as client:
            while GATEWAY not in until:
                try:
                    await self._gateway.catch_up(client)
                    heard.add(GATEWAY)
                    self._gateway_fault = ""
                except UNREADABLE as error:
                    self._gateway_fault = "it does not answer"
                    _log.info("the gateway cannot be read: %s", str(error) or type(error).__name__)
                await asyncio.sleep(ASK_INTERVAL_S)

    def unknown(self, heard: Collection[str]) -> dict[str, str]:
        """Views of which it is not known what they hold now -> why, when these have answered since the wait began."""
        found = {view: why for view in self._views if (why := self._unheard(view, heard))}
        if self._events.behind:
            found.update(dict.fromkeys(self._comparisons, self._events.behind))
        return found

    def _unheard(self, view: str, heard: Collection[str]) -> str:
        if view == GATEWAY:
            if self._gateway.overfull:
                return "it holds more than the lab can compare"
            return "" if GATEWAY in heard else self._gateway_fault or "it is not read to its end yet"
        if view == CANONICAL:
            return "" if self._hear_observer() else "the lab was away from the broker"
        stage = STAGE_OF.get(view)
        return "" if stage is None else self._unanswered(stage, self._lab.observatory.incarnation_heard(view), heard)

    def _unanswered(self, stage: str, incarnation: int, heard: Collection[str]) -> str:
        members = self._lab.control.stage(stage)
        ready = [one.incarnation for one in members if one.ready]
        if members and not ready:
            return f"{stage} is starting"
        if stage not in heard:
            return f"{stage} does not answer"
        if not ready:
            return f"{stage} is gone"
        return "" if incarnation in ready else f"{stage} was started again"

    def _hear_observer(self) -> bool:
        """Take in what the lab's observer has heard since; False when it cannot have heard all."""
        holding = self._lab.observer.holding() if self._lab.observer is not None else None
        if holding is not None:
            self._canonical.hear(1, holding)
        return holding is not None

    # -- a picture -----------------------------------------------------------------------------------------------

    async def refresh(self) -> None:
        """Before a look that is to be of now: what stages say within a moment, and all of the ledger."""
        stages = {stage for stage, _ in self._lab.control.members}
        calls = (self._lab.stage_call(stage, "snapshot_now", timeout_s=FRESH_TIMEOUT_S) for stage in stages)
        await asyncio.gather(*(_quietly(call) for call in calls))
        await self.catch_up()

    def look(self, *, maximum_age_s: float = 0.0) -> dict[str, Comparison]:
        """The views of events that say what they hold, compared not longer ago than that; the ledger is read in any case."""
        told = {view: one for view, one in self._comparisons.items() if view in STAGE_OF}
        self.read()
        now_s = time.monotonic()
        if now_s - self._looked_s >= maximum_age_s and not self._events.behind:
            self._looked_s = now_s
            for view, comparison in told.items():
                comparison.look()
                self.read_again[view] = max(0, comparison.missing - self._under_way.lacking(STAGE_OF[view]))
        return told


async def _quietly(call: object) -> None:
    with contextlib.suppress(ControlError):
        await call  # type: ignore[misc]
