"""The picture on screens of any size: nothing is wider or higher than the screen, and no figure is cut."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from storefleet.live import Picture
from storefleet.panel import PicturePanel, plain_panel
from tests.storefleet_units.test_live import line

SIZES = [(40, 10), (40, 24), (80, 10), (80, 24), (200, 50)]
BROKEN = Picture(
    phase="faults on",
    elapsed_s=100.0,
    stages=(
        line("emulator", rate_per_s=12_345.0, total=123_456_789, backlog=12),
        line("broker", rate_per_s=None, total=None, state="silent 31 s"),
        line("parm", rate_per_s=4.0, total=7, backlog=1_234_567, lag_s=123_456.7, restarts=123, foreign=True,
             state="1 of 2 not acknowledging 12345 s"),
        line("sync_stage", rate_per_s=200.0, total=1_222),
        line("gateway", rate_per_s=200.0, total=12_345),
        line("poseidon", rate_per_s=200.0, total=11_222),
        line("olympus_dgs", rate_per_s=3.0, total=3, foreign=True, connected=False),
        line("views", rate_per_s=200.0, total=12_123, backlog=77),
    ),
    regions={"east": (50, 50, 50), "north": (50, 50, 50), "south": (50, 50, 50), "west": (50, 50, 0)},
    distances={"orders": 1_017, "store_board": 0, "sales": 0, "device_inventory": 2},
    faults=("partition of region west", "latency on parm-broker"),
    waiting="every event has its outcome or its deadline, 32 s at most",
    troubles=("gateway-1: disk full since 20:16:01: nothing is stored", "dead letters: parm schema 81"),
)  # fmt: skip


def drawn(picture: Picture, width: int, height: int, *, fits_screen: bool = True) -> list[str]:
    """What stands on a screen of this size."""
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=False)
    console.print(PicturePanel(picture, fits_screen=fits_screen))
    assert isinstance(console.file, io.StringIO)
    return [one.strip("│╭╮╰╯ ") for one in console.file.getvalue().rstrip("\n").split("\n")]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_it_fits_and_what_is_wrong_is_there(width: int, height: int) -> None:
    """The phase, the faults, the worst trouble, what is waited for, and the stages that are not well with their state."""
    lines = drawn(BROKEN, width, height)
    assert len(lines) <= height - 1
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    for word in ("faults on", "100 s", "fault in force: partition", "! gateway-1: disk full", "waiting: every event"):
        assert word in text, word
    if height > 10:
        for figure in (
            "silent 31 s",
            "1,234,567",
            "123,456.7 s",
            "orders 1017",
            "0/50 (board: 50)",
            "acknowledging",
        ):
            assert figure in text, figure
    assert "…" not in text


def test_what_is_hidden_is_counted() -> None:
    """The last line says how many lines there would be more."""
    whole, few = drawn(BROKEN, 40, 10, fits_screen=False), drawn(BROKEN, 40, 10)
    assert len(few) == 9
    without_frame = len(plain_panel(BROKEN, 40).split("\n"))
    assert few[-1] == f"and {without_frame - 8} lines hidden: storefleet status"
    assert len(whole) > 24


def test_on_few_rows_a_calm_fleet_shows_its_journey() -> None:
    """What is well is shown where nothing is wrong."""
    calm = replace(
        BROKEN, faults=(), troubles=(), waiting="", distances={"orders": 0}, regions={"west": (1, 1, 1)},
        stages=tuple(line(one.stage, rate_per_s=5.0) for one in BROKEN.stages),
    )  # fmt: skip
    assert [one.split()[0] for one in drawn(calm, 80, 10)[:3]] == ["faults", "stage", "terminals"]


FIGURES = st.integers(0, 10**9)


@given(st.integers(24, 110), st.integers(5, 40), st.integers(1, 10**9), FIGURES, st.integers(0, 10**6), FIGURES)
def test_no_figure_is_cut_on_any_screen(
    width: int, height: int, rate: int, backlog: int, lag: int, stores: int
) -> None:
    """A figure stands there whole, beside the row or under it; nothing is wider or higher than the screen."""
    one = line("parm", rate_per_s=float(rate), backlog=backlog, lag_s=lag + 0.5, foreign=True, state=f"stopped {lag} s")
    picture = Picture("x", 1.0, (one,), {"west": (stores, stores, 0)}, {"orders": backlog}, ())
    whole = drawn(picture, width, height, fits_screen=False)
    words = {word.strip(",") for row in whole for word in row.split()}
    assert {f"{rate:,}", f"{backlog:,}", f"{lag + 0.5:,.1f}", str(lag), f"0/{stores}"} <= words
    for lines in (whole, drawn(picture, width, height)):
        assert max(map(cell_len, lines)) <= width
    assert len(drawn(picture, width, height)) <= max(2, height - 1)


def test_a_word_wider_than_the_screen_is_continued_and_none_of_it_is_lost() -> None:
    """A path, for instance, or a name of characters that are two columns wide."""
    path = "/" + "/".join(f"folder{number}" for number in range(12))
    name = "店" * 30
    lines = drawn(replace(BROKEN, troubles=(f"full: {path} {name}",)), 40, 100, fits_screen=False)
    joined = "".join("".join(row.split()) for row in lines)
    assert path in joined
    assert name in joined


def test_markup_and_control_characters_say_what_they_say() -> None:
    """Nobody colours, wipes or breaks the picture with a name or a detail."""
    words = "[red]x[/] [/] \x1b[2J\x9b1m\nend"
    picture = replace(BROKEN, troubles=(words,), faults=(words,), regions={"[/]\x1b": (1, 1, 1)}, phase="[bold]")
    for lines in (drawn(picture, 80, 50), plain_panel(picture, 200).split("\n")):
        text = "\n".join(lines)
        assert "[red]x[/] [/] \ufffd[2J\ufffd1m end" in text
        assert "[bold]" in text
        assert not {"\x1b", "\x9b"} & {*text}


def test_in_a_pipe_every_row_is_one_line() -> None:
    """Programs find a trouble whole, without a frame."""
    rows = plain_panel(BROKEN, 1_000).split("\n")
    assert len(rows) == 1 + 1 + len(BROKEN.stages) + 1 + 2 + 1 + 2 + 1
    assert "! gateway-1: disk full since 20:16:01: nothing is stored" in rows


@pytest.mark.parametrize(("width", "height"), [*itertools.product((1, 2, 3, 5, 12), (1, 2, 3))])
def test_even_the_smallest_screen_draws_something(width: int, height: int) -> None:
    """A terminal that is being dragged may be of any size for a moment."""
    assert drawn(BROKEN, width, height)
