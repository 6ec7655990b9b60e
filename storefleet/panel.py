"""The picture of a lab as lines for a screen of any size: no figure is ever cut, and what is wrong is hidden last.

Columns that do not fit are left out, the least important first; what they would say of a stage that is not well stands
under its row. Lines that do not fit are hidden, the least important first, and the last line says how many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.panel import Panel
from rich.text import Text

from fleetwire.terminal_text import shown

if TYPE_CHECKING:
    from storefleet.live import Picture
    from storefleet.stage_lines import StageLine

PANEL_WIDTH: Final = 96
PIPED_COLUMNS: Final = 1_000
"""Where no terminal is, a program reads: it gets a line whole."""
FRAME_COLUMNS: Final = 4
FRAME_ROWS: Final = 2
FRAME_FROM_ROWS: Final = 16
"""On a lower screen the rows of a frame say more than the frame."""
STATE_COLUMNS: Final = 20
"""A state that has fewer stands under its row."""
GAP: Final = 1
BEHIND_TOLD: Final = 50
LAG_TOLD_S: Final = 0.1
UNKNOWN: Final = "\N{EN DASH}"
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

# How much a line matters: the least is shown longest.
TITLE, ALARM, WRONG, TROUBLE, OFF, CALM, REST = range(7)


class Line(NamedTuple):
    """A line, and how much it matters."""

    text: Text
    rank: int


class Column(NamedTuple):
    """A figure of a stage. ``place``: which column goes first where there is no room for all, the lowest stays longest.

    ``aside``: how the figure is said under the row when its column is left out; "" for what nobody misses.
    """

    heading: str
    cell: Callable[[StageLine], str]
    place: int
    aside: str = ""
    style: Callable[[StageLine], str] = lambda _: ""


def figure(value: float | None, form: str) -> str:
    """What nobody can tell is a dash, never 0."""
    return UNKNOWN if value is None else format(value, form)


def _name(line: StageLine) -> str:
    return STAGE_LABELS.get(line.stage, line.stage) + (" (yours)" if line.foreign else "")


def _lag(line: StageLine) -> str:
    """Empty while it is short."""
    if line.lag_s is None:
        return UNKNOWN
    return f"{line.lag_s:,.1f} s" if line.lag_s >= LAG_TOLD_S else ""


def _state(line: StageLine) -> str:
    return line.state or SEEN_BY.get(line.seen_by, "")


COLUMNS: Final = (
    Column("stage", _name, 0, style=lambda line: "red" if line.state or not (line.connected or line.foreign) else ""),
    Column("events/s", lambda line: figure(line.rate_per_s, ",.0f"), 2, "{} events/s"),
    Column("total", lambda line: figure(line.total, ",d"), 6),
    Column(
        "behind",
        lambda line: figure(line.backlog, ",d"),
        1,
        "{} behind",
        lambda line: "yellow" if (line.backlog or 0) > BEHIND_TOLD else "",
    ),
    Column("lag", _lag, 3, "lag {}"),
    Column("restarts", lambda line: str(line.restarts) if line.restarts else "", 4, "restarts {}", lambda _: "red"),
    Column("state", _state, 5, "{}", lambda line: "red" if line.state else "dim"),
)
_LEFT: Final = ("stage", "state")


class PicturePanel:
    """What Rich asks for its lines whenever it draws, so that it fits the screen as it is then."""

    def __init__(self, picture: Picture, *, fits_screen: bool = False) -> None:
        """``fits_screen``: no higher than the screen, less a row for what is said."""
        self._picture = picture
        self._fits_screen = fits_screen

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = console.size.height - 1 if self._fits_screen else None
        yield panel(self._picture, options.max_width, rows)


def panel(picture: Picture, width: int, rows: int | None = None) -> RenderableType:
    """The picture for so many columns and, unless None, rows."""
    width = min(PANEL_WIDTH, width)
    if rows is not None and rows + 1 < FRAME_FROM_ROWS:
        return _text([Line(Text(_title(picture), style="bold"), TITLE), *picture_lines(picture, width)], width, rows)
    inner = width - FRAME_COLUMNS
    text = _text(picture_lines(picture, inner), inner, None if rows is None else rows - FRAME_ROWS)
    return Panel(text, title=Text(_title(picture)), width=width)


def plain_panel(picture: Picture, width: int) -> str:
    """The picture without a frame, for a pipe."""
    lines = [_title(picture), *(line.text.plain.rstrip() for line in picture_lines(picture, width))]
    return "\n".join(lines)


def print_table(table: RenderableType, *, narrow: RenderableType) -> None:
    """On standard output; ``narrow`` on a terminal where the table would cut its cells. A pipe is as wide as it needs."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=PIPED_COLUMNS)
    unbounded = console.options.update(width=PIPED_COLUMNS)
    fits = Measurement.get(console, unbounded, table).maximum <= console.width
    console.print(table if fits else narrow, highlight=False)


def _title(picture: Picture) -> str:
    return shown(f"{picture.phase}   {picture.elapsed_s:.0f} s")


def _text(lines: Iterable[Line], width: int, rows: int | None) -> Text:
    text = Text(no_wrap=True, overflow="crop")
    return text.append_text(Text("\n").join(line.text for line in fitted(list(lines), width, rows)))


def fitted(lines: Sequence[Line], width: int, rows: int | None) -> list[Line]:
    """Those for which there is room, in their order; the last says how many are hidden."""
    if rows is None or len(lines) <= rows:
        return list(lines)
    by_rank = sorted(range(len(lines)), key=lambda at: (lines[at].rank, at))
    kept = sorted(by_rank[: max(0, rows - 1)])
    words = (f"and {len(lines) - len(kept)} lines hidden: storefleet status", f"+{len(lines) - len(kept)} lines")
    more = next((one for one in words if cell_len(one) <= width), words[-1])
    return [*(lines[at] for at in kept), Line(Text(more, style="dim"), TITLE)][: max(1, rows)]


def picture_lines(picture: Picture, width: int) -> Iterator[Line]:
    """All lines, none wider than ``width``, however narrow."""
    yield from _journey(picture.stages, width)
    yield Line(Text(""), REST)
    yield from _regions(picture, width)
    yield from _views(picture, width)
    if picture.faults:
        faults = ", ".join(picture.faults).split()
        yield from _wrapped("fault in force: ", faults, width, style="bold red", rank=ALARM, rest=TROUBLE)
    for place, trouble in enumerate(picture.troubles):
        rank = TROUBLE if place else ALARM
        yield from _wrapped("! ", trouble.split(), width, style="red", rank=rank, rest=OFF)
    if picture.waiting:
        yield from _wrapped("waiting: ", picture.waiting.split(), width, style="yellow", rank=ALARM, rest=TROUBLE)


# -- the journey -----------------------------------------------------------------------------------------------------


def _journey(stages: Sequence[StageLine], width: int) -> Iterator[Line]:
    widths = _widths(stages, width)
    chosen = [column for column in COLUMNS if column.heading in widths]
    ranks = [WRONG if _is_wrong(line) else CALM for line in stages]
    heading = " ".join(_aligned(column.heading, column, widths) for column in chosen)
    yield Line(Text(heading.rstrip()), min([CALM, *ranks]))
    for line, rank in zip(stages, ranks, strict=True):
        yield from (Line(text, rank) for text in _rows(line, chosen, widths, width))


def _is_wrong(line: StageLine) -> bool:
    return bool(line.state) or not (line.connected or line.foreign) or (line.backlog or 0) > BEHIND_TOLD


def _widths(stages: Sequence[StageLine], width: int) -> dict[str, int]:
    """Heading -> columns, of those that fit; the state takes what is left, if that is enough."""
    natural = {
        column.heading: max([cell_len(column.heading), *(cell_len(shown(column.cell(line))) for line in stages)])
        for column in COLUMNS
    }
    fits: dict[str, int] = {}
    left = width
    for column in sorted(COLUMNS, key=lambda one: one.place):
        needed = min(natural["state"], STATE_COLUMNS) if column.heading == "state" else natural[column.heading]
        needed += GAP if fits else 0
        if not fits:
            needed = min(needed, width)
        if needed <= left:
            fits[column.heading] = needed - (GAP if fits else 0)
            left -= needed
    if "state" in fits:
        fits["state"] += left
    else:
        fits["stage"] += left if len(fits) > 1 else 0
    return fits


def _aligned(text: str, column: Column, widths: dict[str, int]) -> str:
    size = widths[column.heading]
    if column.heading in _LEFT:
        return set_cell_size(text, size)
    return " " * (size - cell_len(text)) + text


def _rows(line: StageLine, chosen: Sequence[Column], widths: dict[str, int], width: int) -> Iterator[Text]:
    """The row; the rest of a long state below it, and what has no column."""
    row, rest = Text(), list[str]()
    for column in chosen:
        cell = shown(column.cell(line))
        if column.heading == "state":
            cell, *rest = _filled(cell.split(), widths["state"]) or [""]
        if row:
            row.append(" " * GAP)
        row.append(_aligned(cell, column, widths), style=column.style(line))
    row.rstrip()
    yield row
    indent = width - widths.get("state", 0)
    yield from (Text(" " * indent + more, style="red" if line.state else "dim") for more in rest)
    aside = [
        column.aside.format(cell)
        for column in reversed(COLUMNS)
        if column not in chosen and (cell := _missed(column, line))
    ]
    yield from (Text("  " + more, style="red" if line.state else "dim") for more in _filled(_listed(aside), width - 2))


def _missed(column: Column, line: StageLine) -> str:
    """What is to be said of a column that is left out; nothing where it says nothing."""
    cell = shown(column.cell(line)) if column.aside else ""
    return "" if cell in (UNKNOWN, "0") else cell


# -- what stands below it --------------------------------------------------------------------------------------------


def region_text(board: int, total: int, truth: int) -> str:
    """``50/50``, or ``0/50 (board: 50)`` while the board says something else than the tills."""
    return f"{truth}/{total}" + (f" (board: {board})" if board != truth else "")


def _regions(picture: Picture, width: int) -> Iterator[Line]:
    words = {
        f"{region} {region_text(*counts)}": "green" if len({*counts}) == 1 else "bold red"
        for region, counts in picture.regions.items()
    }
    return _told("stores online", words, width)


def _views(picture: Picture, width: int) -> Iterator[Line]:
    words = {
        f"{view.replace('_', ' ')} {count}": "yellow" if count else "green" for view, count in picture.distances.items()
    }
    return _told("off the truth", words, width)


def _told(heading: str, words: dict[str, str], width: int) -> Iterator[Line]:
    """Several words, each in one piece, behind a heading; those that are not green matter more, and stand first."""
    line, rank, begin = Text(heading), CALM, cell_len(heading)
    if begin + 3 + max([0, *map(cell_len, words)]) > width:  # no room behind the heading
        yield Line(line, CALM if {*words.values()} <= {"green"} else OFF)
        line, begin = Text(), 0
    for word, style in sorted(words.items(), key=lambda item: item[1] == "green"):
        gap = "   " if line.plain.strip() else " " * begin
        if cell_len(line.plain) + len(gap) + cell_len(word) > width and line.plain.strip():
            yield Line(line, rank)
            line, rank, gap = Text(), CALM, " " * min(begin + 3, max(0, width - cell_len(word)))
        line.append(gap)
        line.append(shown(word)[: max(1, width)], style=style)
        rank = rank if style == "green" else OFF
    yield Line(line, rank)


def _wrapped(heading: str, words: Sequence[str], width: int, *, style: str, rank: int, rest: int) -> Iterator[Line]:
    """A sentence over as many lines as it needs; the first matters most."""
    pieces = _filled([heading.strip(), *words], width, "  ")
    for place, piece in enumerate(pieces):
        yield Line(Text(piece, style=style), rest if place else rank)


def _listed(words: Sequence[str]) -> list[str]:
    return [f"{word}," for word in words[:-1]] + list(words[-1:])


def _filled(words: Sequence[str], width: int, indent: str = "") -> list[str]:
    """Words in lines; only one that is wider than a line is cut in pieces, and none of it is lost."""
    width = max(width, len(indent) + 1)
    lines: list[str] = []
    for word in map(shown, words):
        if lines and cell_len(lines[-1]) + 1 + cell_len(word) <= width:
            lines[-1] += f" {word}"
            continue
        first, *others = chop_cells(word, width - len(indent)) or [""]
        lines += [(indent if lines else "") + first, *(indent + other for other in others)]
    return lines
