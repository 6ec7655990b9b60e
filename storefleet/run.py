"""One run from start to verdict: settle, faults on, faults off, wait for recovery, final reads, check.

However a run ends that has begun, it leaves its folder with a verdict: what was proven, or unknown; only a run whose lab is
killed, or cannot be taken up again, stays without one until it goes on. :mod:`storefleet.conductor` plays it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from fleetwire.control import Params
from fleetwire.errors import ControlError, SettingsError
from fleetwire.identity import Key
from fleetwire.ledger_format import LEDGER_FILE_NAME
from storefleet.contents import Holdings
from storefleet.control_server import Member
from storefleet.convergence import RESOLUTION_MS, Recovery
from storefleet.final_reads import read_all
from storefleet.lab import Lab
from storefleet.lab_health import health_of
from storefleet.ledger_outcomes import Outcomes, last_resolved_key
from storefleet.ledger_rows import newest_outcome
from storefleet.live import Display, Picture, take_picture
from storefleet.observatory import REGISTER_VIEWS
from storefleet.past_run import PastRun, go_on, recovery_of
from storefleet.run_clock import RunClock
from storefleet.run_record import (
    COMMAND_BYTES,
    COMMAND_LIMIT,
    READING_PHASE,
    STOPPING_PHASE,
    UNRECORDED_OUTCOMES,
    CommandRecord,
    FaultRecord,
    RecoveryRecord,
    RunRecord,
    added,
    calm_spans,
    journey_of,
    views_not_judged,
    views_of,
)
from storefleet.run_story import describe, plain_command
from storefleet.stage_lines import StageLines, under_way_of
from storefleet.stopped_processes import StoppedProcesses
from storefleet.verdict.journeys_file import JOURNEYS_FILE_NAME
from storefleet.verdict.machine import LAB_PROCESS
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_folder import judge_folder
from storefleet.verdict.run_format import CHECK_PHASE, PLAN_FILE_NAME, READS_FILE_NAME, VERDICT_FILE_NAME, Reads
from storefleet.verdict.sealing import sealed
from storefleet.view_contents import ViewContents

COMING_BACK_MS: Final = 10_000
"""So long after healing a register view has not recovered while terminals are still on their way back: a board that
agrees that everybody is offline is right, and no recovery. Who has not come back by then is offline for good."""

_log = logging.getLogger(__name__)

HEAL_TIMEOUT_S: Final = 10.0
"""How long chaos, which its driver starts again, may be away when a fault is to be lifted."""

Script = Callable[["Run"], Awaitable[None]]
"""What happens between ready and the end; it may be cancelled at any point."""


class Run:
    """A lab with its phases; ``record`` is what ``plan.json`` tells of it."""

    def __init__(self, lab: Lab, display: Display, stopping: asyncio.Event) -> None:
        """``stopping`` is set when the script is to end and the run to be judged."""
        self.lab = lab
        self.display = display
        self.phase = "starting"
        self.waiting = ""
        """What the end of the run waits for, and for how long at most; empty while it waits for nothing."""
        self.faults: dict[str, str] = {}
        self.recoveries: list[Recovery] = []
        """Those that the run itself waited for: each view answers for its slowest."""
        self.clock = RunClock()
        self._told_view = UNRECORDED_OUTCOMES.get(lab.plan.outcome_stage, "")
        told_for_a_stage = lab.plan.outcome_stage in lab.plan.commands
        self.outcomes = Outcomes(self.ledger_file, keeps_applied=bool(self._told_view) or told_for_a_stage)
        self._watchers = 0
        self.refusals: dict[str, str] = {}
        """File of the run that could not be written the last time -> why."""
        self.stopping = stopping
        self.interrupted = False
        self.record = self._new_record() if lab.past is None else self._go_on(lab.past)
        self._untrue_before = dict(self.record.untrue_messages)
        self.stopped = StoppedProcesses(lab.observatory, lab.processes.children, self.clock.now_ms)
        """Whoever conducts the run lets it look."""
        under_way = under_way_of(lab, self.outcomes)
        self.contents = ViewContents(lab, self.ledger_file, self.outcomes, self.record.views, under_way)
        self._stages = StageLines(lab, self.outcomes, under_way, self.stopped, self.contents.read_again)
        lab.client_handlers.update(
            {
                "status": self._on_status,
                "wait": self._on_wait,
                "down": self._on_down,
                "journey": self._on_journey,
                "lab": self._on_lab,
            }
        )

    def _new_record(self) -> RunRecord:
        plan = self.lab.plan
        return RunRecord(
            name=plan.name,
            seed=plan.seed,
            started_at_ms=round(self.lab.started_s * 1000),
            steps=journey_of(plan),
            views=views_of(plan),
            views_not_judged=views_not_judged(plan),
            deadline_s=plan.deadline_s,
            letters=True,
            sealed_at_end=True,
            allow=plan.allow,
            lab=plan,
        )

    def _go_on(self, past: PastRun) -> RunRecord:
        """The record of a run whose lab died, which is part of its story."""
        seen, record, now_ms = self.lab.observatory, past.record, self.clock.now_ms()
        heard_ms = max((figures.at_ms for figures in seen.instances.values()), default=0)
        in_force = [fault for fault in record.faults if not fault.end_ms]
        gone_ms = go_on(record, known_ms=max(heard_ms, past.journal.newest_ms), now_ms=now_ms)
        past.journal.end(LAB_PROCESS, f"{gone_ms / 1000:.1f} s of absence")
        self.lab.log.note("lab_gone", LAB_PROCESS, f"for {gone_ms / 1000:.1f} s", now_ms)
        for fault in in_force:
            self.lab.log.note("fault_off", fault.hop, describe(fault), now_ms)
        for stall in record.stalls:
            seen.keep_stall(stall)
        self.recoveries += [recovery_of(recovery, record.views) for recovery in record.recoveries]
        record.seal = None
        record.interrupted = record.aborted = False  # that lab died before it had read what it wanted to judge
        return record

    # -- phases --------------------------------------------------------------------------------------------------

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self.record.enter(phase, self.clock.now_ms())
        self.phase = phase
        self.lab.log.note("phase", LAB_PROCESS, phase)
        self.write_record()

    async def add_fault(self, hop: str, name: str, kind: str, attributes: dict[str, Any], lease_s: float) -> None:
        """Break a hop; the fault ends by itself when its lease does."""
        params = {"hop": hop, "name": name, "type": kind, "attributes": attributes, "lease_s": lease_s}
        entry = FaultRecord(hop=hop, name=name, type=kind, attributes=attributes, begin_ms=self.clock.now_ms())
        self.record.faults.append(entry)  # before the call: whoever is stopped in it must lift it all the same
        try:
            await self.lab.stage_call("chaos", "add_fault", params)
        except ControlError:
            self.record.faults.remove(entry)
            raise
        self.write_record()
        self.faults[name] = f"{kind} of {' '.join(f'{key} {value}' for key, value in attributes.items())} on {hop}"
        self.lab.log.note("fault_on", hop, f"{self.faults[name]}, for at most {lease_s:g} s", entry.begin_ms)

    async def remove_fault(self, hop: str, name: str) -> None:
        """Heal a hop, and note what evidence there is that it was broken; raises ControlError.

        A fault that is not there any more (its lease is over, or its process died and came back) ended by itself.
        """
        deadline_s = time.monotonic() + HEAL_TIMEOUT_S
        while True:
            try:
                evidence, lifted = await self._lift(hop, name)
                break
            except ControlError:
                if time.monotonic() >= deadline_s:
                    raise
            await asyncio.sleep(RESOLUTION_MS / 1000)
        self.faults.pop(name, None)
        for entry in self.record.faults:
            if entry.name == name and not entry.end_ms:
                entry.end_ms = self.clock.now_ms()
                entry.evidence = evidence
                entry.ended_by_itself = not lifted
                self.lab.log.note("fault_off", hop, describe(entry), entry.end_ms)
                if not lifted:
                    _log.warning("fault %s on %s ended by itself before it was lifted", name, hop)
        self.write_record()

    async def _lift(self, hop: str, name: str) -> tuple[list[Any], bool]:
        """The fault's evidence, and whether it was still there to be lifted; raises ControlError."""
        answers = await self.lab.stage_call("chaos", "faults", timeout_s=5.0)
        states = [state for answer in answers for state in answer if state.get("name") == name]
        at_work = any(state.get("hop", hop) == hop and not state.get("ended") for state in states)
        if at_work:
            await self.lab.stage_call("chaos", "remove_fault", {"hop": hop, "name": name}, timeout_s=5.0)
        return [state.get("evidence") for state in states], at_work

    async def lift_faults(self) -> None:
        """Heal whatever is still broken: a script that was stopped has not done it."""
        left = [self.remove_fault(entry.hop, entry.name) for entry in self.record.faults if not entry.end_ms]
        for error in await asyncio.gather(*left, return_exceptions=True):
            if isinstance(error, ControlError):
                _log.warning("a fault could not be lifted: %s", error)
            elif error is not None:
                raise error

    async def wait_recovery(self, timeout_s: float) -> Recovery:
        """Wait until every view holds what is committed now, by its content, and every register is true; bounded.

        The run answers for this recovery: one that does not come in time speaks against it, one that is cut does not.
        """
        recovery = await self._begin_recovery()
        self.recoveries.append(recovery)
        try:
            await self._watch(recovery, timeout_s, on_waiting=self._waits_for)
        except asyncio.CancelledError:
            self.recoveries.remove(recovery)
            raise
        finally:
            self._waits_for("")
        recovery.believe(recovery.unknown)
        self.write_record()
        return recovery

    async def _watch(
        self, recovery: Recovery, timeout_s: float, on_waiting: Callable[[str], None] = lambda _: None
    ) -> None:
        """Observe a recovery until it is complete or the time is over; ``on_waiting`` is told for how long at most."""
        deadline_s = time.monotonic() + timeout_s
        self._watchers += 1
        self.lab.control.notify_all("snapshot_every", {"interval_ms": RESOLUTION_MS})
        heard: set[str] = set()
        attending = asyncio.create_task(self.contents.attend(heard, recovery.converged_ms), name="run.contents")
        try:
            while not self._observe(recovery, heard) and time.monotonic() < deadline_s:
                on_waiting(f"views are behind; at most {deadline_s - time.monotonic():.0f} s more")
                await asyncio.sleep(RESOLUTION_MS / 1000)
        finally:
            attending.cancel()
            self._watchers -= 1
            if not self._watchers:
                self.lab.control.notify_all("snapshot_every", {"interval_ms": 1000})

    async def _begin_recovery(self) -> Recovery:
        with contextlib.suppress(ControlError):
            await self.lab.control.ask_snapshots("emulator", timeout_s=5.0)
        healed_ms = self.clock.now_ms()
        await self.contents.catch_up()
        views = self.record.views
        evidence = {view.view: self._evidence(view.view) for view in views if view.holds == "events"}
        return Recovery(
            healed_ms,
            self.contents.committed(),
            {view: proofs for view, proofs in evidence.items() if proofs},
            [view.view for view in views if view.holds == "registers" and not view.follows],
            self.contents.comparisons(),
        )

    def _evidence(self, view: str) -> list[Holdings]:
        """What proves which events a view has had, of which nobody says what it holds: witnesses, and the word to a
        terminal where no state outlives it."""
        told = [self.outcomes.applied] if view == self._told_view else []
        return [*self.lab.observatory.evidence(view), *told]

    def _observe(self, recovery: Recovery, heard: set[str]) -> bool:
        seen = self.lab.observatory
        now_ms = self.clock.now_ms()
        coming_back = now_ms - recovery.healed_ms < COMING_BACK_MS and seen.total("emulator", "connecting") > 0
        distances = {view: seen.register_distance(view) + coming_back for view in REGISTER_VIEWS}
        self.contents.read()
        return recovery.observe(now_ms, self.outcomes.rejected, distances, self.contents.unknown(heard))

    def picture(self, *, maximum_age_s: float = 0.0) -> Picture:
        """What people are shown now; views are compared with the ledger again where that is older."""
        compared = self.contents.look(maximum_age_s=maximum_age_s)
        faults, stages = tuple(self.faults.values()), self._stages.lines()
        return take_picture(self.lab, self.phase, faults, compared, stages, waiting=self.waiting)

    async def drain(self, timeout_s: float) -> bool:
        """Stop trading and wait until every event has its outcome; False when the time was not enough."""
        deadline_s = time.monotonic() + timeout_s
        try:
            while time.monotonic() < deadline_s:
                if not (unresolved := await self._unresolved()):
                    return True
                left_s = max(0.0, deadline_s - time.monotonic())
                self.waiting = f"{unresolved:,} events have no outcome; at most {left_s:.0f} s more"
                await asyncio.sleep(0.05)
        finally:
            self.waiting = ""
        return False

    async def _unresolved(self) -> int:
        """How many events have no outcome, once nothing is traded any more; 1 where the terminals do not say."""
        try:
            await self.lab.stage_call("emulator", "pause_trading", timeout_s=2.0)
            states = await self.lab.stage_call("emulator", "drained", timeout_s=2.0)
        except ControlError:
            return 1
        return sum(int(state["unresolved"]) + int(state["uncommitted"]) for state in states)

    # -- the end -------------------------------------------------------------------------------------------------

    async def finish(self, *, drain_s: float) -> Verdict:
        """Drain, read, stop, judge. Whatever fails on the way makes the verdict unknown, not absent.

        ``drain_s``: how long to wait for outcomes and views at most.
        """
        drained = False
        reads = Reads()
        self.record.interrupted = self.interrupted  # before any file that a judge of this folder could read without it
        if self.lab.ready.is_set():
            await self.lift_faults()
            self.enter("wait for recovery")
            until_s = time.monotonic() + drain_s
            drained = await self.drain(drain_s)
            await self.wait_recovery(max(1.0, until_s - time.monotonic()))
            self.enter(READING_PHASE)
            await self._hear_all_stages()
            told_until_row, witnessed_bytes = newest_outcome(self.ledger_file), self.lab.observatory.written_bytes
            reads = await read_all(
                self.lab,
                self.ledger_file,
                self.clock.now_ms,
                views={view.view for view in self.record.views},
                until_s=until_s,
                on_waiting=self._waits_for,
            )
            reads.told_until_row, reads.witnessed_bytes = told_until_row, witnessed_bytes
            self._waits_for("")
            self._enter_recoveries(reads)
            await self._write_journeys()
        cut_short = self.interrupted and drain_s <= self.lab.plan.deadline_s
        self.record.aborted = not drained and (cut_short or not self.lab.ready.is_set())
        self._note_the_dead()
        self.enter(STOPPING_PHASE)
        self._write(READS_FILE_NAME, reads)  # it ends the run, so all that judging needs is there before
        await self.lab.stop_stages()
        await self.lab.hear_out()
        self.lab.observatory.end()
        self.enter(CHECK_PHASE)
        return await self._judge()

    async def _hear_all_stages(self) -> None:
        """What every stage has seen by now: what is missing in the reads is blamed by this, and by nothing newer."""

        stages = sorted({"emulator", *(member.stage for member in self.lab.control.members.values())})
        asking = (self.lab.control.ask_snapshots(stage, timeout_s=5.0) for stage in stages)
        answers = await asyncio.gather(*asking, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, ControlError):
                raise answer
        self.record.unheard_stages = [
            stage for stage, answer in zip(stages, answers, strict=True) if answer is not None
        ]

    def _waits_for(self, what: str) -> None:
        self.waiting = what

    async def _judge(self) -> Verdict:
        """The verdict; whoever is stopped meanwhile waits for it: a thread cannot be stopped, and it is the verdict."""
        self.lab.log.end()
        judging = asyncio.create_task(asyncio.to_thread(self._seal_and_judge), name="run.check")
        try:
            return await asyncio.shield(judging)
        except asyncio.CancelledError:
            await asyncio.wait({judging})
            raise

    def abandon(self) -> None:
        """After everything has ended before its time: judge what was recorded, unless there is a verdict already."""
        if (self.lab.run_folder / VERDICT_FILE_NAME).exists():
            return
        self.record.aborted = True
        self.enter(CHECK_PHASE)
        if not (self.lab.run_folder / READS_FILE_NAME).exists():
            self._write(READS_FILE_NAME, Reads())
        self.lab.log.end()
        with contextlib.suppress(SettingsError):  # a full disk has been logged already
            self._seal_and_judge()

    def _seal_and_judge(self) -> Verdict:
        """Everything has ended and is written down: what the judge reads is what is there now."""
        content = sealed(self.lab.run_folder, msgspec.json.encode(self.record))
        self._write(PLAN_FILE_NAME, msgspec.Raw(content))
        return judge_folder(self.lab.run_folder)

    def _enter_recoveries(self, reads: Reads) -> None:
        """Each view answers for its slowest recovery; one that never came is none."""
        earlier, calm_since_ms = calm_spans(self.record)
        for view, read in reads.views.items():
            read.calm_earlier, read.calm_since_ms = earlier, calm_since_ms
            waits = [
                (recovery.converged_ms.get(view), recovery.healed_ms)
                for recovery in self.recoveries
                if view in recovery.views
            ]
            if not waits:
                read.healed_at_ms = read.converged_at_ms = read.at_ms
                continue
            never = [healed_ms for converged_ms, healed_ms in waits if converged_ms is None]
            if never:
                read.healed_at_ms = never[0]
                continue
            slowest = max((converged_ms - healed_ms, healed_ms) for converged_ms, healed_ms in waits if converged_ms)
            read.healed_at_ms = slowest[1]
            read.converged_at_ms = slowest[0] + slowest[1]

    def _note_the_dead(self) -> None:
        if not self.lab.ready.is_set():
            return  # of a lab that never lived nothing has died
        ours = [stage for stage in self.lab.plan.stages if stage not in self.lab.plan.commands]
        self.record.dead_stages = [stage for stage in (*ours, "emulator") if not self.lab.control.stage(stage)]

    async def _write_journeys(self) -> None:
        journeys: dict[str, Any] = {}

        async def ask(member: Member) -> None:
            with contextlib.suppress(ControlError):  # one that stands still is not waited for by all
                journeys[f"{member.stage}-{member.instance}"] = await member.channel.call("journeys", timeout_s=5.0)

        await asyncio.gather(*map(ask, list(self.lab.control.members.values())))
        self._write(JOURNEYS_FILE_NAME, journeys)

    def note_command(self, what: str, params: Params) -> None:
        """A person has told the lab something, which may explain what is seen later."""
        self.lab.log.note("command", LAB_PROCESS, plain_command(what, params))
        record = self.record
        if len(record.commands) >= COMMAND_LIMIT:
            record.commands_unkept += 1
            return
        size = len(msgspec.json.encode(params))
        kept = params if size <= COMMAND_BYTES else {"bytes": size}
        record.commands.append(CommandRecord(at_ms=self.clock.now_ms(), what=what, params=kept))
        self.keep_record()

    # -- what is written down ------------------------------------------------------------------------------------

    @property
    def ledger_file(self) -> Path:
        """The emulator's ledger."""
        return self.lab.run_folder / LEDGER_FILE_NAME

    def _write(self, name: str, value: object) -> None:
        written = self.lab.run_folder / f"{name}.new"
        try:
            written.write_bytes(msgspec.json.encode(value))
            written.replace(self.lab.run_folder / name)
            self.refusals.pop(name, None)
        except OSError as error:
            self.refusals[name] = error.strerror or str(error)
            with contextlib.suppress(OSError):  # a disk that refuses to write may refuse this as well
                written.unlink(missing_ok=True)
            _log.error("cannot write %s into %s: %s", name, self.lab.run_folder, error.strerror)

    def write_record(self) -> None:
        """Write ``plan.json`` as it is by now.

        A lab that goes on with this run knows from here what the ledger, the witnesses and the journal do not tell:
        phases, faults, recoveries, stalls.
        """
        self.contents.read()  # a little each time, so that no recovery waits for the ledger of a long run
        if self.lab.broker_watch is not None:
            self.record.broker = self.lab.broker_watch.account()
        if self.lab.observer is not None:
            self.record.untrue_messages = added(self._untrue_before, self.lab.observer.untrue_messages)
        self.record.restarts = {name: list(exits) for name, exits in self.lab.journal.exits.items()}
        self.record.recoveries = [
            RecoveryRecord(healed_ms=recovery.healed_ms, converged_ms=recovery.converged_ms)
            for recovery in self.recoveries
        ]
        self.record.stalls = list(self.lab.observatory.stalls)
        self.record.refused_reports = dict(sorted(self.lab.control.refused_reports.items()))
        self.record.written_at_ms = self.clock.now_ms()
        self._write(PLAN_FILE_NAME, self.record)

    def keep_record(self) -> None:
        """As :meth:`write_record`, but never while the run is judged, or was, by what is written."""
        if self.phase != CHECK_PHASE:
            self.write_record()

    # -- what commands may ask -----------------------------------------------------------------------------------

    async def _on_status(self, _: Params) -> dict[str, Any]:
        await self.contents.refresh()
        picture = self.picture()
        return {
            "name": self.lab.plan.name,
            "ready": self.lab.ready.is_set(),
            "waiting_for": self.lab.waiting_for,
            "picture": msgspec.to_builtins(picture),
            **health_of(self.lab),
            "troubles": list(picture.troubles),
            "happenings": msgspec.to_builtins(list(self.lab.log.recent)),
            "run_folder": str(self.lab.run_folder),
        }

    async def _on_wait(self, params: Params) -> dict[str, Any]:
        timeout_s = min(86_400.0, float(params.get("timeout_s", 60.0)))
        until_s = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await self.lab.ready.wait()
        except TimeoutError:
            raise ControlError(f"not ready within {timeout_s:g} s") from None
        if params.get("what") != "converged":
            return {"ready": True}
        recovery = await self._begin_recovery()  # a client's own question, for which no view answers in the verdict
        await self._watch(recovery, max(0.0, until_s - time.monotonic()))
        if lacking := recovery.lacking():
            raise ControlError(f"not converged within {timeout_s:g} s: {lacking}")
        return {view: at_ms - recovery.healed_ms for view, at_ms in recovery.converged_ms.items()}

    async def _on_down(self, _: Params) -> dict[str, Any]:
        self.stopping.set()
        return {"run_folder": str(self.lab.run_folder), "drain_s": self.lab.plan.drain_limit_s}

    async def _on_lab(self, _: Params) -> dict[str, Any]:
        return self.lab.description()

    async def _on_journey(self, params: Params) -> dict[str, Any]:
        key = self._last_key() if params.get("last") else Key.parse(str(params["key"]))
        steps = await self.lab.journey(key.source, key.sequence)
        return {"key": str(key), "steps": steps, "run_folder": str(self.lab.run_folder)}

    def _last_key(self) -> Key:
        newest = last_resolved_key(self.ledger_file)
        if newest is None:
            raise ControlError("no event has gone all the way yet")
        return newest
