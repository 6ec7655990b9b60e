"""What a plan can possibly say. What cannot be is left out and told; where nothing can be judged without it, it is broken.

Leaving out is never in the run's favour: a stall that is left out excuses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from msgspec.structs import astuple

from fleetwire.errors import SettingsError
from fleetwire.packed_times import END_OF_TIME_MS
from storefleet.verdict.budgets import BUDGETS, LARGEST_BUDGET
from storefleet.verdict.host_clock import NOTICED_MS
from storefleet.verdict.machine import ClockStep, MachineRecord, Stall
from storefleet.verdict.run_format import Phase, Plan

LONGEST_S: Final = 10**9


class BrokenPlan(SettingsError):
    """No verdict can be built on this plan; the text says what in it cannot be."""


def usable(plan: Plan) -> list[str]:
    """Leave out of the plan what cannot be; returns a line for each kind of it. Raises BrokenPlan."""
    _require_journey(plan)
    return list(_left_out(plan))


def _require_journey(plan: Plan) -> None:
    """Steps in flow order, each behind one that is named before it; views that hang on them; deadlines that are some."""
    before: set[str] = {""}
    for step in plan.steps:
        if not step.step or step.step in before:
            raise BrokenPlan(f"step {step.step[:80]!r} is there twice, or has no name")
        if step.after not in before:
            raise BrokenPlan(f"step {step.step[:80]!r} comes after {step.after[:80]!r}, which is no step before it")
        before.add(step.step)
    views: set[str] = set()
    for view in plan.views:
        if view.view in views or not view.step or view.step not in before:
            raise BrokenPlan(f"view {view.view[:80]!r} is there twice, or hangs on no step")
        views.add(view.view)
    for view_name, deadline_s in (("all", plan.deadline_s), *plan.deadlines_s.items()):
        if not 0 <= deadline_s <= LONGEST_S:
            raise BrokenPlan(f"a deadline of {deadline_s} s ({view_name[:80]})")


def _left_out(plan: Plan) -> Iterator[str]:
    stalls = [stall for stall in plan.stalls if _can_be(stall)]
    if len(stalls) < len(plan.stalls):
        yield f"{len(plan.stalls) - len(stalls):,} stalls that cannot have been"
        plan.stalls = stalls
    phases = [phase for phase in plan.phases if _has_been(phase)]
    if len(phases) < len(plan.phases):
        yield f"{len(plan.phases) - len(phases):,} phases that cannot have been"
        plan.phases = phases
    if plan.machine is not None and min(plan.machine.watched_ms, plan.machine.cpu_waited_ms or 0) < 0:
        yield "the machine was watched for less than no time"
        plan.machine = MachineRecord()  # nothing was measured, which excuses nothing
    if plan.machine is not None and not _can_have_been_set(plan.machine.clock_steps, plan.started_at_ms):
        yield "steps of the host's clock that cannot have been"
        plan.machine.clock_steps = []
    if plan.broker is not None and any(isinstance(count, int) and count < 0 for count in astuple(plan.broker)):
        yield "the broker's own counts"
        plan.broker = None
    if any(count < 0 for count in plan.refused_reports.values()):
        yield "counts of refused reports"
        plan.refused_reports = {}
    allow = {name: limit for name, limit in plan.allow.items() if name in BUDGETS and 0 <= limit <= LARGEST_BUDGET}
    if len(allow) < len(plan.allow):
        yield "budgets that there are not"
        plan.allow = allow
    if not 0 <= plan.started_at_ms < END_OF_TIME_MS:
        yield "the time at which it was started"
        plan.started_at_ms = 0


def _can_be(stall: Stall) -> bool:
    return 0 <= stall.at_ms < END_OF_TIME_MS and 0 <= stall.duration_ms < END_OF_TIME_MS


def _can_have_been_set(steps: list[ClockStep], started_at_ms: int) -> bool:
    """Whether each was while the run went on, by the run's own clock."""
    moments_ms = [
        step.at_ms - ahead_ms
        for step, ahead_ms in zip(steps, accumulate(step.step_ms for step in steps), strict=True)
        if abs(step.step_ms) < END_OF_TIME_MS
    ]
    return len(moments_ms) == len(steps) and all(
        started_at_ms - NOTICED_MS <= moment_ms < END_OF_TIME_MS for moment_ms in moments_ms
    )


def _has_been(phase: Phase) -> bool:
    ends_ms = phase.until_ms or phase.from_ms
    return 0 <= phase.from_ms <= ends_ms < END_OF_TIME_MS
