"""What a soak found, as a value (``soak.json``) and as tables."""

from __future__ import annotations

import io
import statistics
from collections import Counter
from typing import Final

from msgspec import Struct, field
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from storefleet.soak.figures import WARM_UP_S, Growth
from storefleet.soak.play import Played
from storefleet.soak.schedule import KINDS, KINDS_OF
from storefleet.verdict.result import EXIT_STATUS, Validity

SOAK_FILE_NAME: Final = "soak.json"
SOAK_FORMAT: Final = "storefleet-soak"
SOAK_VERSION: Final = 1
INVALID: Final = 1
UNKNOWN: Final = 3


class Convergence(Struct, frozen=True, kw_only=True):
    """How long one view took over all schedules, in milliseconds."""

    view: str
    times: int
    median_ms: int
    worst_ms: int
    worst_index: int
    """The schedule that was the worst."""


class Failure(Struct, frozen=True, kw_only=True):
    """A schedule after which not everything was well in time, and the command that plays it alone."""

    index: int
    why: str
    command: str


class JudgedLab(Struct, frozen=True, kw_only=True):
    """A lab of the soak, and its verdict."""

    run_folder: str
    validity: Validity


class Report(Struct, kw_only=True):
    """A whole soak. ``labs``: one, and another one after each schedule after which a lab did not converge."""

    format: str = SOAK_FORMAT
    version: int = SOAK_VERSION
    seed: int
    command: str
    """What plays all of it again."""
    labs: list[JudgedLab]
    validity: Validity
    """The worst of the labs' verdicts."""
    limit_s: float
    """So soon every view is to agree."""
    seconds: float
    schedules: list[Played]
    hits: dict[str, dict[str, int]]
    """Process -> kind of fault -> how often."""
    convergence: list[Convergence]
    growth: list[Growth]
    failures: list[Failure] = field(default_factory=list)

    @property
    def exit_status(self) -> int:
        """The verdict's; 1 when a schedule failed, and 3 when a valid run played none."""
        if self.failures:
            return INVALID
        return EXIT_STATUS[self.validity] if self.schedules else EXIT_STATUS[self.validity] or UNKNOWN


def hits_of(schedules: list[Played]) -> dict[str, dict[str, int]]:
    """How often each process really was hit by what; all of them are there, hit or not."""
    counts = Counter((step.process, step.kind) for played in schedules for step in played.hit)
    return {process: {kind: counts[process, kind] for kind in kinds} for process, kinds in KINDS_OF.items()}


def convergence_of(schedules: list[Played]) -> list[Convergence]:
    """Median and worst of each view."""
    views = dict.fromkeys(view for played in schedules for view in played.converged_ms)
    return [_convergence(view, schedules) for view in views]


def _convergence(view: str, schedules: list[Played]) -> Convergence:
    times = [(played.converged_ms[view], played.index) for played in schedules if view in played.converged_ms]
    worst_ms, worst_index = max(times)
    return Convergence(
        view=view,
        times=len(times),
        median_ms=round(statistics.median(took_ms for took_ms, _ in times)),
        worst_ms=worst_ms,
        worst_index=worst_index,
    )


def plain_text(report: Report) -> str:
    """The report for people, 120 columns wide."""
    console = Console(file=io.StringIO(), width=120, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(f"schedules: {len(report.schedules)} in {report.seconds:.0f} s, seed {report.seed}")
    for table in (_hits(report), _convergences(report), _growths(report)):
        console.print(table)
    for lab in report.labs if len(report.labs) > 1 else ():
        console.print(f"{lab.validity}: {lab.run_folder}", soft_wrap=True)
    for failure in report.failures:
        console.print(f"FAILED: schedule {failure.index}: {failure.why}", soft_wrap=True)
        console.print(f"  alone: {failure.command}", soft_wrap=True)
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title="\n" + title, title_justify="left", box=SIMPLE_HEAD, min_width=len(title))
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _hits(report: Report) -> Table:
    table = _table("How often each process was hit", "process", *KINDS)
    for process, counts in report.hits.items():
        table.add_row(process, *(str(counts.get(kind, "-")) for kind in KINDS))
    return table


def _convergences(report: Report) -> Table:
    title = f"Seconds until each view agreed, from the last process being back (limit {report.limit_s:g} s)"
    table = _table(title, "view", "times", "median", "worst", "in schedule")
    for row in report.convergence:
        seconds = (f"{row.median_ms / 1000:.1f}", f"{row.worst_ms / 1000:.1f}")
        table.add_row(row.view, str(row.times), *seconds, str(row.worst_index))
    return table


def _growths(report: Report) -> Table:
    title = (
        f"Memory in MB (slope within each start, the first {WARM_UP_S:g} s left out), backlog in events "
        "(settled: a second after converging; slope of these)"
    )
    columns = ("samples", "first", "most", "last", "MB/min", "backlog most", "settled", "events/min")
    table = _table(title, "process", *columns)
    for row in report.growth:
        table.add_row(
            row.process,
            str(row.samples),
            f"{row.first_mb:.1f}",
            f"{row.most_mb:.1f}",
            f"{row.last_mb:.1f}",
            "-" if row.mb_per_minute is None else f"{row.mb_per_minute:+.2f}",
            "-" if row.most_backlog is None else f"{row.most_backlog:,}",
            "-" if row.most_settled_backlog is None else f"{row.most_settled_backlog:,}",
            "-" if row.backlog_per_minute is None else f"{row.backlog_per_minute:+.1f}",
        )
    return table
