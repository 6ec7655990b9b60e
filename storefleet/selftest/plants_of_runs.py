"""Anomalies of views and of whole runs, and everything that makes a verdict unknown."""

from __future__ import annotations

import copy
from array import array
from collections import Counter
from dataclasses import dataclass

from fleetwire.content import HASH_BYTES
from fleetwire.packed_times import packed_times
from fleetwire.witness import ViewRead
from storefleet.selftest import cuts
from storefleet.selftest.findings import Findings, reason_line
from storefleet.selftest.ground import Ground, Impossible, one
from storefleet.selftest.plants_of_events import never_read
from storefleet.verdict.history import Ledger, ViewRecord
from storefleet.verdict.host_clock import SMALLEST_STEP_MS
from storefleet.verdict.machine import CAUSES, LAB_PROCESS, Stall
from storefleet.verdict.missing_evidence import EARLY_MS
from storefleet.verdict.result import BrokerAccount
from storefleet.verdict.views import EMULATOR, STOOD_STILL_MS


@dataclass(slots=True, frozen=True)
class Whole:
    """All that must be reported, whatever the run reported before."""

    findings: Findings


def _differs(view: ViewRecord, name: str, code: str) -> Findings:
    lines = (
        f"differs: {name} in {view.view}",
        f"differences in {view.view}",
        reason_line("invalid", code, view.view),
        f"view {view.view} is invalid",
    )
    return Counter(lines)


def _register_view(ground: Ground, *, excusable: bool = False) -> ViewRecord:
    """A view of registers that was read exactly a deadline after it had any excuse to be wrong; ``excusable``: one of those
    to which time is given at all."""
    views = [view for view in ground.history.views if view.registers_found and not (excusable and view.follows)]
    view = ground.choose(views, "view of registers")
    ground.set(ground.history, "stalls", [])
    if view.registers_changed_ms is not None:
        changes = list(view.registers_changed_ms.values())
    else:
        changes = [register.at_ms for register in ground.ledger.registers.values()]
    still_since_ms = max(view.punctual_from_ms or 0, *changes, 0)
    for name in ("read_at_ms", "asked_at_ms"):
        ground.set(view, name, still_since_ms + round(view.deadline_s * 1000))
    return view


def register_altered(ground: Ground) -> Findings:
    """A register has another value than the last true one."""
    return _altered(ground, _register_view(ground))


def _altered(ground: Ground, view: ViewRecord) -> Findings:
    assert view.registers_found is not None
    name = ground.choose(sorted(view.registers_found), "register")
    ground.put(view.registers_found, name, "ON_FIRE")
    return _differs(view, name, "registers_differ")


def register_missing(ground: Ground) -> Findings:
    """A register is not there."""
    view = _register_view(ground)
    assert view.registers_found is not None
    name = ground.choose(sorted(view.registers_found), "register")
    ground.set(view, "registers_found", {key: value for key, value in view.registers_found.items() if key != name})
    return _differs(view, name, "registers_differ")


def register_invented(ground: Ground) -> Findings:
    """There is a register of something that does not exist."""
    view = _register_view(ground)
    assert view.registers_found is not None
    ground.put(view.registers_found, "nobody.nowhere.s9999", "OPEN")
    return _differs(view, "nobody.nowhere.s9999", "registers_differ")


def read_too_soon(ground: Ground) -> Findings:
    """A register has another value, and a moment of its deadline was left."""
    view = _register_view(ground, excusable=True)
    found = _altered(ground, view)
    assert view.read_at_ms is not None
    for name in ("read_at_ms", "asked_at_ms"):
        ground.set(view, name, view.punctual_from_ms)
    ground.set(ground.history, "aborted", False)
    del found[reason_line("invalid", "registers_differ", view.view)], found[f"view {view.view} is invalid"]
    return found + _unknown(view, "read_too_soon")


def registers_unknown(ground: Ground) -> Findings:
    """A register has another value, and the emulator, whose ledger is the truth, was silent or stood still at the read."""
    view = _register_view(ground, excusable=True)
    found = _altered(ground, view)
    if ground.random.random() < 0.5:
        ground.set(ground.history, "unheard_stages", frozenset({EMULATOR}))
    else:
        ground.set(ground.history, "stalls", [Stall(f"{EMULATOR}-1", (view.asked_at_ms or 0) - 500, STOOD_STILL_MS)])
    del found[reason_line("invalid", "registers_differ", view.view)], found[f"view {view.view} is invalid"]
    return found + _unknown(view, "registers_unknown")


def _totals_view(ground: Ground) -> tuple[ViewRecord, tuple[str, str]]:
    view = ground.choose([view for view in ground.history.views if view.totals_found], "view with totals")
    return view, ground.choose(sorted(view.totals_found or {}), "total")


def cents_differ(ground: Ground) -> Findings:
    """A total is off by some cents."""
    view, key = _totals_view(ground)
    assert view.totals_found is not None
    count, cents = view.totals_found[key]
    ground.put(view.totals_found, key, (count, cents + ground.random.choice([-1, 1, 100])))
    return _differs(view, " ".join(key), "totals_differ")


def count_differs(ground: Ground) -> Findings:
    """A total counts a transaction too many or too few."""
    view, key = _totals_view(ground)
    assert view.totals_found is not None
    count, cents = view.totals_found[key]
    ground.put(view.totals_found, key, (count + ground.random.choice([-1, 1]), cents))
    return _differs(view, " ".join(key), "totals_differ")


def total_invented(ground: Ground) -> Findings:
    """There is a total of a day on which that store sold nothing, be it zero."""
    view, (store, _) = _totals_view(ground)
    assert view.totals_found is not None
    ground.put(view.totals_found, (store, "1999-12-31"), ground.random.choice([(1, 100), (0, 0)]))
    return _differs(view, f"{store} 1999-12-31", "totals_differ")


def _make_late(ground: Ground) -> tuple[ViewRecord, int]:
    view = ground.any_view()
    over_ms = ground.random.randint(1, 60_000) + int(sum(stall.duration_ms for stall in ground.history.stalls))
    assert view.healed_at_ms is not None
    ground.set(view, "converged_at_ms", view.healed_at_ms + round(view.deadline_s * 1000) + over_ms)
    return view, over_ms


def late_view(ground: Ground) -> Findings:
    """A view took longer than its deadline to agree."""
    view, _ = _make_late(ground)
    return Counter([reason_line("invalid", "late", view.view), f"view {view.view} is invalid"])


def machine_stalled(ground: Ground) -> Findings:
    """A view took longer, and the machine stood still for as long, whatever the cause."""
    view, over_ms = _make_late(ground)
    assert view.healed_at_ms is not None
    stall = Stall(LAB_PROCESS, view.healed_at_ms, over_ms + 1.0, ground.random.choice(list(CAUSES)))
    ground.set(ground.history, "stalls", [stall])
    return _unknown(view, "machine_stalled")


def _unknown(view: ViewRecord, *codes: str) -> Findings:
    return Counter([*(reason_line("unknown", code, view.view) for code in codes), f"view {view.view} is unknown"])


def no_final_read(ground: Ground) -> Findings:
    """A view was not read at the end."""
    view = ground.any_view()
    ground.set(view, "read", None)
    ground.set(view, "registers_found", None)
    return _unknown(view, "no_final_read")


def heard_in_part(ground: Ground) -> Findings:
    """The lab itself heard a view on the broker, and the broker dropped some message of somebody's."""
    view = ground.event_view()
    ground.set(view, "heard", True)
    ground.set(ground.history, "broker", BrokerAccount(dropped=1))
    letters = ground.history.letters
    posted = any(stage.rejects for stage in ground.history.stages) or (letters is not None and letters.counts())
    found = Counter([reason_line("unknown", "heard_in_part", view.view)])
    return found + Counter(["dead letters: at least"]) if posted else found


def read_broken(ground: Ground) -> Findings:
    """A final read has not one hash for each event."""
    view, event = ground.event_view(), ground.event()
    assert view.read is not None
    broken = ViewRead(intervals=view.read[event.source].intervals, hashes=b"odd")
    ground.put(view.read, event.source, broken)
    return _unknown(view, "read_broken", "no_final_read")


def times_contradict(ground: Ground) -> Findings:
    """A view says that it applied an event before that was committed."""
    views = [view for view in ground.event_views if any(read.applied_at_ms for read in (view.read or {}).values())]
    view, event = ground.choose(views, "view that says when it applied what it holds"), ground.event()
    came_ms = ground.committed_ms(event) - SMALLEST_STEP_MS - ground.random.randint(1, 60_000)
    ground.set(view, "clock_steps", [])
    ground.show_otherwise(view, event, "applied_at_ms", packed_times([came_ms]))
    return _unknown(view, "times_contradict")


def not_healed(ground: Ground) -> Findings:
    """The faults were not lifted."""
    view = ground.any_view()
    ground.set(view, "healed_at_ms", None)
    return _unknown(view, "not_healed")


def convergence_unmeasured(ground: Ground) -> Findings:
    """Nobody measured when a view became right."""
    view = ground.any_view()
    ground.set(view, "converged_at_ms", None)
    ground.set(view, "read_at_ms", None)
    ground.set(view, "asked_at_ms", None)
    return _unknown(view, "convergence_unmeasured")


def hashes_missing(ground: Ground) -> Findings:
    """A view that is read by value has no hashes of one source."""
    view = ground.choose([view for view in ground.event_views if view.by_value], "view by value")
    return _without(ground, view, "hashes")


def effects_missing(ground: Ground) -> Findings:
    """A view that shows what events do does not say it of one source."""
    views = [view for view in ground.event_views if view.by_effect]
    return _without(ground, ground.choose(views, "view by effect"), "effects")


def _without(ground: Ground, view: ViewRecord, row: str) -> Findings:
    assert view.read is not None
    source = ground.choose([name for name, read in view.read.items() if getattr(read, row)], "source with a content")
    changed = copy.copy(view.read[source])
    setattr(changed, row, b"")
    ground.put(view.read, source, changed)
    return Counter([reason_line("unknown", "evidence_missing", view.view)])


def totals_missing(ground: Ground) -> Findings:
    """A view that has totals does not tell them."""
    view, _ = _totals_view(ground)
    ground.set(view, "totals_found", None)
    return Counter([reason_line("unknown", "evidence_missing", view.view)])


def registers_and_truth_missing(ground: Ground) -> Findings:
    """A view shows no register, and nobody says that it must show any."""
    views = [view for view in ground.history.views if view.registers_found and view.named_by]
    view = ground.choose(views, "view of registers")
    for name in ("registers_found", "registers_expected", "registers_changed_ms"):
        ground.set(view, name, {})
    return Counter([reason_line("unknown", "evidence_missing", view.view)])


def reports_missing(ground: Ground) -> Findings:
    """A stage of ours has never reported, or not for a while before the reads."""
    if ground.history.witnessed_bytes is None:
        raise Impossible("this run does not say how much its witnesses had reported")
    stages = [stage for stage in ground.history.stages if stage.witnessed]
    stage = ground.choose(stages, "stage with a witness")
    newest_ms = max(other.last_report_ms or 0 for other in stages if other.stage != stage.stage)
    last_ms = ground.random.choice([None, newest_ms - EARLY_MS - 1])
    for same in (other for other in ground.history.stages if other.stage == stage.stage):
        ground.set(same, "last_report_ms", last_ms)
    return Counter([reason_line("unknown", "evidence_missing")])


def ledger_contradicts(ground: Ground) -> Findings:
    """The ledger tells of the rejection of a number that nobody has committed."""
    event = ground.event()
    entries = ground.ledger.sources[event.source]
    ghost = entries.sequences.last + ground.random.randint(1, 9)
    ground.amend_source(event.source, rejected={**entries.rejected, ghost: ("parm", "totals")})
    return Counter([reason_line("unknown", "ledger_contradicts")])


def stage_dead(ground: Ground) -> Findings:
    """A stage of ours was dead at the end."""
    stage = ground.choose([stage for stage in ground.history.stages if not stage.foreign], "stage of ours")
    ground.set(stage, "alive_at_end", False)
    ground.set(stage, "undecided_until_ms", 2**62)
    return Counter([reason_line("unknown", "stage_dead", stage.stage)])


def witness_full(ground: Ground) -> Findings:
    """A witness of a stage had no room for all that passed."""
    stage = ground.choose([stage for stage in ground.history.stages if stage.witnessed], "stage with a witness")
    ground.set(stage, "unnoted", 1)
    ground.set(stage, "undecided_until_ms", 2**62)
    return Counter([reason_line("unknown", "witness_full", stage.stage)])


def foreign_stage_dead(ground: Ground) -> Findings:
    """Somebody else's stage is not ours to call dead."""
    stage = ground.choose([stage for stage in ground.history.stages[1:] if not stage.foreign], "stage")
    ground.set(stage, "foreign", True)
    ground.set(stage, "alive_at_end", False)
    return Counter()


def aborted(ground: Ground) -> Findings:
    """The run was cut short with an event unresolved."""
    ground.set(ground.history, "aborted", True)
    return never_read(ground)


def unresolved_but_endless(ground: Ground) -> Findings:
    """A run that was not to drain may leave an event unresolved."""
    found = never_read(ground)
    ground.set(ground.history, "drains", False)
    del found[reason_line("unknown", "unresolved")]
    return found


def ledger_gaps(ground: Ground) -> Findings:
    """The ledger lacks a number of a source, and nobody else has seen it."""
    event = ground.event(lambda event: event.sequence < ground.ledger.sources[event.source].sequences.last)
    way = cuts.marks(ground, ground.event_views[0], event)
    cuts.lose(ground, next(mark for mark in way if mark.kind == cuts.HANDED_ON), event)
    entries = ground.ledger.sources[event.source]
    position = entries.position(event.sequence)
    number = one(event.sequence)
    ground.amend_source(
        event.source,
        sequences=entries.sequences.difference(number),
        applied=entries.applied.difference(number),
        hashes=_less(entries.hashes, position * HASH_BYTES, HASH_BYTES),
        types=_less(entries.types, position, 1),
        times_ms=_less_of(entries.times_ms, position),
        days=_less_of(entries.days, position),
        amounts_cents=_less_of(entries.amounts_cents, position),
        effects=_less(entries.effects, position * HASH_BYTES, HASH_BYTES),
    )
    return Counter([reason_line("unknown", "ledger_gaps")])


def _less(content: bytearray, start: int, length: int) -> bytearray:
    return content[:start] + content[start + length :]


def _less_of(values: array[int], position: int) -> array[int]:
    return values[:position] + values[position + 1 :]


def noted(code: str, ground: Ground) -> Findings:
    """What the reader of the folder found amiss."""
    ground.set(ground.history, "notes", [*ground.history.notes, (code, "planted")])
    return Counter([reason_line("unknown", code)])


def plan_broken(ground: Ground) -> Findings:
    """Something in the plan cannot be, and was left out."""
    return noted("plan_broken", ground)


def witnesses_missing(ground: Ground) -> Findings:
    """There is no file of witnesses."""
    _forget_witnesses(ground)
    return noted("witnesses_missing", ground)


def witnesses_of_another_run(ground: Ground) -> Findings:
    """The file of witnesses belongs to another run."""
    _forget_witnesses(ground)
    return noted("witnesses_of_another_run", ground)


def _forget_witnesses(ground: Ground) -> None:
    for stage in ground.history.stages:
        for name in ("taken", "handed_on", "first_taken_on_retry"):
            ground.set(stage, name, {})
        ground.set(stage, "duplicates_absorbed", 0)


def ledger_missing(ground: Ground) -> Whole:
    """There is no ledger."""
    ground.set(ground.history, "ledger", None)
    return Whole(Counter([reason_line("unknown", "ledger_missing")]))


def ledger_unreadable(ground: Ground) -> Whole:
    """The ledger is damaged."""
    ground.set(ground.history, "ledger", None)
    return Whole(noted("ledger_unreadable", ground))


def nothing_sent(ground: Ground) -> Whole:
    """No terminal committed anything, and so nobody has anything."""
    ground.set(ground.history, "ledger", Ledger())
    for view in ground.event_views:
        ground.set(view, "read", {})
        ground.set(view, "totals_found", None)
    ground.set(ground.history, "letters", None)
    for stage in ground.history.stages:
        ground.set(stage, "rejects", {})
    return Whole(Counter([reason_line("unknown", "nothing_sent")]))


def over_budget(ground: Ground) -> Findings:
    """A process was started again more often than the run's budget allows."""
    ground.set(ground.history, "allow", {"restarts": 1})
    ground.set(ground.history, "restarts", {"parm-1": ["signal SIGKILL", "exit status 1"]})
    return Counter([reason_line("invalid", "over_budget")])


def budget_unsure(ground: Ground) -> Findings:
    """Nobody counted what the run has a budget for."""
    ground.set(ground.history, "allow", {"restarts": 1})
    ground.set(ground.history, "restarts", None)
    return Counter([reason_line("unknown", "budget_unsure")])


def checker_failed(ground: Ground) -> Whole:
    """The facts are such that the checker itself fails."""
    ground.set(ground.history, "views", None)
    return Whole(Counter([reason_line("unknown", "checker_failed")]))
