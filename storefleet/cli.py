"""The commands. Each reads options, calls one thing, and prints; errors are one line.

Exit status, everywhere: 0 valid; 1 invalid; 2 it did not begin; 3 unknown; 130 stopped by a second Ctrl-C.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn, cast

import msgspec
import typer

from fleetwire.errors import FleetError

if TYPE_CHECKING:
    from storefleet.lab import Lab
    from storefleet.plan import LabPlan
    from storefleet.run import Script

DID_NOT_BEGIN: Final = 2
UNKNOWN: Final = 3
SECOND_INTERRUPT: Final = 130
READY_TIMEOUT_S: Final = 60.0
UsageError: Final = cast("type[typer.BadParameter]", typer.BadParameter.__base__)
"""Root of what Typer says about options, whichever Click it brings along."""

app = typer.Typer(
    name="storefleet",
    help="A live MQTT store-fleet emulator and test harness with a verdict.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

StoresOption = Annotated[int | None, typer.Option("--stores", help="Number of stores.", show_default="200")]
TerminalsOption = Annotated[
    int | None, typer.Option("--terminals-per-store", help="Terminals of each store.", show_default="3")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Same seed, same business.", show_default="1")]
FleetOption = Annotated[Path | None, typer.Option("--fleet", help="A fleet as a TOML file; see examples/chain.toml.")]
RateOption = Annotated[str, typer.Option("--rate", help="Events over the whole fleet: 200/s, 600/min.")]
ScaleOption = Annotated[float, typer.Option("--time-scale", help="Business seconds per second.")]
NameOption = Annotated[str | None, typer.Option("--name", help="Name of the lab.", show_default="generated")]
LabOption = Annotated[str | None, typer.Option("--name", help="Which lab, when several run.")]
BrokerOption = Annotated[
    str, typer.Option("--broker", help="'local', or mqtt[s]://[user@]host[:port] of somebody else's.")
]
ExternalOption = Annotated[bool, typer.Option("--yes-external", help="Yes, put load on that broker.")]
BrokerLineOption = Annotated[
    list[str] | None,
    typer.Option("--broker-option", help="A line for our own broker's configuration, e.g. 'max_queued_messages 20'."),
]
PasswordOption = Annotated[
    Path | None,
    typer.Option(
        "--broker-password-file", help="File (mode 0600) with the broker's password; or STOREFLEET_BROKER_PASSWORD."
    ),
]
PortOption = Annotated[
    int, typer.Option("--port", min=0, max=65535, help="Port at which terminals join; 0: any free one.")
]
WithoutOption = Annotated[list[str] | None, typer.Option("--without", help="Leave out a stage and what is behind it.")]
StageOption = Annotated[
    list[str] | None, typer.Option("--stage", help="NAME=COMMAND or NAME=external: yours in its place.")
]
InstancesOption = Annotated[list[str] | None, typer.Option("--instances", help="STAGE=N: several side by side.")]
RunsOption = Annotated[Path, typer.Option("--runs", help="Folder for run folders.")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON for programs instead of text for people.")]
JsonLinesOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="JSON lines for programs: lab.json when ready, then {run_folder, exit_status, verdict} at the end.",
    ),
]
TimeoutOption = Annotated[str, typer.Option("--timeout", help="How long to wait: 60s, 2m.")]
MalformedOption = Annotated[float | None, typer.Option("--malformed", help="Share of malformed payloads, 0 to 1.")]
RepeatedOption = Annotated[float | None, typer.Option("--repeated", help="Share of repeated payloads, 0 to 1.")]
ConflictingOption = Annotated[float | None, typer.Option("--conflicting", help="Share of payloads sent again changed.")]


def main() -> None:
    """Entry point: every error of ours is one line and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _on_early_signal)
    try:
        raise SystemExit(app(standalone_mode=False))
    except UsageError as error:
        _fail_usage(error)
    except typer.Abort:
        fail("stopped", SECOND_INTERRUPT)
    except FleetError as error:
        fail(str(error))
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"{error.strerror or error}{where}; is the disk full, or not yours?")
    except Exception:
        logging.getLogger(__name__).exception("this is a bug of storefleet; nothing is known about the run")
        raise SystemExit(UNKNOWN) from None


def _on_early_signal(_number: int, _frame: FrameType | None) -> NoReturn:
    """Nothing has begun: a lab that has takes the signals over (see storefleet.conductor)."""
    fail("stopped before anything began")


def _fail_usage(error: typer.BadParameter) -> NoReturn:
    """One line instead of a box; nothing where Typer has shown the help already."""
    message = error.format_message()
    if not message:
        raise SystemExit(DID_NOT_BEGIN)
    fail(f"{message.rstrip('.')}; see: {error.ctx.command_path if error.ctx else 'storefleet'} --help")


def fail(message: str, status: int = DID_NOT_BEGIN) -> NoReturn:
    """Say it in one line on standard error and end."""
    sys.stderr.write(f"storefleet: {' '.join(message.split())}\n")
    raise SystemExit(status)


def out(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def out_json(value: object) -> None:
    """A value as indented JSON."""
    out(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def out_json_line(value: object) -> None:
    """A value as one line of JSON, for commands that say more than one thing."""
    out(msgspec.json.encode(value).decode())


@app.command()
def demo(
    stores: StoresOption = None,
    seed: SeedOption = None,
    rate: RateOption = "200/s",
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    json_output: JsonLinesOption = False,
) -> None:
    """The main job: a chain comes up, trades, loses region west for ten seconds, heals, and is judged."""
    from storefleet.lab_options import make_plan, read_fleet
    from storefleet.run import demo_script

    fleet = read_fleet(None, {"stores": stores, "seed": seed, "keep_alive_s": 4})
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
    )
    _run(plan, demo_script, password=None, json_output=json_output)


@app.command()
def up(
    stores: StoresOption = None,
    terminals_per_store: TerminalsOption = None,
    rate: RateOption = "200/s",
    seed: SeedOption = None,
    time_scale: ScaleOption = 60.0,
    broker: BrokerOption = "local",
    yes_external: ExternalOption = False,
    broker_option: BrokerLineOption = None,
    broker_password_file: PasswordOption = None,
    port: PortOption = 0,
    fleet: FleetOption = None,
    without: WithoutOption = None,
    stage: StageOption = None,
    instances: InstancesOption = None,
    malformed: MalformedOption = None,
    repeated: RepeatedOption = None,
    conflicting: ConflictingOption = None,
    deadline: Annotated[str, typer.Option("--deadline", help="How long a view may take: 30s, 2m.")] = "30s",
    name: NameOption = None,
    runs: RunsOption = Path("runs"),
    detach: Annotated[bool, typer.Option("--detach", help="Return when ready; the lab goes on by itself.")] = False,
    json_output: JsonLinesOption = False,
) -> None:
    """Bring a lab up and trade until Ctrl-C or 'storefleet down'; then judge."""
    from storefleet.lab_options import make_plan, read_fleet, take_password
    from storefleet.plan import read_duration
    from storefleet.run import endless_script

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
        port=port,
        without=without or (),
        stage=stage or (),
        instances=instances or (),
        runs=runs,
        broker_options=broker_option or (),
        deadline_s=read_duration(deadline, "--deadline"),
    )
    if detach:
        _detach(plan.name, json_output=json_output)
        return
    _run(plan, endless_script, password=take_password(broker_password_file), json_output=json_output)


def _run(plan: LabPlan, script: Script, *, password: str | None, json_output: bool) -> NoReturn:
    import uvloop

    from storefleet.cleaning import reap_crashed
    from storefleet.conductor import Stopped, conduct
    from storefleet.live import display
    from storefleet.verdict.table import plain_text

    for line in reap_crashed():
        _say_progress(line)
    screen = display(quiet=json_output)
    screen.say(f"lab {plan.name}: {plan.stores:,} stores, {plan.terminals:,} terminals; starting")

    def on_ready(lab: Lab) -> None:
        screen.say(f"ready in {time.time() - lab.started_s:.1f} s; join at {lab.description()['join']}")
        if json_output:
            out_json_line(lab.description())

    try:
        folder, verdict = uvloop.run(conduct(plan, script, screen, password=password, trade=True, on_ready=on_ready))
    except Stopped:
        fail("stopped at once, without final reads: what was proven is in the run folder", SECOND_INTERRUPT)
    if json_output:
        out_json_line({"run_folder": str(folder), "exit_status": verdict.exit_status, "verdict": verdict})
    else:
        _tell_story(folder)
        out(plain_text(verdict, plan.name))
        out(f"run folder: {folder}")
    raise SystemExit(verdict.exit_status)


def _detach(name: str, *, json_output: bool) -> None:
    """Start the same command again without --detach, in a session of its own, and wait until its lab is ready."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    if "--name" not in arguments:
        arguments += ["--name", name]
    log = Path(f"storefleet-{name}.log")
    try:
        file = log.open("wb")
    except OSError as error:
        fail(f"cannot write {log} into this folder: {error.strerror}; start the lab from a folder of yours")
    with file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "storefleet", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1"},
        )
    try:
        description = _await_ready(name, process, log)
    finally:
        if sys.exc_info()[0] is not None and process.poll() is None:  # stopped while it starts: nothing is left
            process.terminate()
            process.wait()
    if json_output:
        out_json_line(description)
    else:
        out(f"lab {name} is ready; join at {description['join']}; end it: storefleet down --name {name}")


def _await_ready(name: str, process: subprocess.Popen[bytes], log: Path) -> Any:
    """``lab.json`` of a lab once it is ready; as long as it takes where somebody else runs a stage of it."""
    from storefleet.control_client import call_lab

    told = False
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s or told:
        if process.poll() is not None:
            last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            fail((last[-1] if last else "the lab ended at once").removeprefix("storefleet: "), process.returncode or 2)
        with contextlib.suppress(FleetError):
            status = call_lab(name, "status")
            if status["ready"]:
                return call_lab(name, "lab")
            if status["waiting_for"] and not told:
                told = True
                _say_progress(f"waiting until somebody runs {status['waiting_for']}")
        time.sleep(0.05)
    fail(f"lab {name} was not ready within {READY_TIMEOUT_S:g} s; see {log}")


@app.command()
def wait(
    ready: Annotated[bool, typer.Option("--ready", help="Until every stage works.")] = False,
    converged: Annotated[bool, typer.Option("--converged", help="Until every view agrees with the tills.")] = False,
    timeout: TimeoutOption = "60s",
    name: LabOption = None,
    json_output: JsonOption = False,
) -> None:
    """Wait for a lab; exit status 3 when the time was not enough."""
    from fleetwire.errors import ControlError
    from storefleet.control_client import call_lab
    from storefleet.plan import read_duration

    if ready == converged:
        fail("wait: say what for: --ready or --converged")
    timeout_s = read_duration(timeout, "--timeout")
    params = {"what": "converged" if converged else "ready", "timeout_s": timeout_s}
    try:
        answer = call_lab(name, "wait", params, timeout_s=2 * timeout_s + 10.0)
    except ControlError as error:
        fail(str(error), 3)
    if json_output:
        out_json(answer)
    else:
        out(", ".join(f"{view} {value} ms" if converged else view for view, value in answer.items()))


@app.command()
def down(name: LabOption = None, timeout: TimeoutOption = "60s") -> None:
    """End a lab: trading stops, it drains, judges and goes; exit status is the verdict's."""
    from storefleet import home, processes
    from storefleet.control_client import call_lab
    from storefleet.plan import read_duration

    timeout_s = read_duration(timeout, "--timeout")
    chosen = home.the_lab(name)
    folder = call_lab(chosen, "down")["run_folder"]
    deadline_s = time.monotonic() + timeout_s
    while processes.is_live(home.lab_folder(chosen)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    if processes.is_live(home.lab_folder(chosen)):
        fail(f"lab {chosen} has not ended within {timeout_s:g} s", 3)
    _show_verdict(Path(folder), json_output=False)


@app.command()
def status(name: LabOption = None, json_output: JsonOption = False) -> None:
    """What a lab does now: stages, rates, backlogs, restarts, stores online, distance of each view."""
    from rich.console import Console

    from storefleet.control_client import call_lab
    from storefleet.live import Picture, render

    answer = call_lab(name, "status")
    if json_output:
        out_json(answer)
        return
    console = Console()
    console.print(f"lab {answer['name']}, run folder {answer['run_folder']}", soft_wrap=True)
    console.print(render(msgspec.convert(answer["picture"], Picture)))


@app.command()
def verdict(
    run: Annotated[Path | None, typer.Argument(help="A run folder; default: the newest in runs/.")] = None,
    json_output: JsonOption = False,
) -> None:
    """Judge a run folder again, offline, from what it holds."""
    _show_verdict(run if run is not None else _newest_run("verdict"), json_output=json_output)


def _newest_run(command: str) -> Path:
    folders = (
        sorted(path for path in Path("runs").glob("*") if (path / "plan.json").exists())
        if Path("runs").is_dir()
        else []
    )
    if not folders:
        fail(f"{command}: no run folder in ./runs; name one, or record one: storefleet demo")
    return folders[-1]


def _tell_story(folder: Path) -> None:
    from storefleet.run_story import story

    for line in story(folder):
        out(line)


def _show_verdict(folder: Path, *, json_output: bool) -> NoReturn:
    from storefleet.verdict.run_folder import judge
    from storefleet.verdict.table import plain_text

    result, plan = judge(folder)
    if json_output:
        out_json(result)
    else:
        _tell_story(folder)
        out(plain_text(result, plan.name or folder.name))
        out(f"run folder: {folder}")
    raise SystemExit(result.exit_status)


@app.command()
def trace(
    key: Annotated[str | None, typer.Argument(help="An event's key, e.g. taco.west.s0042.r01.317.")] = None,
    last: Annotated[bool, typer.Option("--last", help="The newest event that went all the way.")] = False,
    run: Annotated[Path | None, typer.Option("--run", help="A run folder instead of a running lab.")] = None,
    name: LabOption = None,
    json_output: JsonOption = False,
) -> None:
    """One event's journey, with each stage's time and what it did."""
    from rich.console import Console

    from storefleet.journey_table import journey_table
    from storefleet.recorded_journey import recorded_journey

    if (key is None) == (not last):
        fail("trace: give either a key or --last")
    if run is not None:
        answer = recorded_journey(run, key)
    else:
        from storefleet.control_client import call_lab

        answer = call_lab(name, "journey", {"last": True} if last else {"key": key})
    if json_output:
        out_json(answer)
    elif not answer["steps"]:
        fail(f"trace: no stage remembers {answer['key']} (each keeps its last 20,000 events)", 3)
    else:
        Console().print(journey_table(answer["key"], answer["steps"]))


@app.command()
def tail(
    topic_filter: Annotated[
        str | None, typer.Argument(metavar="[FILTER]", help="MQTT filter; default: everything.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many messages; 0: never.")] = 0,
    name: LabOption = None,
    json_output: JsonOption = False,
) -> None:
    """What is on the broker, as it happens."""
    import uvloop

    from storefleet.tail import follow

    try:
        uvloop.run(follow(name, topic_filter, count, as_json=json_output, say=out))
    except KeyboardInterrupt:
        raise SystemExit(0) from None


@app.command()
def doctor(runs: RunsOption = Path("runs"), json_output: JsonOption = False) -> None:
    """Is this machine fit for a lab, and how many terminals fit here?"""
    from storefleet.doctor import examine

    findings = examine(runs)
    if json_output:
        out_json(findings)
    else:
        for finding in findings:
            mark = "ok  " if finding.ok else "FAIL"
            out(f"{mark}  {finding.check:<12} {finding.found}" + ("" if finding.ok else f"  -> {finding.advice}"))
    raise SystemExit(0 if all(finding.ok for finding in findings) else DID_NOT_BEGIN)


@app.command()
def clean(
    broker_password_file: PasswordOption = None,
    json_output: JsonOption = False,
) -> None:
    """End what crashed labs left running, and clear their retained topics on somebody else's broker."""
    from storefleet.cleaning import clean_up
    from storefleet.lab_options import take_password

    report = clean_up(take_password(broker_password_file))
    if json_output:
        out_json(report)
    for line in report if not json_output else ():
        out(line)


@app.command()
def bench(
    only: Annotated[list[str] | None, typer.Option("--only", help="Run only these parts.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Smaller shapes, for a first impression.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Measure: every figure beside its baseline from the same run."""
    from storefleet.bench.command import run_bench

    run_bench(only=only or [], quick=quick, as_json=json_output, say=_say_progress, out=out)


@app.command()
def selftest(
    run: Annotated[Path | None, typer.Argument(help="A valid run folder; default: the newest in runs/.")] = None,
    plants: Annotated[int, typer.Option("--plants", min=1, max=1_000_000, help="How many anomalies.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Same seed, same places.")] = 1,
    plant: Annotated[int | None, typer.Option("--plant", min=0, help="Only the plant of this number.")] = None,
    make_run: Annotated[Path | None, typer.Option("--make-run", help="Only write a large healthy run there.")] = None,
    events: Annotated[int, typer.Option("--events", min=1, help="Events of --make-run.")] = 20_000,
    sources: Annotated[int, typer.Option("--sources", min=1, help="Terminals of --make-run.")] = 600,
    json_output: JsonOption = False,
) -> None:
    """Does the checker find what is wrong? Plants anomalies into a recorded run, one at a time; 1: one was not found."""
    from storefleet.selftest.command import as_values, play, show
    from storefleet.selftest.made_run import make_run as write_run

    if make_run is not None:
        write_run(make_run, events=events, sources=sources)
        out(f"run folder: {make_run}")
        return
    folder = run if run is not None else _newest_run("selftest")
    report = play(folder, seed=seed, numbers=range(plants) if plant is None else [plant])
    if json_output:
        out_json(as_values(report))
    else:
        show(report, out)
    raise SystemExit(report.exit_status)


def _say_progress(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
