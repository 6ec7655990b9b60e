"""Commands that speak to a lab that runs: they wait for it, end it, and show what happens in it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from fleetwire.errors import SettingsError
from storefleet.cli_inspect import show_verdict
from storefleet.command_options import EndedJsonOption, JsonOption, LabOption, TimeoutOption
from storefleet.command_output import fail, out, out_ended, out_json, say_progress
from storefleet.endings import SILENCE_BEFORE_ASKING_S, Doing, Stops, decide, say_at_once, stop_at_once

AFTER_DRAIN_S: Final = 60.0
"""Final reads, stop and check, after the drain."""
ANSWER_S: Final = 15.0
"""So much longer than a lab may wait, its answer is waited for."""


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
    from storefleet.home import the_lab
    from storefleet.quantities import read_duration
    from storefleet.waiting_words import what_it_waits_for

    if ready == converged:
        fail("wait: say what for: --ready or --converged")
    timeout_s = read_duration(timeout, "--timeout")
    params = {"what": "converged" if converged else "ready", "timeout_s": timeout_s}
    until_s = time.monotonic() + timeout_s
    chosen = the_lab(name)
    try:
        with Doing(lambda: what_it_waits_for(chosen, until_s), after_s=SILENCE_BEFORE_ASKING_S):
            answer = call_lab(chosen, "wait", params, timeout_s=timeout_s + ANSWER_S)
    except ControlError as error:
        fail(str(error), 3)
    if json_output:
        out_json(answer)
    else:
        out(", ".join(f"{view} {value} ms" if converged else view for view, value in answer.items()))


def down(
    name: LabOption = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="How long to wait: 60s, 2m.", show_default="the drain and 60s")
    ] = None,
    json_output: EndedJsonOption = False,
) -> None:
    """End a lab: trading stops, it drains, judges and goes; exit status is the verdict's."""
    from storefleet import home, processes
    from storefleet.control_client import call_lab
    from storefleet.quantities import read_duration
    from storefleet.verdict.run_folder import judge
    from storefleet.waiting_words import what_it_waits_for

    given_s = None if timeout is None else read_duration(timeout, "--timeout")
    try:
        chosen = home.the_lab(name)
    except SettingsError as error:
        fail(f"{error}; one that has ended by itself has left its verdict: storefleet verdict")
    with Stops(lambda count: _hear_stop(chosen, count)):
        answer = call_lab(chosen, "down")
        timeout_s = float(answer["drain_s"]) + AFTER_DRAIN_S if given_s is None else given_s
        until_s = time.monotonic() + timeout_s
        with Doing(lambda: what_it_waits_for(chosen, until_s), after_s=SILENCE_BEFORE_ASKING_S):
            while processes.is_live(home.lab_folder(chosen)) and time.monotonic() < until_s:
                time.sleep(0.05)
        if processes.is_live(home.lab_folder(chosen)):
            fail(f"lab {chosen} has not ended within {timeout_s:g} s", 3)
        if not json_output:
            show_verdict(Path(answer["run_folder"]), json_output=False)
        verdict, _ = judge(Path(answer["run_folder"]))
        decide(verdict.exit_status)
        out_ended(Path(answer["run_folder"]), verdict)
        raise SystemExit(verdict.exit_status)


def _hear_stop(name: str, count: int) -> None:
    """Whoever waits for the end of a lab may stop waiting; the lab ends all the same."""
    if count == 1:
        say_at_once(f"stopping: lab {name} drains already, and is judged (Ctrl-C again stops waiting for it)")
    else:
        stop_at_once(f"stopped waiting; lab {name} goes on to its verdict by itself")


def status(name: LabOption = None, json_output: JsonOption = False) -> None:
    """What a lab does now: stages, rates, backlogs, restarts, stores online, distance of each view."""
    from rich.console import Console

    from storefleet.control_client import call_lab
    from storefleet.live import Picture, render
    from storefleet.panel import PIPED_COLUMNS, plain_panel

    answer = call_lab(name, "status")
    if json_output:
        out_json(answer)
        return
    out(f"lab {answer['name']}, run folder {answer['run_folder']}")
    console, picture = Console(), msgspec.convert(answer["picture"], Picture)
    if console.is_terminal:
        console.print(render(picture))
    else:
        out(plain_panel(picture, PIPED_COLUMNS))


def tail(
    topic_filter: Annotated[
        str | None, typer.Argument(metavar="[FILTER]", help="MQTT filter; default: everything.")
    ] = None,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many messages; 0: never.")] = 0,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="Only what stages could not use: who, why, which event, the payload.")
    ] = False,
    name: LabOption = None,
    json_output: JsonOption = False,
) -> None:
    """What is on the broker, as it happens."""
    import uvloop

    from storefleet.tail import follow

    if dead_letters and topic_filter is not None:
        fail("tail: give either a filter or --dead-letters")
    uvloop.run(
        follow(
            name, topic_filter, count, as_json=json_output, dead_letters=dead_letters, say=out, say_aside=say_progress
        )
    )
