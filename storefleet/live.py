"""What a person sees while a lab runs: a live picture of the journey, or plain lines where there is no terminal.

Plain when standard output is no terminal, with ``CI=true`` or ``NO_COLOR``. Both say the same: the journey stage by stage
(rate, backlog, lag, and how the stage is when it is not well), stores online by region, and how far each view is from the
truth. What nobody can tell is a dash.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.text import Text

from fleetwire.terminal_text import shown
from storefleet.endings import keep_cursor
from storefleet.kept_lines import KeptLines
from storefleet.observatory import EVENT_VIEWS, REGISTER_VIEWS
from storefleet.panel import STAGE_LABELS, PicturePanel, figure, region_text
from storefleet.run_record import views_of
from storefleet.stage_lines import StageLine
from storefleet.troubles_shown import troubles_of

if TYPE_CHECKING:
    from storefleet.contents import Comparison
    from storefleet.lab import Lab

PLAIN_INTERVAL_S: Final = 2.0
SAID_AGAIN: Final = 20
_WIPE: Final = Control.clear(), Control.home()
LAG_TOLD_S: Final = 1.0
"""A plain line says no shorter one."""
ALWAYS_TOLD: Final = ("emulator", "parm", "sync_stage", "poseidon", "views")
"""Stages that a plain line names always; the others when something waits at them, or is wrong with them."""
TROUBLE_CHARACTERS: Final = 100
"""Of the worst trouble in a plain line."""
VIEW_STAGES: Final = {**{view: stage for stage, view in EVENT_VIEWS.items()}, **REGISTER_VIEWS}


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


def display(*, json_output: bool = False) -> Display:
    """The display that fits standard output; standard error has it where the other is for programs."""
    if json_output:
        return PlainDisplay(sys.stderr)
    fancy = sys.stdout.isatty() and os.environ.get("CI") != "true" and not os.environ.get("NO_COLOR")
    return LiveDisplay() if fancy and os.environ.get("TERM") != "dumb" else PlainDisplay()


class Silent:
    """Says nothing."""

    def show(self, picture: Picture) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class PlainDisplay:
    """One line every two seconds."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """``stream``: where to; standard output when nothing is said."""
        self._last_s = 0.0
        self._stream = sys.stdout if stream is None else stream
        self._lines = KeptLines(self._write, self._stream)

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
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(shown(text).encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Tell what is left, if the reader takes it."""
        self._lines.tell()


def plain_line(picture: Picture) -> str:
    """A picture in one line of text."""
    stages = "  ".join(
        _stage_text(line) for line in picture.stages if line.stage in ALWAYS_TOLD or line.state or line.backlog
    )
    regions = " ".join(f"{region} {region_text(*counts)}" for region, counts in picture.regions.items())
    away = ", ".join(f"{view} {count}" for view, count in picture.distances.items() if count)
    faults = f" | fault: {', '.join(picture.faults)}" if picture.faults else ""
    waiting = f" | waiting: {picture.waiting}" if picture.waiting else ""
    more = f" and {len(picture.troubles) - 1} more" if len(picture.troubles) > 1 else ""
    troubles = f" | trouble: {picture.troubles[0][:TROUBLE_CHARACTERS]}{more}" if picture.troubles else ""
    where = f"stores online: {regions} | off: {away or 'nothing'}{faults}{troubles}{waiting}"
    return f"[{picture.elapsed_s:5.1f} s] {picture.phase}: {stages} | {where}"


def _stage_text(line: StageLine) -> str:
    """``PARM 200/s``, or ``PARM 0/s (1250 behind, lag 8.2 s, stopped 8 s)``."""
    rate = f" {figure(line.rate_per_s, '.0f')}/s" if line.stage in ALWAYS_TOLD else ""
    said = (
        f"{line.backlog} behind" if line.backlog else "",
        f"lag {line.lag_s:.1f} s" if (line.lag_s or 0.0) >= LAG_TOLD_S else "",
        line.state,
    )
    beside = ", ".join(part for part in said if part)
    return f"{STAGE_LABELS[line.stage]}{rate}" + (f" ({beside})" if beside else "")


class LiveDisplay:
    """A picture that is redrawn in place, four times a second, in the size that the terminal has then.

    A terminal that gets another size breaks the lines that stand on it in its own way, so all is wiped then, and the
    newest of what was said is said again.
    """

    def __init__(self) -> None:
        self._console = Console()
        self._said: deque[str] = deque(maxlen=SAID_AGAIN)
        self._lines = KeptLines(self._tell, sys.stdout)
        self._live = self._begin()
        self._closing = False
        self._size = self._console.size
        keep_cursor()

    def show(self, picture: Picture) -> None:
        """Redraw, unless the terminal is held."""
        if self._lines.tell():
            self._fit()
            self._live.update(PicturePanel(picture, fits_screen=True), refresh=True)

    def say(self, text: str) -> None:
        """A line above the picture."""
        self._lines.say(text)

    def close(self) -> None:
        """Take the picture away; where the terminal is held, the second call waits for that."""
        if self._lines.tell() or self._closing:
            self._fit()
            self._live.stop()
        self._closing = True

    def _tell(self, text: str) -> None:
        self._fit()
        self._said.append(text)
        self._print(text)

    def _begin(self) -> Live:
        live = Live(console=self._console, auto_refresh=False, transient=True)
        live.start()
        return live

    def _print(self, text: str) -> None:
        self._console.print(Text(shown(text)), soft_wrap=True)

    def _fit(self) -> None:
        """Begin anew when the size is another than it was, unless the picture is gone already."""
        if self._console.size == self._size or not self._live.is_started:
            return
        self._size = self._console.size
        self._live.update("")
        self._console.control(*_WIPE)
        self._live.stop()
        self._console.control(*_WIPE)
        for text in self._said:
            self._print(text)
        self._live = self._begin()


def render(picture: Picture) -> RenderableType:
    """A picture as Rich draws it, as wide as there is room for and as high as it needs."""
    return PicturePanel(picture)
