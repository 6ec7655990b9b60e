"""What a person sees: a picture says the same in one plain line and in the panel."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from storefleet import panel
from storefleet.live import LiveDisplay, Picture, PlainDisplay, Silent, display, plain_line, render
from storefleet.panel import UNKNOWN
from storefleet.stage_lines import StageLine


def line(stage: str, **changes: Any) -> StageLine:
    """A stage that is connected and up to date, with changes."""
    fields: dict[str, Any] = {
        "stage": stage, "rate_per_s": 0.0, "total": 0, "backlog": 0, "lag_s": 0.0,
        "restarts": 0, "connected": True, "foreign": False,
    }  # fmt: skip
    return StageLine(**{**fields, **changes})


CALM = Picture(
    phase="trading",
    elapsed_s=12.34,
    stages=(line("emulator", rate_per_s=199.6, total=2_400), line("parm", rate_per_s=200.4), line("gateway")),
    regions={"east": (3, 3, 3), "west": (3, 3, 2)},
    distances={"orders": 0, "store_board": 0},
    faults=(),
)
BROKEN = Picture(
    phase="faults on",
    elapsed_s=100.0,
    stages=(
        line("emulator", backlog=12),
        line("chaos", rate_per_s=None, total=None),
        line("broker", rate_per_s=None, total=None, state="silent 3 s"),
        line("parm", backlog=1_250, lag_s=6.25, restarts=2, connected=False, state="stopped 6 s"),
        line("views", rate_per_s=None, total=None, backlog=None, lag_s=None, foreign=True, connected=False, seen_by=""),
    ),
    regions={},
    distances={"orders": 17, "store_board": 2, "sales": 0},
    faults=("partition", "latency"),
)


def drawn(picture: Picture) -> list[str]:
    """The panel as lines of text."""
    console = Console(width=100)
    with console.capture() as captured:
        console.print(render(picture))
    return captured.get().splitlines()


def test_a_calm_line() -> None:
    """The line says phase, rates of stages that handle events, stores online by region, and that nothing is off."""
    assert plain_line(CALM) == (
        "[ 12.3 s] trading: terminals 200/s  PARM 200/s | stores online: east 3/3 west 2/3 (board: 3) | off: nothing"
    )


def test_a_broken_line() -> None:
    """The line says who is behind and since when, how a stage is that is not well, which views are off, and the faults."""
    assert plain_line(BROKEN) == (
        "[100.0 s] faults on: terminals 0/s (12 behind)  broker (silent 3 s)"
        f"  PARM 0/s (1250 behind, lag 6.2 s, stopped 6 s)  views {UNKNOWN}/s"
        " | stores online:  | off: orders 17, store_board 2 | fault: partition, latency"
    )


def test_a_calm_panel() -> None:
    """The panel has a row for each stage, the stores online and every view's distance, within its width."""
    lines = drawn(CALM)
    assert max(map(len, lines)) == panel.PANEL_WIDTH
    assert "trading   12 s" in lines[0]
    terminals = next(one for one in lines if "terminals" in one)
    assert terminals.split()[1:5] == ["terminals", "200", "2,400", "0"]
    assert any("gateway" in one for one in lines)
    assert any("stores online   west 2/3 (board: 3)   east 3/3" in one for one in lines)
    assert any("off the truth   orders 0   store board 0" in one for one in lines)
    assert not any("fault in force" in one for one in lines)


def test_a_broken_panel() -> None:
    """Backlog, lag, restarts and state stand in a stage's row, a user's own is marked; what nobody knows is a dash."""
    lines = drawn(BROKEN)
    rows = {" ".join(one.split()[1:-1]) for one in lines}
    assert "PARM 0 0 1,250 6.2 s 2 stopped 6 s" in rows
    assert f"broker {UNKNOWN} {UNKNOWN} 0 silent 3 s" in rows
    assert f"views (yours) {UNKNOWN} {UNKNOWN} {UNKNOWN} {UNKNOWN}" in rows
    assert any("fault in force: partition, latency" in one for one in lines)


@pytest.mark.parametrize(("seen_by", "said"), [("hops", "by its hop"), ("behind", "by those behind")])
def test_who_tells_of_a_stage_that_does_not_report(seen_by: str, said: str) -> None:
    """It is said in its row, unless something worse is."""
    for state, shown in (("", said), ("gone", "gone")):
        stages = (line("parm", foreign=True, total=7, seen_by=seen_by, state=state),)
        picture = Picture(phase="x", elapsed_s=0.0, stages=stages, regions={}, distances={}, faults=())
        assert any(" ".join(row.split()[1:-1]) == f"PARM (yours) 0 7 0 {shown}" for row in drawn(picture))


def test_a_long_row_keeps_its_figures() -> None:
    """No figure is cut off, however great; a long state goes on in the next line."""
    row = line(
        "olympus_dgs", rate_per_s=12_345.0, total=123_456_789, backlog=1_234_567, lag_s=123_456.7, restarts=123,
        foreign=True, state="1 of 2 not acknowledging 12345 s",
    )  # fmt: skip
    picture = Picture(phase="x", elapsed_s=0.0, stages=(row,), regions={}, distances={}, faults=())
    shown = " ".join(word for one in drawn(picture)[2:] for word in one.split()[1:-1])
    assert shown.startswith(
        "olympus-dgs (yours) 12,345 123,456,789 1,234,567 123,456.7 s 123 1 of 2 not acknowledging 12345 s"
    )


def test_a_plain_line_in_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where output has no dash, something stands for it, and the run goes on."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="latin-1"))
    PlainDisplay().say(f"views {UNKNOWN}/s")
    assert written.getvalue() == b"views ?/s\n"


def test_troubles_stand_in_both() -> None:
    """The panel has a line each; the plain line the worst, shortened, and how many more there are."""
    full = "gateway-1: disk full since 20:16:01: " + "x" * 100
    one, two = replace(CALM, troubles=(full,)), replace(CALM, troubles=(full, "dead letters: parm schema 81"))
    assert plain_line(one).endswith(f" | off: nothing | trouble: {full[:100]}")
    assert plain_line(two).endswith(f" | trouble: {full[:100]} and 1 more")
    lines = drawn(two)
    assert max(map(len, lines)) == panel.PANEL_WIDTH
    assert any("! gateway-1: disk full since 20:16:01" in one for one in lines)
    assert any("! dead letters: parm schema 81" in one for one in lines)


def test_every_stage_has_a_label() -> None:
    """Every stage that a lab can have can be shown."""
    every = tuple(line(stage) for stage in panel.STAGE_LABELS)
    picture = Picture(phase="x", elapsed_s=0.0, stages=every, regions={}, distances={}, faults=())
    assert plain_line(picture).count("/s") == 5
    rows = drawn(picture)
    assert all(any(label in row for row in rows) for label in panel.STAGE_LABELS.values())


@pytest.mark.parametrize(
    ("variables", "terminal", "kind"),
    [
        ({}, True, LiveDisplay),
        ({}, False, PlainDisplay),
        ({"CI": "true"}, True, PlainDisplay),
        ({"NO_COLOR": "1"}, True, PlainDisplay),
        ({"TERM": "dumb"}, True, PlainDisplay),
    ],
)
def test_the_display_that_fits(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], terminal: bool, kind: type[object]
) -> None:
    """A picture only where a terminal can draw one; lines in a pipe, in CI, without colour and on a dumb terminal."""
    output = io.StringIO()
    monkeypatch.setattr(output, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stdout", output)
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = display()
    found.close()
    assert type(found) is kind
    assert type(display(json_output=True)) is PlainDisplay


def test_plain_lines_are_few(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is shown, there is a line every two seconds at most; what is said is said at once."""
    now_s = [1_000.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    shown = PlainDisplay()
    for now_s[0] in (1_000.0, 1_000.5, 1_001.9, 1_002.0, 1_003.0):
        shown.show(CALM)
    shown.say("ready")
    assert capsys.readouterr().out.splitlines() == [plain_line(CALM), plain_line(CALM), "ready"]


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json nothing is shown or said."""
    Silent().show(CALM)
    Silent().say("ready")
    assert capsys.readouterr() == ("", "")
