"""``storefleet bench``: the parts in turn, each in its shape, then one report.

A part that cannot be measured says why and the others go on. The first Ctrl-C ends it: every process is gone, what
was measured until then is reported, and the exit status is 130. Otherwise it is 0 when every figure could be measured,
and 3 when one is missing or void. Missing a goal is no failure: the report says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from fleetwire.clock import now_ms
from fleetwire.errors import FleetError, SettingsError
from fleetwire.nearest_word import meant
from storefleet.bench import connect, hop, latency, pipeline, publish, recovery
from storefleet.bench.crew import Crew
from storefleet.bench.goals import GOALS
from storefleet.bench.interrupts import Interrupts
from storefleet.bench.machine import cautions, look_around
from storefleet.bench.report import Figure, PartReport, Report, Status
from storefleet.bench.table import as_text

MEASURED: Final = 0
NOT_KNOWN: Final = 3
STOPPED: Final = 130

Say = Callable[[str], None]


class Part(NamedTuple):
    """How a part is measured, and in which shapes; each takes its own kind of shape."""

    measure: Callable[[Any, Crew, Say], list[Figure]]
    full: object
    quick: object


PARTS: Final[dict[str, Part]] = {
    "connect": Part(connect.measure, connect.FULL, connect.QUICK),
    "publish": Part(publish.measure, publish.FULL, publish.QUICK),
    "hop": Part(hop.measure, hop.FULL, hop.QUICK),
    "latency": Part(latency.measure, latency.FULL, latency.QUICK),
    "pipeline": Part(pipeline.measure, pipeline.FULL, pipeline.QUICK),
    "recovery": Part(recovery.measure, recovery.FULL, recovery.QUICK),
}


def run_bench(*, only: Sequence[str], quick: bool, as_json: bool, say: Say, out: Say) -> None:
    """Measure and report: ``say`` takes progress, ``out`` the report. Raises SettingsError; ends with SystemExit."""
    chosen = choose(only)
    machine = look_around()
    report = Report(quick=quick, started_at_ms=now_ms(), machine=machine, cautions=cautions(machine))
    for caution in report.cautions:
        say(f"caution: {caution}")
    shapes = {name: (PARTS[name].quick if quick else PARTS[name].full) for name in chosen}
    report.parts = list(measure_parts(shapes, say))
    if as_json:
        out(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        out(as_text(report))
    raise SystemExit(exit_status(report))


def choose(only: Sequence[str]) -> list[str]:
    """The parts that are meant, in the table's order; raises SettingsError for a name that is none."""
    for name in only:
        if name not in PARTS:
            raise SettingsError(f"--only {name!r}: no such part; {meant(name, PARTS)}")
    return [name for name in PARTS if not only or name in only]


def measure_parts(shapes: dict[str, object], say: Say) -> Iterable[PartReport]:
    """Each part in its shape; after a Ctrl-C nothing more is begun."""
    for name, shape in shapes.items():
        part = measure_part(name, shape, say)
        yield part
        if part.status == "stopped":
            say("stopped: nothing is left running")
            return


def measure_part(name: str, shape: object, say: Say) -> PartReport:
    """One part with a crew of its own; whatever fails in it is its reason."""
    started_s = time.monotonic()
    figures: list[Figure] = []
    status: Status = "measured"
    reason = ""
    try:
        with Interrupts() as interrupts, Crew(interrupts) as crew:
            figures = PARTS[name].measure(shape, crew, say)
    except KeyboardInterrupt:
        status, reason = "stopped", "stopped by Ctrl-C"
    except (FleetError, OSError) as error:
        status, reason = "skipped", " ".join(str(error).split())
        say(f"{name}: skipped: {reason}")
    for figure in figures:
        figure.goal = GOALS.get(figure.name)
    if any(figure.ours is None for figure in figures):
        status, reason = "void", "figures without a number say why"
    return PartReport(
        part=name, status=status, duration_s=round(time.monotonic() - started_s, 1), reason=reason, figures=figures
    )


def exit_status(report: Report) -> int:
    """As the module says."""
    statuses = {part.status for part in report.parts}
    if "stopped" in statuses:
        return STOPPED
    return MEASURED if statuses <= {"measured"} else NOT_KNOWN
