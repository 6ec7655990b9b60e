"""One line a stage: what goes through it, what waits at it and since when, and how it is.

Figures are of one moment: that of the oldest of the newest reports of all stages that report; an event that was committed
later counts later. A stage that stands still is judged as of now. ``lag_s`` is the age of the oldest event that has come
as far as the stage and not through it, so that one lost event among thousands shows.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from fleetwire.clock import now_ms
from storefleet.backlog import HANDS, Waiting, stand
from storefleet.contents import Holdings
from storefleet.ledger_outcomes import Outcomes
from storefleet.observatory import EVENT_VIEWS, FLOW_COUNTERS
from storefleet.plan import STAGES
from storefleet.stage_state import BROKER_SILENT_S, Patience, Process, State, not_acknowledging, state_of
from storefleet.stopped_processes import StoppedProcesses
from storefleet.under_way import UnderWay, Way, way_of

if TYPE_CHECKING:
    from storefleet.lab import Lab

SeenBy = Literal["reports", "hops", "behind", ""]
WITNESSES: Final = ("emulator", "parm", "sync_stage", "poseidon", "views")
"""Stages that say which events they have had."""
BEHIND: Final = {
    "parm": ("sync_stage", "poseidon", "views"),
    "sync_stage": ("poseidon", "views"),
    "gateway": ("poseidon", "views"),
}
"""Stage -> the stages that take from it, directly or not."""
PASSED_BY: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "views": (("views", "taken"),),
    "poseidon": (("poseidon", "taken"),),
    "gateway": (("sync_stage", "handed_on"), ("poseidon", "taken"), ("views", "taken")),
    "sync_stage": (("sync_stage", "taken"), ("sync_stage", "handed_on"), ("poseidon", "taken"), ("views", "taken")),
    "parm": (("parm", "handed_on"), ("sync_stage", "taken"), ("poseidon", "taken"), ("views", "taken")),
}
"""Stage -> whose news are a sign that something comes through it; the last of the way first: who stands still there holds
up those before it, and they are not to blame."""
HOP_COUNTERS: Final = {"parm": "upstream", "sync_stage": "downstream", "olympus_dgs": "downstream"}
"""Stage -> in which direction of its broker hop the messages flow that go through it."""
OWN_BACKLOGS: Final = {"olympus_dgs": "to_store"}
"""Stage that handles no events -> its own counter of what waits."""


@dataclass(frozen=True, slots=True)
class StageLine:
    """One stage of the journey at a moment. None: nobody can tell."""

    stage: str
    rate_per_s: float | None
    total: int | None
    backlog: int | None
    lag_s: float | None
    restarts: int
    connected: bool
    foreign: bool
    state: str = ""
    """Empty when it is well; else ``stopped 8 s``, ``silent 8 s``, ``not acknowledging 8 s``, ``starting``, ``gone``."""
    silent_s: float = 0.0
    """How old its newest report is; 0 where it does not report."""
    seen_by: SeenBy = "reports"
    """Who says rate and total: the stage, the hops at it, the stages behind it, or nobody."""
    publishes_down: int | None = None
    """PUBLISH packets that went to it through its hop; None where the hop does not count them."""
    publishes_up: int | None = None


class Flow(NamedTuple):
    """What goes through a stage, and who says so."""

    rate_per_s: float | None
    total: int | None
    seen_by: SeenBy


def under_way_of(lab: Lab, outcomes: Outcomes) -> UnderWay:
    """What is under way in this lab."""
    return UnderWay(_way(lab, outcomes), outcomes.rejected, lab.observatory.is_online)


def _way(lab: Lab, outcomes: Outcomes) -> Way:
    """An end that is somebody else's counts where it reports, or where its outcomes speak for it."""
    seen, plan = lab.observatory, lab.plan
    told = outcomes.applied if plan.outcome_stage in plan.commands else {}
    taken: dict[str, Holdings] = {stage: seen.events[stage] for stage in WITNESSES}
    handed_on: dict[str, Holdings] = {stage: seen.handed_on[stage] for stage in WITNESSES}
    ends = {}
    for stage in EVENT_VIEWS:
        if stage not in plan.stages:
            continue
        if stage not in plan.commands or seen.of_stage(stage):
            ends[stage] = taken[stage]
        elif stage == plan.outcome_stage:
            ends[stage] = told
    if plan.outcome_stage in plan.commands and not seen.of_stage(plan.outcome_stage):
        handed_on[plan.outcome_stage] = told
    return way_of(plan.stages, taken, handed_on, ends)


class StageLines:
    """``lines()``: the journey now. ``read_again`` grows: view -> events that it has once had and must read again."""

    def __init__(
        self,
        lab: Lab,
        outcomes: Outcomes,
        under_way: UnderWay,
        stopped: StoppedProcesses,
        read_again: Mapping[str, int],
    ) -> None:
        self._lab = lab
        self._outcomes = outcomes
        self._under_way = under_way
        self._stopped = stopped
        self._read_again = read_again
        self._patience = Patience()

    def lines(self) -> tuple[StageLine, ...]:
        """One for everybody on the way, in its order; the ledger was read before."""
        lab = self._lab
        hops = ("chaos",) if not lab.plan.bare_hops else ()
        stages = ("emulator", *hops, "broker", *lab.plan.stages)
        processes = {stage: self._processes(stage) for stage in stages}
        states = {stage: state_of([*found.values()]) for stage, found in processes.items()}
        unwitnessed = [stage for stage in lab.plan.commands if not lab.observatory.of_stage(stage)]
        now, as_of_ms = now_ms(), self._as_of_ms(processes)
        self._under_way.go_by(_way(lab, self._outcomes))
        self._under_way.look(as_of_ms, now)
        legs = self._under_way.legs()
        standing = {stage for stage, state in states.items() if state.stands}
        for stage in PASSED_BY:
            waiting = self._in_front_of(stage, legs, standing, unwitnessed) if stage in states else None
            waits = waiting is not None and stage not in standing
            waiting_s = self._patience.waiting_s(stage, time.monotonic(), waits=waits)
            if idle := not_acknowledging(waiting_s, self._idle_s(stage)):
                states[stage] = states[stage]._replace(text=idle)
                standing.add(stage)
        places = stand(legs, standing=standing, present=stages, unwitnessed=unwitnessed)
        return tuple(
            self._line(
                stage, states[stage], places.get(stage, Waiting(0, 0)), now if states[stage].stands else as_of_ms
            )
            for stage in stages
        )

    # -- how it is -----------------------------------------------------------------------------------------------

    def _processes(self, stage: str) -> dict[int, Process]:
        """By instance."""
        lab = self._lab
        if stage == "broker":
            return {1: self._broker()}
        figures, now_s = lab.observatory.of_stage(stage), time.monotonic()
        members = {member.instance: member for member in lab.control.stage(stage)}
        found = {}
        for instance in range(1, lab.plan.instance_count(stage) + 1):
            child = lab.processes.children.get(f"{stage}-{instance}")
            member, known = members.get(instance), figures.get(instance)
            heard_s = known.heard_s if known is not None else 0.0
            reports = stage not in lab.plan.commands or bool(member or heard_s)
            found[instance] = Process(
                running=None if child is None else child.running,
                stopped_s=self._stopped.stopped_s(f"{stage}-{instance}"),
                ready=(member is not None and member.ready) if reports else None,
                silent_s=now_s - heard_s if heard_s else None,
                connected=None if reports else self._is_linked(stage),
            )
        return found

    def _broker(self) -> Process:
        lab = self._lab
        if lab.plan.external_broker:
            return Process(running=None, connected=lab.observer.connected if lab.observer is not None else None)
        child, watch = lab.processes.children.get("broker-1"), lab.broker_watch
        return Process(
            running=None if child is None else child.running,
            stopped_s=self._stopped.stopped_s("broker-1"),
            ready=None if child is not None else False,
            silent_s=time.monotonic() - watch.heard_s if watch is not None and watch.heard_s else None,
            silent_limit_s=BROKER_SILENT_S,
        )

    def _is_linked(self, stage: str) -> bool | None:
        """Whether a stage that does not report holds a connection to the broker; None where its hop does not say."""
        open_links = self._hop_counter(stage, "links_open")
        return None if open_links is None or not self._lab.ready.is_set() else open_links > 0

    def _as_of_ms(self, processes: Mapping[str, Mapping[int, Process]]) -> int:
        """The moment of which all who report have told."""
        newest = [
            figures.as_of_ms
            for stage in WITNESSES
            for instance, figures in self._lab.observatory.of_stage(stage).items()
            if (process := processes.get(stage, {}).get(instance)) and not state_of([process]).stands
        ]
        return min(newest, default=now_ms())

    def _idle_s(self, stage: str) -> float:
        """For how long nothing is known to have come through a stage."""
        news_s = self._lab.observatory.news_s
        return time.monotonic() - max(news_s.get(sign, 0.0) for sign in PASSED_BY[stage])

    def _in_front_of(
        self, stage: str, legs: Mapping[str, Waiting], standing: Collection[str], unwitnessed: Collection[str]
    ) -> Waiting | None:
        """What waits for a stage, but for what nobody has in hand any more: a letter or a death has taken that away."""
        total = self._lab.observatory.total
        there = {
            leg: waiting
            for leg, waiting in legs.items()
            if leg not in HANDS or HANDS[leg] in unwitnessed or total(HANDS[leg], "in_hand")
        }
        return stand(there, standing=standing, present=(stage,), unwitnessed=unwitnessed).get(stage)

    # -- what it does --------------------------------------------------------------------------------------------

    def _line(self, stage: str, state: State, waiting: Waiting | None, as_of_ms: int) -> StageLine:
        lab = self._lab
        flow = self._flow(stage)
        children = [child for name, child in lab.processes.children.items() if name.rpartition("-")[0] == stage]
        backlog, lag_s = self._waits(stage, waiting, as_of_ms)
        return StageLine(
            stage=stage,
            rate_per_s=flow.rate_per_s,
            total=flow.total,
            backlog=backlog,
            lag_s=lag_s,
            restarts=sum(child.restarts for child in children),
            connected=bool(lab.control.stage(stage)) if stage != "broker" else not state.stands,
            foreign=stage in lab.plan.commands or (stage == "broker" and lab.plan.external_broker),
            state=state.text,
            silent_s=round(state.silent_s, 3),
            seen_by=flow.seen_by,
            publishes_down=_whole(self._hop_counter(stage, "publishes_downstream_total")),
            publishes_up=_whole(self._hop_counter(stage, "publishes_upstream_total")),
        )

    def _waits(self, stage: str, waiting: Waiting | None, as_of_ms: int) -> tuple[int | None, float | None]:
        """How much waits at a stage, and for how long the oldest of it has."""
        if stage in OWN_BACKLOGS:
            backlog = int(self._lab.observatory.total(stage, OWN_BACKLOGS[stage]))
            return (backlog, None if backlog else 0.0) if self._reports(stage) else (None, None)
        if waiting is None or self._says_nothing(stage):
            return None, None
        if again := self._read_again.get(EVENT_VIEWS.get(stage, ""), 0):
            return waiting.events + again, None
        return waiting.events, max(0.0, round((as_of_ms - waiting.oldest_ms) / 1000, 3)) if waiting.events else 0.0

    def _says_nothing(self, stage: str) -> bool:
        """Whether it is an end of the way of which nobody knows what it has had."""
        plan = self._lab.plan
        return stage in EVENT_VIEWS and not self._reports(stage) and stage != plan.outcome_stage

    def _reports(self, stage: str) -> bool:
        return stage not in self._lab.plan.commands or bool(self._lab.observatory.of_stage(stage))

    def _flow(self, stage: str) -> Flow:
        seen = self._lab.observatory
        if stage in ("chaos", "broker"):
            return Flow(None, None, "" if stage == "broker" and self._lab.plan.external_broker else "reports")
        if self._reports(stage):
            total = seen.distinct[stage] or int(seen.total(stage, FLOW_COUNTERS.get(stage, "taken_total")))
            return Flow(seen.rate(stage), total, "reports")
        counter = f"publishes_{HOP_COUNTERS.get(stage, '')}_total"
        counted = self._hop_counter(stage, counter)
        if counted is not None:
            return Flow(seen.rate("chaos", f"hop.{STAGES[stage].broker_hop}.{counter}"), int(counted), "hops")
        for behind in BEHIND.get(stage, ()):
            if seen.of_stage(behind):
                return Flow(seen.rate(behind), max(seen.distinct[one] for one in BEHIND[stage]), "behind")
        return Flow(None, None, "")

    def _hop_counter(self, stage: str, name: str) -> float | None:
        """A counter of the hop between a stage and the broker; None where there is none, or where it cannot be counted."""
        row = STAGES.get(stage)
        if row is None or not row.broker_hop or self._lab.plan.bare_hops:
            return None
        values = [
            figures.counters.get(f"hop.{row.broker_hop}.{name}")
            for figures in self._lab.observatory.of_stage("chaos").values()
        ]
        known = [value for value in values if value is not None]
        return sum(known) if known else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)
