"""``scripts/soak``: how long, from which seed; exit status of the verdict, and 1 when a schedule failed."""

from __future__ import annotations

import logging
import secrets
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from fleetwire.errors import FleetError
from storefleet.cleaning import reap_crashed
from storefleet.cli import UsageError
from storefleet.command_output import SECOND_INTERRUPT, UNKNOWN, fail, out, say_progress
from storefleet.conductor import CutShort, Stopped
from storefleet.live import Display, PlainDisplay
from storefleet.soak.report import plain_text
from storefleet.soak.schedule import LONGEST_PAUSE_S, SHORTEST_PAUSE_S
from storefleet.soak.soak import Order, plan_of, soak
from storefleet.verdict import table


class Sayings(PlainDisplay):
    """What is said, without the picture every two seconds."""

    def show(self, picture: object) -> None:
        """Nothing."""


def command(  # noqa: PLR0917 - a command is a function of its options
    minutes: Annotated[float, typer.Option("--minutes", min=0.01, max=10_080, help="No schedule begins later.")] = 5.0,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Same seed, same schedules.")] = None,
    stores: Annotated[int, typer.Option("--stores", min=1, help="Number of stores.")] = 8,
    rate: Annotated[str, typer.Option("--rate", help="Events over the whole fleet: 60/s, 600/min.")] = "60/s",
    first: Annotated[int, typer.Option("--from", min=0, help="Index of the first schedule.")] = 0,
    schedules: Annotated[
        int | None, typer.Option("--schedules", min=1, help="So many, however long they take; else --minutes.")
    ] = None,
    longest_pause: Annotated[
        float, typer.Option("--longest-pause", min=SHORTEST_PAUSE_S, max=LONGEST_PAUSE_S, help="Seconds.")
    ] = LONGEST_PAUSE_S,
    runs: Annotated[Path, typer.Option("--runs", help="Folder for run folders.")] = Path("runs"),
) -> None:
    """Kill, pause and restart the processes of a small lab under load, by a seeded schedule; then judge."""
    order = Order(
        minutes=minutes,
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        stores=stores,
        rate=rate,
        first=first,
        schedules=schedules,
        longest_pause_s=longest_pause,
    )
    _soak(order, runs)


def _soak(order: Order, runs: Path) -> None:
    for line in reap_crashed():
        say_progress(line)
    plan = plan_of(order, runs)
    screen: Display = Sayings()
    screen.say(f"soak: seed {order.seed}; again: {order.command()}")
    try:
        report, verdict = uvloop.run(soak(order, plan, screen))
    except Stopped:
        fail("stopped at once, without final reads: what was proven is in the run folder", SECOND_INTERRUPT)
    except CutShort as error:
        fail(f"{error}; again: {order.command()}", UNKNOWN)
    out(table.plain_text(verdict, plan.name))
    out(plain_text(report))
    if not report.schedules:
        out("no schedule was played to its end: nothing is shown about process faults")
    if report.exit_status:
        found = f"{len(report.failures)} of {len(report.schedules)} schedules failed, the verdict is {verdict.validity}"
        out(f"{found}; all of it again: {report.command}")
    out(f"run folder: {report.run_folder}")
    raise SystemExit(report.exit_status)


def main() -> None:
    """Entry point: every error of ours is one line and exit status 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        raise SystemExit(app(standalone_mode=False, prog_name="scripts/soak"))
    except UsageError as error:
        fail(f"{error.format_message().rstrip('.')}; see: scripts/soak --help")
    except (typer.Abort, KeyboardInterrupt):
        fail("stopped before anything began")
    except FleetError as error:
        fail(str(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"{error.strerror or error}{where}; is the disk full, or not yours?")


if __name__ == "__main__":
    main()
