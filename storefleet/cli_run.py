"""Commands that run a lab: ``demo`` and ``up``, in this process or, with ``--detach``, in one of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from fleetwire.errors import FleetError, SettingsError
from storefleet.command_options import (
    AllowOption,
    AuthorityOption,
    BrokerLineOption,
    BrokerOption,
    ConflictingOption,
    DrainOption,
    EventsOption,
    ExternalOption,
    FleetOption,
    ForOption,
    InstancesOption,
    JsonLinesOption,
    KeepOption,
    MalformedOption,
    NameOption,
    PasswordOption,
    PortOption,
    RateOption,
    RepeatedOption,
    ResumeOption,
    RunsOption,
    ScaleOption,
    SeedOption,
    StageOption,
    StoresOption,
    TerminalsOption,
    WithoutOption,
)
from storefleet.command_output import fail, out, out_ended, out_json_line, say_progress
from storefleet.endings import STOPPED, UNKNOWN, Doing, Stops, decide, say_at_once

if TYPE_CHECKING:
    from storefleet.lab import Lab
    from storefleet.past_run import PastRun
    from storefleet.plan import LabPlan
    from storefleet.run import Script

READY_TIMEOUT_S: Final = 60.0
RESUMED_TIMEOUT_S: Final = 1_800.0
"""The new lab of a past run first reads again what that has recorded: a long run takes minutes."""
BESIDE_RESUME: Final = ("resume", "broker_password_file", "detach", "json_output")


def demo(
    stores: StoresOption = None,
    seed: SeedOption = None,
    rate: RateOption = "200/s",
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    keep: KeepOption = "slim",
    allow: AllowOption = None,
    json_output: JsonLinesOption = False,
) -> None:
    """The main job: a chain comes up, trades, loses region west for ten seconds, heals, and is judged."""
    from storefleet.lab_options import make_plan, read_allow, read_fleet

    fleet = read_fleet(None, {"stores": stores, "seed": seed, "keep_alive_s": 2})
    plan = make_plan(
        fleet=fleet,
        name=name,
        rate=rate,
        time_scale=60.0,
        broker="local",
        confirmed_external=False,
        port=0,
        without=(),
        stage=(),
        instances=(),
        runs=runs,
        keep=keep,
        allow=read_allow(None, allow or ()),
    )
    from storefleet.scripts import demo_script  # all of a lab, which who is refused does not wait for

    _run(plan, demo_script, password=None, json_output=json_output)


def up(
    context: typer.Context,
    stores: StoresOption = None,
    terminals_per_store: TerminalsOption = None,
    rate: RateOption = "200/s",
    seed: SeedOption = None,
    time_scale: ScaleOption = 60.0,
    broker: BrokerOption = "local",
    yes_external: ExternalOption = False,
    broker_option: BrokerLineOption = None,
    broker_password_file: PasswordOption = None,
    broker_ca_file: AuthorityOption = None,
    port: PortOption = 0,
    fleet: FleetOption = None,
    without: WithoutOption = None,
    stage: StageOption = None,
    instances: InstancesOption = None,
    malformed: MalformedOption = None,
    repeated: RepeatedOption = None,
    conflicting: ConflictingOption = None,
    deadline: Annotated[str, typer.Option("--deadline", help="How long a view may take: 30s, 2m.")] = "30s",
    drain: DrainOption = None,
    trade_for: ForOption = None,
    events: EventsOption = None,
    allow: AllowOption = None,
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    keep: KeepOption = "slim",
    resume: ResumeOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when ready; the lab goes on by itself.")] = False,
    json_output: JsonLinesOption = False,
) -> None:
    """Bring a lab up and trade until Ctrl-C, 'storefleet down', or what --for and --events say; then judge."""
    from storefleet.lab_options import make_plan, read_allow, read_fleet, take_password
    from storefleet.quantities import read_duration
    from storefleet.self_ending import read_trade_for

    if resume is not None:
        _require_alone(context)
        _resume(resume, broker_password_file, detach=detach, json_output=json_output)
        return
    options = {
        "stores": stores,
        "terminals_per_store": terminals_per_store,
        "seed": seed,
        "malformed": malformed,
        "repeated": repeated,
        "conflicting": conflicting,
    }
    plan = make_plan(
        fleet=read_fleet(fleet, options),
        name=name,
        rate=rate,
        time_scale=time_scale,
        broker=broker,
        confirmed_external=yes_external,
        broker_ca_file=broker_ca_file,
        port=port,
        without=without or (),
        stage=stage or (),
        instances=instances or (),
        runs=runs,
        keep=keep,
        broker_options=broker_option or (),
        deadline_s=read_duration(deadline, "--deadline", at_least_s=0.1),
        drain_s=None if drain is None else read_duration(drain, "--drain"),
        trade_for_s=read_trade_for(trade_for),
        trade_events=events,
        allow=read_allow(fleet, allow or ()),
    )
    if detach:
        _detach(plan.name, json_output=json_output)
        return
    from storefleet.scripts import trading_script

    _run(plan, trading_script, password=take_password(broker_password_file), json_output=json_output)


def _require_alone(context: typer.Context) -> None:
    """Beside --resume nothing may say what the lab is to be; its run says it."""
    for parameter in context.command.params:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name not in BESIDE_RESUME and source is not None and source.name == "COMMANDLINE":
            fail(f"up: {parameter.opts[0]} cannot stand beside --resume: the lab is what its run says; leave it out")


def _resume(run: str, password_file: Path | None, *, detach: bool, json_output: bool) -> None:
    """Go on with a run whose lab died."""
    from storefleet.cleaning import give_way
    from storefleet.lab_options import require_machine, take_password
    from storefleet.past_run import find_run, open_past_run
    from storefleet.scripts import resumed_script

    past = open_past_run(find_run(run, Path("runs")))
    plan = past.record.lab
    if detach:
        past.journal.close()  # it is the other process that goes on with it
        _detach(plan.name, json_output=json_output, resumed=True)
        return
    require_machine(plan)
    give_way(plan.name)
    _run(plan, resumed_script, password=take_password(password_file), json_output=json_output, past=past)


def _run(
    plan: LabPlan, script: Script, *, password: str | None, json_output: bool, past: PastRun | None = None
) -> NoReturn:
    import uvloop

    from storefleet.cleaning import reap_crashed
    from storefleet.conductor import CutShort, Stopped, conduct
    from storefleet.live import display
    from storefleet.verdict.table import plain_text

    for line in reap_crashed():
        say_progress(line)
    screen = display(json_output=json_output)
    screen.say(f"lab {plan.name}: {plan.stores:,} stores, {plan.terminals:,} terminals; starting")

    began_s = time.monotonic()

    def on_ready(lab: Lab) -> None:
        screen.say(f"ready in {time.monotonic() - began_s:.1f} s; {_where(lab.description())}")
        if json_output:
            out_json_line(lab.description())

    try:
        with contextlib.closing(screen):
            folder, verdict = uvloop.run(
                conduct(plan, script, screen, password=password, trade=True, on_ready=on_ready, past=past)
            )
            decide(verdict.exit_status)
    except Stopped as stopped:
        fail(f"stopped at once: {stopped}", STOPPED)
    except CutShort as error:
        fail(str(error), UNKNOWN)
    if json_output:
        out_ended(folder, verdict)
    else:
        out(plain_text(verdict, plan.name))
        out(f"run folder: {folder}")
    raise SystemExit(verdict.exit_status)


def _where(description: dict[str, Any]) -> str:
    """How a client joins a lab: address and topic root."""
    return f"join at {description['join']}, topics below {description['topic_root']}"


def _detach(name: str, *, json_output: bool, resumed: bool = False) -> None:
    """Start the same command again without --detach, in a session of its own, and wait until its lab is ready."""
    from storefleet import home, processes
    from storefleet.own_python import own_process

    if processes.is_live(home.lab_folder(name)):  # it writes into that log
        fail(f"a lab named {name} runs; end it first: storefleet down --name {name}")
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    if not resumed and "--name" not in arguments:
        arguments += ["--name", name]
    log = Path(f"storefleet-{name}.log")
    try:
        file = log.open("ab" if resumed else "wb")
    except OSError as error:
        fail(f"cannot write {log} into this folder: {error.strerror}; start the lab from a folder of yours")
    said_before = file.tell()
    own = own_process("storefleet", *arguments)
    started: list[subprocess.Popen[bytes]] = []

    def stop_it(count: int) -> None:
        say_at_once("stopping at once" if count > 1 else "stopping: the lab that starts ends (Ctrl-C again: at once)")
        for process in started:
            process.terminate()

    with file, Stops(stop_it) as stops, Doing(lambda: f"lab {name} is not ready yet; it writes into {log}"):
        process = subprocess.Popen(
            own.command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**own.environment, "NO_COLOR": "1"},
        )
        started.append(process)
        if stops.count:  # before there was anything to end
            process.terminate()
        timeout_s = RESUMED_TIMEOUT_S if resumed else READY_TIMEOUT_S
        try:
            description = _await_ready(name, process, log, said_before, timeout_s, stops)
        finally:
            if sys.exc_info()[0] is not None and process.poll() is None:  # it did not come up: nothing is left
                process.terminate()
                process.wait()
    if json_output:
        out_json_line(description)
    else:
        out(f"lab {name} is ready; {_where(description)}; end it: storefleet down --name {name}")


def _await_ready(
    name: str, process: subprocess.Popen[bytes], log: Path, said_before: int, timeout_s: float, stops: Stops
) -> dict[str, Any]:
    """``lab.json`` of this process's lab once it is ready; as long as it takes where somebody else runs a stage of it."""
    from storefleet.control_client import call_lab

    told = False
    deadline_s = time.monotonic() + timeout_s
    while True:
        if time.monotonic() >= deadline_s and not told:
            fail(f"lab {name} was not ready within {timeout_s:g} s; see {log}")
        if process.poll() is not None:
            last = log.read_bytes()[said_before:].decode(errors="replace").strip().splitlines()
            ended = process.returncode if stops.count else process.returncode or 2
            fail((last[-1] if last else "the lab ended at once").removeprefix("storefleet: "), ended)
        with contextlib.suppress(FleetError):
            status = _status_of(process, name)
            if status["ready"] and not stops.count:
                found: dict[str, Any] = call_lab(name, "lab")
                return found
            if status["waiting_for"] and not told:
                told = True
                say_progress(f"waiting until somebody runs {status['waiting_for']}")
        time.sleep(0.05)


def _status_of(process: subprocess.Popen[bytes], name: str) -> dict[str, Any]:
    """What this process's lab says of itself; SettingsError while there is none, or only another one of that name."""
    from storefleet import home, processes
    from storefleet.control_client import call_lab
    from storefleet.verdict.machine import LAB_PROCESS

    own = processes.recorded(home.lab_folder(name)).get(LAB_PROCESS)
    if own is None or own.process_id != process.pid:
        raise SettingsError(f"lab {name} is not there yet")
    found: dict[str, Any] = call_lab(name, "status")
    return found
