"""One run's own doings, on a lab that only answers: what it records of faults and recoveries, come what may."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from fleetwire.control import Handler
from fleetwire.errors import ControlError
from fleetwire.intervals import IntervalSet
from fleetwire.ledger_format import DDL, LEDGER_FILE_NAME
from storefleet import cli_run, endings, run_clock
from storefleet import run as run_module
from storefleet.conductor import CutShort, Stopped
from storefleet.lab import Lab
from storefleet.live import Silent
from storefleet.observatory import Observatory
from storefleet.plan import LabPlan
from storefleet.run import Run
from storefleet.run_clock import RunClock
from storefleet.run_log import RunLog
from storefleet.run_record import RunRecord
from storefleet.scripts import trading_script
from storefleet.steering import steering_handlers
from storefleet.verdict.log_file import LOG_FILE_NAME, LogHeader, read_log
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_format import READS_FILE_NAME
from tests.storefleet_units.plans import lab_plan

TILL = "taco.west.s0001.r01"
FAULT: dict[str, Any] = {"hop": "parm-broker", "name": "cut", "ended": "", "evidence": {"found": "confirmed"}}


class AnsweringLab:
    """What a run needs of a lab; chaos answers ``faults`` from a list, one entry a call, the last one for ever."""

    def __init__(self, folder: Path) -> None:
        self.plan: LabPlan = lab_plan()
        self.run_folder = folder
        self.client_handlers: dict[str, Handler] = {}
        self.observatory = Observatory(folder / "witnesses.jsonl")
        self.log = RunLog(folder / LOG_FILE_NAME, LogHeader())
        self.letters = None
        self.processes = SimpleNamespace(children={})
        self.past = None
        self.started_s = 1.0
        self.journal = SimpleNamespace(exits={})
        self.processes = SimpleNamespace(children={})
        self.ready = asyncio.Event()
        self.broker_watch = None
        self.control = SimpleNamespace(
            notify_all=self._notify,
            members={},
            stage=lambda _: [],
            ask_snapshots=self._ask_snapshots,
            refused_reports={},
        )
        self.observer = None
        self.gateway_url = "http://127.0.0.1:9/fleet"
        self.faults: list[list[dict[str, Any]] | ControlError] = [[]]
        self.called: list[str] = []
        self.intervals_ms: list[int] = []

    def _notify(self, _method: str, params: dict[str, int]) -> None:
        self.intervals_ms.append(params["interval_ms"])

    async def _ask_snapshots(self, stage: str, *, timeout_s: float) -> None:
        del timeout_s
        raise ControlError(f"{stage} is not connected to the lab")

    async def stop_stages(self) -> None:
        """Nothing runs."""

    async def hear_out(self) -> None:
        """Nobody speaks."""

    async def stage_call(self, stage: str, method: str, _params: object = None, *, timeout_s: float = 0.0) -> list[Any]:
        """Answer as chaos would; nobody else is there."""
        del timeout_s
        self.called.append(method)
        if stage != "chaos":
            raise ControlError(f"{stage} is not connected to the lab")
        if method != "faults":
            return [{}]
        answer = self.faults.pop(0) if len(self.faults) > 1 else self.faults[0]
        if isinstance(answer, ControlError):
            raise answer
        return [answer]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[AnsweringLab]:
    """A lab that answers."""
    found = AnsweringLab(tmp_path)
    yield found
    found.observatory.close()


def run_of(lab: AnsweringLab) -> Run:
    """A run of that lab."""
    return Run(cast("Lab", lab), Silent(), asyncio.Event())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition, bounded."""
    async with asyncio.timeout(40.0):
        while not condition():  # noqa: ASYNC110 - the run has no event to wait for
            await asyncio.sleep(0.01)


async def test_what_people_tell_the_lab_is_recorded(lab: AnsweringLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command with its parameters, before anything comes of it, refused ones too; bounded in number and size."""
    run = run_of(lab)
    steer = steering_handlers(cast("Lab", lab), run.note_command)["steer"]
    for what, params in (("burst", {"events": 5}), ("close", {"store": "x" * 5_000})):
        with pytest.raises(ControlError, match="emulator is not connected"):
            await steer({"what": what, "params": params})
    with pytest.raises(ControlError, match="expected one of"):
        await steer({"what": "explode"})
    with pytest.raises(ControlError, match="must be an object"):
        await steer({"what": "burst", "params": [1]})
    written = msgspec.json.decode((lab.run_folder / "plan.json").read_bytes(), type=RunRecord)
    assert [(one.what, one.params) for one in written.commands] == [
        ("burst", {"events": 5}),
        ("close", {"bytes": 5_012}),
    ]
    assert written.commands[0].at_ms > 0
    told = read_log(lab.run_folder / LOG_FILE_NAME)
    assert [one.text[:16] for one in told if one.kind == "command"] == ["burst events 5", "close store xxxx"]
    monkeypatch.setattr(run_module, "COMMAND_LIMIT", 2)
    run.note_command("burst", {})
    assert (len(run.record.commands), run.record.commands_unkept) == (2, 1)


@pytest.mark.parametrize(
    ("answers", "by_itself", "lifted"),
    [
        ([[FAULT]], False, True),
        ([[]], True, False),
        ([[{**FAULT, "ended": "lease"}]], True, False),
        ([[{**FAULT, "ended": "lease"}, FAULT]], False, True),
        ([[{**FAULT, "hop": "sync-broker"}]], True, False),
        ([ControlError("chaos is not connected to the lab"), []], True, False),
        ([ControlError("chaos is not connected to the lab"), [FAULT]], False, True),
    ],
    ids=["at work", "chaos was restarted", "its lease ended", "again at work", "elsewhere", "back empty", "back"],
)
async def test_a_fault_that_is_gone_is_closed(
    lab: AnsweringLab, answers: list[list[dict[str, Any]] | ControlError], by_itself: bool, lifted: bool
) -> None:
    """A fault whose lease or process ended is lifted all the same: recorded as ended by itself, not shown any more."""
    run = run_of(lab)
    await run.add_fault("parm-broker", "cut", "down", {}, lease_s=1.0)
    assert run.faults
    lab.faults = answers
    await run.remove_fault("parm-broker", "cut")
    (entry,) = run.record.faults
    assert (entry.ended_by_itself, "remove_fault" in lab.called) == (by_itself, lifted)
    assert entry.end_ms >= entry.begin_ms > 0
    assert not run.faults


async def test_a_fault_that_nobody_can_lift(lab: AnsweringLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """While chaos stays away a fault is not called lifted, and the end of the run goes on without it."""
    monkeypatch.setattr(run_module, "HEAL_TIMEOUT_S", 0.2)
    run = run_of(lab)
    await run.add_fault("parm-broker", "cut", "down", {}, lease_s=1.0)
    lab.faults = [ControlError("chaos is not connected to the lab")]
    with pytest.raises(ControlError):
        await run.remove_fault("parm-broker", "cut")
    await run.lift_faults()
    assert run.record.faults[0].end_ms == 0


async def test_a_clients_wait_is_no_recovery_of_the_run(lab: AnsweringLab) -> None:
    """A client whose wait for convergence times out is told so, and no view answers for it in the verdict."""
    lab.observatory.registers["terminals"] = {"taco.west.s0001.r01": [True, 1, 1]}
    run = run_of(lab)
    lab.ready.set()
    with pytest.raises(ControlError, match=r"^not converged within 0\.01 s: ") as told:
        await lab.client_handlers["wait"]({"what": "converged", "timeout_s": 0.01})
    reasons = dict(one.split(": ") for one in str(told.value).partition(" s: ")[2].split("; "))
    assert list(reasons) == ["device_inventory", "gateway", "olympus_dgs", "orders", "sales", "store_board"]
    assert reasons["orders"] == "poseidon does not answer"
    assert reasons["device_inventory"] == reasons["sales"] == "views does not answer"
    assert reasons["gateway"] in ("it does not answer", "it is not read to its end yet")
    assert run.recoveries == []
    recovery = await run.wait_recovery(0.01)
    assert run.recoveries == [recovery]
    assert lab.intervals_ms == [100, 1_000, 100, 1_000]


async def test_what_an_earlier_process_held_is_not_believed(lab: AnsweringLab) -> None:
    """A view's process was started again and has not said what it holds: nothing is known of it, whatever was held."""
    run = run_of(lab)
    members = [SimpleNamespace(stage="poseidon", instance=1, incarnation=1, ready=True)]
    lab.control.stage = lambda stage: members if stage == "poseidon" else []
    told = {"orders": {"epoch": 1, "sources": {}, "digests": {}}}
    snapshot = {"stage": "poseidon", "instance": 1, "incarnation": 1, "at_ms": 1, "number": 1, "holdings": told}
    lab.observatory.receive(snapshot)
    assert run.contents.unknown(set())["orders"] == "poseidon does not answer"
    assert "orders" not in run.contents.unknown({"poseidon"})
    members[0].incarnation = 2
    assert run.contents.unknown({"poseidon"})["orders"] == "poseidon was started again"
    members[0].ready = False
    lab.observatory.receive({**snapshot, "incarnation": 2})
    assert run.contents.unknown({"poseidon"})["orders"] == "poseidon is starting"
    assert run.contents.unknown(set())["orders"] == "poseidon is starting"
    members[0].ready = True
    assert "orders" not in run.contents.unknown({"poseidon"})
    members.clear()
    assert run.contents.unknown({"poseidon"})["orders"] == "poseidon is gone"


async def test_an_answer_from_before_a_stage_is_ready_does_not_count(lab: AnsweringLab) -> None:
    """It answers while it starts, when its views may hold only some of what it has; it is asked on until it is ready."""
    run = run_of(lab)
    member = SimpleNamespace(stage="poseidon", instance=1, incarnation=1, ready=False)
    lab.control.stage = lambda _: [member]
    asked = 0

    async def stage_call(*_: object, **__: object) -> list[object]:
        nonlocal asked
        asked += 1
        return []

    lab.stage_call = stage_call
    heard: set[str] = set()
    asking = asyncio.create_task(run.contents._ask("poseidon", heard))
    await until(lambda: asked == 2)
    assert not heard
    member.ready = True
    await asking
    assert heard == {"poseidon"}


async def test_a_wait_that_is_cut_is_no_recovery_that_never_came(lab: AnsweringLab) -> None:
    """Ctrl-C during the script's wait leaves no recovery behind: the wait at the end of the run speaks for the views."""
    lab.observatory.registers["terminals"] = {"taco.west.s0001.r01": [True, 1, 1]}
    run = run_of(lab)
    client = asyncio.create_task(run._watch(await run._begin_recovery(), 60.0))
    wait = asyncio.create_task(run.wait_recovery(60.0))
    await until(lambda: bool(run.recoveries) and len(lab.intervals_ms) == 2)
    wait.cancel()
    await asyncio.wait({wait})
    assert wait.cancelled()
    assert run.recoveries == []
    assert lab.intervals_ms == [100, 100], "somebody else still waits"
    client.cancel()
    await asyncio.wait({client})
    assert lab.intervals_ms == [100, 100, 1_000]


def test_the_clock_of_a_run_does_not_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ages are true whatever is done to the host's clock, and begin at its time."""
    host_s, steady_s = 1_000.0, 50.0
    monkeypatch.setattr(time, "time_ns", lambda: int(host_s * 1e9))
    monkeypatch.setattr(run_clock, "_running_s", lambda: steady_s)
    clock = RunClock()
    assert clock.now_ms() == 1_000_000
    host_s, steady_s = 5.0, 52.5
    assert clock.now_ms() == 1_002_500


@pytest.fixture
def own_signals(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command does to the signals of its process does not outlive the test."""
    before = {number: signal.getsignal(number) for number in endings.SIGNALS}
    monkeypatch.setattr(endings, "_ending", endings._Ending())
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
def test_a_ctrl_c_while_the_verdict_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is over: the verdict is told to its end, and its exit status is the command's."""

    async def ended(*_: object, **__: object) -> tuple[Path, Verdict]:
        return tmp_path, Verdict(validity="valid")

    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path))
    monkeypatch.setattr("storefleet.conductor.conduct", ended)
    told_lines: list[str] = []

    def tell(text: str) -> None:
        if not told_lines:
            os.kill(os.getpid(), signal.SIGINT)
        told_lines.append(text)

    monkeypatch.setattr(cli_run, "out", tell)
    with pytest.raises(SystemExit) as told:
        cli_run._run(lab_plan(), trading_script, password=None, json_output=False)
    assert told.value.code == 0
    assert told_lines[-1] == f"run folder: {tmp_path}"


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize(("error", "status"), [(CutShort("the run broke off"), 3), (Stopped(), 130)])
def test_a_run_that_began_never_says_that_it_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    """A run that broke off is unknown, one that was stopped at once is 130; exit status 2 is for what did not begin."""

    async def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path))
    monkeypatch.setattr("storefleet.conductor.conduct", broken)
    with pytest.raises(SystemExit) as ended:
        cli_run._run(lab_plan(), trading_script, password=None, json_output=True)
    assert ended.value.code == status


def record_of(lab: AnsweringLab) -> RunRecord:
    """What ``plan.json`` says by now."""
    return msgspec.json.decode((lab.run_folder / "plan.json").read_bytes(), type=RunRecord)


@pytest.mark.parametrize(
    ("stages", "view", "came"), [(("parm",), "canonical", True), (("parm", "poseidon"), "orders", False)]
)
async def test_a_terminals_word_proves_what_no_state_outlives(
    lab: AnsweringLab, stages: tuple[str, ...], view: str, came: bool
) -> None:
    """What PARM handed on in its last moments is in no witness; where it answers, the outcomes that it sent tell it."""
    lab.plan = lab_plan(stages=stages)
    with contextlib.closing(sqlite3.connect(lab.run_folder / LEDGER_FILE_NAME)) as ledger:
        ledger.executescript(DDL)
        ledger.execute("INSERT INTO source (number, id) VALUES (1, ?)", (TILL,))
        ledger.execute("INSERT INTO outcome VALUES (1, 3, 3, 'applied', 'parm', '', 0)")
        ledger.commit()
    lab.observatory.events["emulator"][TILL] = IntervalSet([(1, 3)])
    lab.observatory.handed_on["parm"][TILL] = IntervalSet([(1, 2)])
    lab.observatory.events["poseidon"][TILL] = IntervalSet([(1, 2)])
    recovery = await run_of(lab).wait_recovery(0.01)
    assert (view in recovery.converged_ms) is came
    (written,) = record_of(lab).recoveries
    assert written.converged_ms == recovery.converged_ms, "a lab that goes on must know it at once"


async def test_the_plan_is_whole_before_the_reads_end_the_run(
    lab: AnsweringLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However early a run that was interrupted is killed, whoever judges its reads knows that it was."""
    lab.plan = lab_plan(stages=("parm",))
    lab.ready.set()
    run = run_of(lab)
    run.interrupted = True
    seen: list[tuple[str, bool, bool]] = []
    write = Run._write

    def look(self: Run, name: str, value: object) -> None:
        write(self, name, value)
        record = record_of(lab)
        seen.append((record.phases[-1].name, record.interrupted, (lab.run_folder / READS_FILE_NAME).exists()))
        if name == READS_FILE_NAME:
            assert record.aborted, "it was not drained"

    monkeypatch.setattr(Run, "_write", look)
    await run.finish(drain_s=0.01)
    assert all(interrupted for _, interrupted, _ in seen)
    assert next(phase for phase, _, read in seen if read) == "stop"


async def test_the_record_by_which_a_run_is_judged_is_not_rewritten(
    lab: AnsweringLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the keeper of the record, or a command, has to say while a thread judges the run, or later, comes too late."""
    lab.plan = lab_plan(stages=("parm",))
    run = run_of(lab)
    run.note_command("burst", {"events": 1})
    judged = asyncio.Event()

    async def judge(self: Run) -> None:
        self.keep_record()
        self.note_command("burst", {"events": 2})
        judged.set()

    monkeypatch.setattr(Run, "_judge", judge)
    await run.finish(drain_s=0.01)
    run.keep_record()
    record = record_of(lab)
    assert judged.is_set()
    assert (record.phases[-1].name, [one.params for one in record.commands]) == ("check", [{"events": 1}])


def test_a_disk_that_refuses_everything_costs_the_file_only(
    lab: AnsweringLab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file system that became read-only refuses the tidying as well: that is logged, and the run goes on."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    run = run_of(lab)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_bytes", refuse)
        broken.setattr(Path, "unlink", refuse)
        run.write_record()
    assert "cannot write plan.json" in caplog.text
    assert "Read-only file system" in caplog.text
