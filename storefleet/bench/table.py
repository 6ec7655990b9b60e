"""A report as a person reads it: one row a figure, its shape and notes below."""

from __future__ import annotations

import io
import shutil
import sys
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from storefleet.bench.report import Figure, Goal, Report

WIDTH_WITHOUT_TERMINAL: Final = 180
LEAST_WIDTH: Final = 120
HEADINGS: Final = (
    "what", "shape", "ours", "baseline", "ratio (lowest to highest)", "goal of now", "goal of the design",
)  # fmt: skip


def as_text(report: Report) -> str:
    """The whole report."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL
    console = Console(file=io.StringIO(), width=max(LEAST_WIDTH, width), no_color=True, highlight=False)
    machine = report.machine
    console.print(
        f"{machine.system}, {machine.cores} cores, Python {machine.python}, Mosquitto {machine.mosquitto}"
        + (", quick shapes" if report.quick else "")
    )
    for caution in report.cautions:
        console.print(f"caution: {caution}")
    for part in report.parts:
        if part.figures:
            console.print(_table(part.part, part.duration_s, part.figures))
        for line in _notes(part.figures):
            console.print(f"  {line}")
        if part.reason:
            console.print(f"{part.part}: {part.status}: {part.reason}")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n")


def _table(part: str, duration_s: float, figures: list[Figure]) -> Table:
    table = Table(title=f"{part} ({duration_s:.0f} s)", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading)
    for figure in figures:
        table.add_row(
            figure.what,
            figure.shape,
            _ours(figure),
            _baseline(figure),
            _ratio(figure),
            _goal(figure, figure.goal.now if figure.goal else None),
            _goal(figure, figure.goal.design if figure.goal else None),
        )
    return table


def _notes(figures: list[Figure]) -> list[str]:
    """Each once, in order; with what it is about when it is not about all."""
    notes: dict[str, list[str]] = {}
    for figure in figures:
        if figure.note:
            notes.setdefault(figure.note, []).append(figure.what)
    return [
        note if len(about) == len(figures) else f"{', '.join(dict.fromkeys(about))}: {note}"
        for note, about in notes.items()
    ]


def amount(value: float | None, unit: str) -> str:
    """Three figures that count, and the unit."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f} {unit}".replace(" 1/s", "/s")


def _ours(figure: Figure) -> str:
    text = amount(figure.ours, figure.unit)
    return f"at least {text}" if figure.lower_bound else text


def _baseline(figure: Figure) -> str:
    if figure.baseline is None:
        return "-"
    return f"{amount(figure.baseline, figure.unit)} {figure.baseline_name}"


def _ratio(figure: Figure) -> str:
    ratio = figure.ratio
    if ratio is None:
        return "-"
    if ratio.pairs == 1:
        return f"{ratio.median:.2f}"
    return f"{ratio.median:.2f} ({ratio.minimum:.2f} to {ratio.maximum:.2f})"


def _goal(figure: Figure, wanted: float | None) -> Text:
    goal: Goal | None = figure.goal
    if goal is None or wanted is None:
        return Text("-")
    sign = ">=" if goal.bound == "at_least" else "<="
    number = f"ratio {sign} {wanted:g}" if goal.by == "ratio" else f"{sign} {amount(wanted, figure.unit)}"
    reached = figure.reaches(wanted)
    return Text(f"{number}: {'not known' if reached is None else 'reached' if reached else 'missed'}")
