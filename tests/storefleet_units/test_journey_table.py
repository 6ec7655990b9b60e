"""One event's journey as rows: a row for every step, with times since its commit, and what became of it."""

from __future__ import annotations

import io
import re
import sys

import pytest
from rich.console import Console

from storefleet.journey_table import journey_lines, journey_rows, journey_table, outcome_text, stranger_text
from storefleet.panel import print_table
from storefleet.recorded_journey import JourneyRow, Outcome, RecordedJourney
from storefleet.verdict.ledger_entries import Told
from storefleet.verdict.sightings import Sighting

KEY = "taco.west.s0042.r01.317"
START_MS = 1_795_348_800_007
APPLIED = Told(verdict="applied", stage="poseidon", at_ms=START_MS + 1_395)
REJECTED = Told(verdict="rejected", stage="parm", reason="schema", at_ms=START_MS + 1_400)


def row(step: str, stage: str = "", *, foreign: bool = False, **seen: object) -> JourneyRow:
    """A step's row; without ``at_ms`` it was not seen there."""
    sighting = Sighting(step=step, stage=stage or step, **seen) if seen else None  # type: ignore[arg-type]
    return JourneyRow(step=step, stage=stage or step, foreign=foreign, sighting=sighting)


ROWS = [
    row("emulator", instance=1, at_ms=START_MS, handed_on_ms=START_MS + 2, did="committed"),
    row("broker-raw", "broker", at_ms=START_MS + 2, exact=False, did="acknowledged it"),
    row("parm", instance=2, at_ms=START_MS + 4, handed_on_ms=START_MS + 1_006, attempt=3, did="canonical"),
    row("broker-canonical", "broker"),
    row("sync_stage", foreign=True, at_ms=START_MS + 9, exact=False, did="passed, by what lies behind"),
    row("gateway"),
    row(
        "poseidon", instance=1, at_ms=START_MS + 1_093, exact=False, handed_on_ms=START_MS + 1_093,
        handed_on_exact=False, attempt=1, did="took it",
    ),
    row("views", foreign=True),
]  # fmt: skip
JOURNEY = RecordedJourney(
    key=KEY, steps={}, rows=ROWS, outcome=Outcome(ledger=True, terminal=True, committed=True, sent=1, told=[APPLIED])
)


def test_the_rows() -> None:
    """Every step is there; what only reports or the next party tell is "by" a time."""
    assert journey_rows(ROWS) == [
        ("terminals", "12:00:00.007", "+0 ms", "committed, handed on after 2 ms"),
        ("broker, raw", "by 12:00:00.009", "by +2 ms", "acknowledged it"),
        ("PARM 2", "12:00:00.011", "+4 ms", "canonical, handed on after 1,002 ms, attempt 3"),
        ("broker, canonical", "not seen", "", ""),
        ("sync stage (yours)", "by 12:00:00.016", "by +9 ms", "passed, by what lies behind"),
        ("gateway", "not seen", "", ""),
        ("Poseidon", "by 12:00:01.100", "by +1,093 ms", "took it, handed on by 12:00:01.100"),
        ("views (yours)", "not seen", "", ""),
    ]


def test_the_number_of_an_instance() -> None:
    """It is told where several may share the work, if it is known."""
    rows = [
        row("parm", instance=1, at_ms=START_MS),
        row("parm", at_ms=START_MS),
        row("views", instance=3, at_ms=START_MS),
    ]
    assert [cells[0] for cells in journey_rows(rows)] == ["PARM 1", "PARM", "views 3"]


def test_without_a_commit() -> None:
    """Where nobody knows when it was committed, nothing is told since then; a time beyond the calendar is a number."""
    rows = [row("emulator"), row("strange", at_ms=2**52, did="looked on")]
    assert journey_rows(rows) == [
        ("terminals", "not seen", "", ""),
        ("strange", "4503599627370496 ms", "", "looked on"),
    ]
    assert journey_rows([]) == []


def test_the_table() -> None:
    """The table names the key and shows every row's every field, whatever it looks like."""
    rows = [*ROWS, row("views", at_ms=START_MS, did="[red]applied[/red]")]
    console = Console(width=140)
    with console.capture() as captured:
        console.print(journey_table(RecordedJourney(key=KEY, steps={}, rows=rows, outcome=JOURNEY.outcome)))
    text = captured.get()
    assert f"journey of {KEY}" in text
    for cells in journey_rows(rows):
        assert any(all(cell in line for cell in cells) for line in text.splitlines())


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (JOURNEY.outcome, "applied, told 12:00:01.402"),
        (
            Outcome(ledger=True, terminal=True, committed=True, sent=3, sent_again_ms=START_MS, told=[REJECTED]),
            "rejected by parm: schema, told 12:00:01.407; sent 3 times, last 12:00:00.007",
        ),
        (
            Outcome(ledger=True, terminal=True, committed=True, sent=1, told=[APPLIED, REJECTED]),
            "applied, told 12:00:01.402; rejected by parm: schema, told 12:00:01.407",
        ),
        (Outcome(ledger=True, terminal=True, committed=True, sent=1), "no outcome"),
        (Outcome(ledger=True, terminal=True, committed=True, sent=0), "no outcome; not sent yet"),
        (Outcome(ledger=True, terminal=True, committed=False), "no outcome; its terminal has not committed it"),
        (Outcome(ledger=True, terminal=False, committed=False), "no outcome; its source is no terminal of this run"),
        (Outcome(ledger=False, terminal=False, committed=False), "no outcome; there is no ledger to read"),
    ],
)
def test_what_became_of_it(outcome: Outcome, text: str) -> None:
    """One line: what its terminal was told and when, how often it was sent, and what speaks against it."""
    assert outcome_text(outcome) == text


def test_an_event_that_nobody_knows() -> None:
    """The line says why, as far as that is known."""
    strange = Outcome(ledger=True, terminal=False, committed=False)
    journey = RecordedJourney(key=KEY, steps={}, rows=[row("emulator")], outcome=strange)
    assert not journey.seen
    assert stranger_text(journey) == f"nobody has seen {KEY}: its source is no terminal of this run"
    assert JOURNEY.seen


@pytest.mark.parametrize(("terminal", "width", "as_table"), [(True, 200, True), (True, 40, False), (False, 40, True)])
def test_no_time_is_cut_on_any_terminal(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, width: int, as_table: bool
) -> None:
    """Narrow: a step's figures stand below each other; in a pipe a step is one line, however narrow its terminal is."""
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    print_table(journey_table(JOURNEY), narrow=journey_lines(JOURNEY))
    lines = re.sub("\x1b\\[[0-9;]*m", "", written.getvalue()).split("\n")
    assert ("since commit" in "\n".join(lines)) is as_table
    for figure in ("by 12:00:01.100", "by +1,093 ms", "handed on after 1,002 ms", "12:00:00.011", "attempt 3"):
        assert any(figure in line for line in lines), figure
    if terminal:
        assert max(map(len, lines)) <= width
