"""What a person sees while a lab runs: a live picture of the journey, or plain lines where there is no terminal.

Plain when standard output is no terminal, with ``CI=true`` or ``NO_COLOR``. Both say the same: the journey stage by stage
(rate, backlog, lag, and how the stage is when it is not well), stores online by region, and how far each view is from the
truth. What nobody can tell is a dash.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from storefleet.endings import keep_cursor
from storefleet.kept_lines import KeptLines
from storefleet.observatory import EVENT_VIEWS, REGISTER_VIEWS
from storefleet.run_record import views_of
from storefleet.stage_lines import StageLine
from storefleet.troubles_shown import troubles_of

if TYPE_CHECKING:
    from storefleet.contents import Comparison
    from storefleet.lab import Lab

PLAIN_INTERVAL_S: Final = 2.0
PANEL_WIDTH: Final = 96
LAG_TOLD_S: Final = 1.0
"""A plain line says no shorter one."""
UNKNOWN: Final = "\N{EN DASH}"
ALWAYS_TOLD: Final = ("emulator", "parm", "sync_stage", "poseidon", "views")
"""Stages that a plain line names always; the others when something waits at them, or is wrong with them."""
TROUBLE_CHARACTERS: Final = 100
"""Of the worst trouble in a plain line."""
VIEW_STAGES: Final = {**{view: stage for stage, view in EVENT_VIEWS.items()}, **REGISTER_VIEWS}
SEEN_BY: Final = {"hops": "by its hop", "behind": "by those behind"}
"""Who tells of a stage that does not report."""
STAGE_LABELS: Final = {
    "emulator": "terminals",
    "chaos": "hops",
    "broker": "broker",
    "parm": "PARM",
    "sync_stage": "sync stage",
    "gateway": "gateway",
    "poseidon": "Poseidon",
    "olympus_dgs": "olympus-dgs",
    "views": "views",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """Everything that is shown, at one moment."""

    phase: str
    elapsed_s: float
    stages: tuple[StageLine, ...]
    regions: dict[str, tuple[int, int, int]]
    """Region -> stores online by the store board, stores, stores online by the terminals' own word."""
    distances: dict[str, int]
    """View of events -> events missing, events too many, and one a source of other content; of registers -> those off."""
    faults: tuple[str, ...]
    waiting: str = ""
    """What the end of the run waits for, and for how long at most."""
    troubles: tuple[str, ...] = ()
    """What is wrong now, or was lately, the worst first."""


def take_picture(
    lab: Lab,
    phase: str,
    faults: tuple[str, ...],
    compared: Mapping[str, Comparison],
    stages: tuple[StageLine, ...],
    *,
    waiting: str = "",
) -> Picture:
    """What the lab knows now; ``compared``: the views of events, beside the ledger."""
    seen = lab.observatory
    regions = seen.stores_online()
    distances: dict[str, int] = {}
    shown = {view.view for view in views_of(lab.plan)}
    for view, stage in VIEW_STAGES.items():
        if view in shown and stage in lab.plan.stages:
            distances[view] = compared[view].distance if view in compared else seen.register_distance(view)
    return Picture(
        phase=phase,
        elapsed_s=time.time() - lab.started_s,
        stages=stages,
        regions=regions,
        distances=distances,
        faults=faults,
        waiting=waiting,
        troubles=troubles_of(lab),
    )


class Display(Protocol):
    """Where pictures and messages go."""

    def show(self, picture: Picture) -> None:
        """Show the newest picture."""

    def say(self, text: str) -> None:
        """Say something that stays."""

    def close(self) -> None:
        """Leave the terminal as it was; may be called again."""


def display(*, quiet: bool = False) -> Display:
    """The display that fits standard output."""
    if quiet:
        return Silent()
    fancy = sys.stdout.isatty() and os.environ.get("CI") != "true" and not os.environ.get("NO_COLOR")
    return LiveDisplay() if fancy and os.environ.get("TERM") != "dumb" else PlainDisplay()


class Silent:
    """Says nothing, for ``--json``."""

    def show(self, picture: Picture) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class PlainDisplay:
    """One line every two seconds."""

    def __init__(self) -> None:
        self._last_s = 0.0
        self._lines = KeptLines(self._write)

    def show(self, picture: Picture) -> None:
        """One line, unless there was one just now, or the reader stands still."""
        now_s = time.monotonic()
        if self._lines.tell() and now_s - self._last_s >= PLAIN_INTERVAL_S:
            self._last_s = now_s
            self.say(plain_line(picture))

    def say(self, text: str) -> None:
        """A line."""
        self._lines.say(text)

    def _write(self, text: str) -> None:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Tell what is left, if the reader takes it."""
        self._lines.tell()


def plain_line(picture: Picture) -> str:
    """A picture in one line of text."""
    stages = "  ".join(
        _stage_text(line) for line in picture.stages if line.stage in ALWAYS_TOLD or line.state or line.backlog
    )
    regions = " ".join(f"{region} {_region_text(*counts)}" for region, counts in picture.regions.items())
    away = ", ".join(f"{view} {count}" for view, count in picture.distances.items() if count)
    faults = f" | fault: {', '.join(picture.faults)}" if picture.faults else ""
    waiting = f" | waiting: {picture.waiting}" if picture.waiting else ""
    more = f" and {len(picture.troubles) - 1} more" if len(picture.troubles) > 1 else ""
    troubles = f" | trouble: {picture.troubles[0][:TROUBLE_CHARACTERS]}{more}" if picture.troubles else ""
    where = f"stores online: {regions} | off: {away or 'nothing'}{faults}{troubles}{waiting}"
    return f"[{picture.elapsed_s:5.1f} s] {picture.phase}: {stages} | {where}"


def _stage_text(line: StageLine) -> str:
    """``PARM 200/s``, or ``PARM 0/s (1250 behind, lag 8.2 s, stopped 8 s)``."""
    rate = f" {_figure(line.rate_per_s, '.0f')}/s" if line.stage in ALWAYS_TOLD else ""
    said = (
        f"{line.backlog} behind" if line.backlog else "",
        f"lag {line.lag_s:.1f} s" if (line.lag_s or 0.0) >= LAG_TOLD_S else "",
        line.state,
    )
    beside = ", ".join(part for part in said if part)
    return f"{STAGE_LABELS[line.stage]}{rate}" + (f" ({beside})" if beside else "")


def _figure(value: float | None, form: str) -> str:
    """What nobody can tell is a dash, never 0."""
    return UNKNOWN if value is None else format(value, form)


class LiveDisplay:
    """A picture that is redrawn in place, four times a second."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()
        self._closing = False
        keep_cursor()
        self._lines = KeptLines(lambda text: self._console.print(text, highlight=False, soft_wrap=True))

    def show(self, picture: Picture) -> None:
        """Redraw, unless the terminal is held."""
        if self._lines.tell():
            self._live.update(render(picture), refresh=True)

    def say(self, text: str) -> None:
        """A line above the picture."""
        self._lines.say(text)

    def close(self) -> None:
        """Take the picture away; where the terminal is held, the second call waits for that."""
        if self._lines.tell() or self._closing:
            self._live.stop()
        self._closing = True


def render(picture: Picture) -> RenderableType:
    """A picture as Rich draws it."""
    title = f"{picture.phase}   {picture.elapsed_s:.0f} s"
    faults = Text("fault in force: " + ", ".join(picture.faults), style="bold red") if picture.faults else Text("")
    waiting = Text(f"waiting: {picture.waiting}" if picture.waiting else "", style="yellow")
    troubles = [Text(f"! {trouble}", style="red") for trouble in picture.troubles]
    picture_parts = Group(_journey(picture), Text(""), _regions(picture), _views(picture), faults, *troubles, waiting)
    return Panel(picture_parts, title=title, width=PANEL_WIDTH)


def _journey(picture: Picture) -> Table:
    table = Table(box=None, pad_edge=False, expand=True)
    for heading in ("stage", "events/s", "total", "behind", "lag", "restarts", "state"):
        table.add_column(
            heading, justify="left" if heading in ("stage", "state") else "right", no_wrap=heading != "state"
        )
    for line in picture.stages:
        name = Text(STAGE_LABELS[line.stage] + (" (yours)" if line.foreign else ""))
        if not line.connected and not line.foreign:
            name.stylize("red")
        table.add_row(
            name,
            _figure(line.rate_per_s, ",.0f"),
            _figure(line.total, ",d"),
            Text(_figure(line.backlog, ",d"), style="yellow" if (line.backlog or 0) > 50 else ""),
            _lag_text(line.lag_s),
            Text(str(line.restarts) if line.restarts else "", style="red"),
            Text(line.state or SEEN_BY.get(line.seen_by, ""), style="red" if line.state else "dim"),
        )
    return table


def _lag_text(lag_s: float | None) -> str:
    """Empty while it is short."""
    if lag_s is None:
        return UNKNOWN
    return f"{lag_s:,.1f} s" if lag_s >= 0.1 else ""


def _regions(picture: Picture) -> Text:
    text = Text("stores online   ")
    for region, (board, total, truth) in picture.regions.items():
        text.append(f"{region} ")
        style = "green" if board == truth == total else "bold red"
        text.append(f"{_region_text(board, total, truth)}   ", style=style)
    return text


def _region_text(board: int, total: int, truth: int) -> str:
    """``50/50``, or ``0/50 (board: 50)`` while the board says something else than the tills."""
    return f"{truth}/{total}" + (f" (board: {board})" if board != truth else "")


def _views(picture: Picture) -> Text:
    text = Text("off the truth   ")
    for view, count in picture.distances.items():
        text.append(f"{view.replace('_', ' ')} ")
        text.append(f"{count}   ", style="green" if not count else "yellow")
    return text
