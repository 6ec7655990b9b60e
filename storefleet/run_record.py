"""``plan.json`` of a lab's run: what the checker needs (see :mod:`storefleet.verdict.run_format`), and the run's story."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct, field, structs

from storefleet.plan import LabPlan
from storefleet.verdict.journey import JOURNEY, VIEWS, JourneyStep, JourneyView
from storefleet.verdict.run_format import Phase, Plan

COMMAND_LIMIT: Final = 1_000
COMMAND_BYTES: Final = 4_096
"""Of the parameters of one command, as JSON; of larger ones only the size is kept."""
TRADING_PHASE: Final = "trading"
READING_PHASE: Final = "final reads"
STOPPING_PHASE: Final = "stop"
GONE_PHASE: Final = "lab gone"
"""The phase between the death of a lab and the next one's beginning."""


class FaultRecord(Struct, kw_only=True):
    """A fault that was in force; ``evidence`` is the hop's own word for whether it took effect."""

    hop: str
    name: str
    type: str
    attributes: dict[str, Any]
    begin_ms: int
    end_ms: int = 0
    evidence: Any = None
    ended_by_itself: bool = False
    """Nobody lifted it: its lease was over, or its process died; ``end_ms`` is when that was noticed."""


class CommandRecord(Struct, kw_only=True):
    """What a person told the running lab."""

    at_ms: int
    what: str
    """A row of :data:`storefleet.steering.STEERS`."""
    params: dict[str, Any] = field(default_factory=dict)


class RecoveryRecord(Struct, kw_only=True):
    """One wait for the views: from when, and when each had recovered."""

    healed_ms: int
    converged_ms: dict[str, int]


class RunRecord(Plan, kw_only=True):
    """The plan of a run with everything that people ask of it later."""

    lab: LabPlan
    faults: list[FaultRecord] = field(default_factory=list)
    commands: list[CommandRecord] = field(default_factory=list)
    """What people told the lab, the first COMMAND_LIMIT."""
    commands_unkept: int = 0
    recoveries: list[RecoveryRecord] = field(default_factory=list)
    restarts: dict[str, list[str]] = field(default_factory=dict)
    """Process -> how each of its ends was, as the journal tells: the newest incarnation has none while it runs."""
    written_at_ms: int = 0
    """When this was written: what happened later is not in it; 0: not said."""

    def enter(self, phase: str, at_ms: int) -> None:
        """A phase begins; the one before ends."""
        self.close_phase(at_ms)
        self.phases.append(Phase(name=phase, from_ms=at_ms))

    def close_phase(self, at_ms: int) -> None:
        """The current phase ends."""
        if self.phases and not self.phases[-1].until_ms:
            self.phases[-1] = structs.replace(self.phases[-1], until_ms=at_ms)


def added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    """Two counts by name as one."""
    return {
        name: one.get(name, 0) + other.get(name, 0) for name in [*one, *(name for name in other if name not in one)]
    }


def calm_spans(record: RunRecord) -> tuple[list[tuple[int, int]], int | None]:
    """When nothing excused an event for being late: in each earlier lab's life (from, until), and since when in this.

    A life is calm from when its lab was up and the last of its faults lifted, until its lab died. None: the newest has no
    calm, since it was never up or a fault could not be lifted.
    """
    spans: list[tuple[int, int]] = []
    up_ms: int | None = None
    for phase in record.phases:
        if phase.name == TRADING_PHASE:
            up_ms = phase.from_ms
        elif phase.name == GONE_PHASE and up_ms is not None:
            since_ms = max([up_ms, *(fault.end_ms for fault in record.faults if fault.begin_ms < phase.from_ms)])
            if since_ms < phase.from_ms:
                spans.append((since_ms, phase.from_ms))
            up_ms = None
    ends = [fault.end_ms for fault in record.faults]
    return spans, max([up_ms, *ends]) if up_ms is not None and all(ends) else None


def journey_of(plan: LabPlan) -> list[JourneyStep]:
    """The steps that are present, the user's own marked as foreign."""
    present = {"emulator", "broker", *plan.stages}
    steps = []
    for step in JOURNEY:
        if step.stage in present and (step.step != "broker-canonical" or "parm" in plan.stages):
            foreign = step.stage in plan.commands
            witnessed = step.witnessed and step.stage != "gateway"
            steps.append(structs.replace(step, foreign=foreign, witnessed=witnessed))
    return steps


UNRECORDED_OUTCOMES: Final = {"parm": "canonical", "broker": "raw"}
"""Stage that answers outcomes without a durable record of them -> the view for which they speak."""

NEEDED: Final = {
    "store_board": ("parm", "sync_stage", "views"),
    "device_inventory": ("parm", "olympus_dgs", "views"),
    "olympus_dgs": ("parm", "olympus_dgs"),
}
"""View of registers -> the stages without which it has nothing to show."""


def views_of(plan: LabPlan) -> list[JourneyView]:
    """The views that can be read at the end."""
    views = [view for view in VIEWS if _ours(plan, *NEEDED.get(view.view, (view.step,)))]
    if plan.outcome_stage == "parm":
        views.append(JourneyView(view="canonical", step="broker-canonical", by_value=True, timed=True, heard=True))
    if plan.outcome_stage == "broker":
        views.append(JourneyView(view="raw", step="broker-raw", timed=True, heard=True))
    return views


def views_not_judged(plan: LabPlan) -> list[str]:
    """The views of a whole chain in which somebody else's stage takes part."""
    needed = {view.view: NEEDED.get(view.view, (view.step,)) for view in VIEWS}
    return [view for view, stages in needed.items() if set(stages) <= set(plan.stages) and not _ours(plan, *stages)]


def _ours(plan: LabPlan, *stages: str) -> bool:
    """Whether all these stages are present and our own: a register view has nothing to show without them."""
    return all(stage in plan.stages and stage not in plan.commands for stage in stages)
