"""``scripts/soak``: how long, from which seed; exit status of the verdict, and 1 when a schedule failed."""

from __future__ import annotations

import importlib.util
import secrets
from pathlib import Path
from typing import Annotated

import typer

from storefleet.command_output import fail, out
from storefleet.conductor import Stopped
from storefleet.endings import STOPPED
from storefleet.live import PlainDisplay
from storefleet.plan import check_runs_folder
from storefleet.quantities import read_rate
from storefleet.soak.entry import run_script
from storefleet.soak.interrupted import end_in_order
from storefleet.soak.order import LEAST_MINUTES, Order
from storefleet.soak.play import CONVERGENCE_LIMIT_S
from storefleet.soak.schedule import LONGEST_PAUSE_S, SHORTEST_PAUSE_S, read_schedule


def command(  # noqa: PLR0917 - a command is a function of its options
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=LEAST_MINUTES, max=10_080, help="No schedule is drawn later.", show_default="5"),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Same seed, same schedules.")] = None,
    stores: Annotated[int, typer.Option("--stores", min=1, help="Number of stores.")] = 8,
    rate: Annotated[str, typer.Option("--rate", help="Events over the whole fleet: 60/s, 600/min.")] = "60/s",
    play: Annotated[
        list[str] | None,
        typer.Option("--play", help="Exactly this first, e.g. 'kill parm-1 at 0.5 s; pause lab for 3 s at 1 s'."),
    ] = None,
    each: Annotated[bool, typer.Option("--each", help="Then every process with every kind of fault once.")] = False,
    schedules: Annotated[
        int | None, typer.Option("--schedules", min=1, help="Draw so many, however long they take; else --minutes.")
    ] = None,
    shrink: Annotated[bool, typer.Option("--shrink", help="Make the first one that fails smaller, then end.")] = False,
    longest_pause: Annotated[
        float, typer.Option("--longest-pause", min=SHORTEST_PAUSE_S, max=LONGEST_PAUSE_S, help="Seconds.")
    ] = LONGEST_PAUSE_S,
    converge_within: Annotated[
        float, typer.Option("--converge-within", min=0.1, max=600.0, help="Later than so many seconds is a failure.")
    ] = CONVERGENCE_LIMIT_S,
    show: Annotated[
        int | None, typer.Option("--list", min=1, max=10_000, help="Only print the first so many of the drawn.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder for run folders.")] = Path("runs"),
) -> None:
    """Kill, pause and restart the processes of a small lab under load, as Hypothesis draws it; then judge."""
    read_rate(rate)
    if importlib.util.find_spec("hypothesis") is None:
        fail("the soak needs Hypothesis: pip install 'storefleet[development]', or run scripts/soak, which does it")
    order = Order(
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        stores=stores,
        rate=rate,
        minutes=minutes,
        schedules=schedules,
        play=[read_schedule(text) for text in play or ()],
        each=each,
        shrink=shrink,
        longest_pause_s=longest_pause,
        limit_s=converge_within,
    )
    if show is None:
        _soak(order, check_runs_folder(runs))
        return
    from storefleet.soak.soak import list_drawn

    list_drawn(order, show, out)


def _soak(order: Order, runs: Path) -> None:
    from storefleet.soak.report import plain_text
    from storefleet.soak.soak import soak

    end_in_order()
    say = PlainDisplay().say
    say(f"soak: seed {order.seed}; again: {order.command()}")
    try:
        report = soak(order, runs, say)
    except KeyboardInterrupt:
        fail("stopped before a lab was ready")
    except Stopped:
        fail("stopped at once, without final reads: what was proven is in the run folder", STOPPED)
    say(plain_text(report))
    if not report.schedules:
        say("no schedule was played to its end: nothing is shown about process faults")
    if report.exit_status:
        found = f"{len(report.failures)} of {len(report.schedules)} schedules failed, the verdict is {report.validity}"
        say(f"{found}; all of it again: {report.command}")
    say(f"run folder: {report.labs[-1].run_folder}")
    raise SystemExit(report.exit_status)


if __name__ == "__main__":
    run_script(command, "scripts/soak")
