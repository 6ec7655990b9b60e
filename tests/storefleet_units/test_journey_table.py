"""One event's journey as rows: in the order of the journey, with times since it began."""

from __future__ import annotations

from rich.console import Console

from storefleet.journey_table import journey_rows, journey_table

START_MS = 1_795_348_800_007
STEPS = {
    "views-1": {"taken_ms": START_MS + 30},
    "strange-1": {"taken_ms": START_MS + 1, "did": "looked on"},
    "sync_stage-1": {"taken_ms": START_MS + 9, "did": "", "attempt": 2},
    "parm-2": {"taken_ms": START_MS + 4, "handed_on_ms": START_MS + 6, "attempt": 3, "did": "decoded nested"},
    "emulator-1": {"taken_ms": START_MS, "handed_on_ms": START_MS + 2, "did": "committed"},
}


def test_the_rows() -> None:
    """Stages stand in the order of the journey, unknown ones last; a second instance is numbered."""
    assert journey_rows(STEPS) == [
        ("terminals", "12:00:00.007", "+0 ms", "committed, handed on after 2 ms"),
        ("PARM 2", "12:00:00.011", "+4 ms", "decoded nested, handed on after 2 ms, attempt 3"),
        ("sync stage", "12:00:00.016", "+9 ms", "took it, attempt 2"),
        ("views", "12:00:00.037", "+30 ms", "took it"),
        ("strange", "12:00:00.008", "+1 ms", "looked on"),
    ]


def test_one_stage_twice() -> None:
    """Of two instances that took the same event, the earlier one stands first."""
    steps = {"parm-1": {"taken_ms": START_MS + 5}, "parm-2": {"taken_ms": START_MS}}
    assert [(row[0], row[2]) for row in journey_rows(steps)] == [("PARM 2", "+0 ms"), ("PARM", "+5 ms")]


def test_no_steps() -> None:
    """Where nobody remembers the event, there are no rows."""
    assert journey_rows({}) == []


def test_the_table() -> None:
    """The table names the key and shows every row's every field."""
    console = Console(width=120)
    with console.capture() as captured:
        console.print(journey_table("taco.west.s0042.r01.317", STEPS))
    text = captured.get()
    assert "journey of taco.west.s0042.r01.317" in text
    for row in journey_rows(STEPS):
        assert any(all(cell in line for cell in row) for line in text.splitlines())
