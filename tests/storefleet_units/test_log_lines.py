"""A run's log in words, and what a run tells that was recorded before there was one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fleetwire.errors import SettingsError
from storefleet.log_lines import happenings_of, lines
from storefleet.run_record import CommandRecord, FaultRecord, RunRecord
from storefleet.verdict.log_file import LOG_FILE_NAME, Happening
from storefleet.verdict.machine import Stall
from storefleet.verdict.run_format import PLAN_FILE_NAME, Phase, Plan
from tests.storefleet_units.plans import lab_plan

DAY_MS = 1_767_571_200_000
"""2026-01-05, midnight."""


def test_a_line_each_and_the_date_once() -> None:
    """Time, who, what and the particulars; the date again where another day begins."""
    happenings = [
        Happening(at_ms=DAY_MS - 1, kind="phase", who="lab", text="trading"),
        Happening(at_ms=DAY_MS + 61_020, kind="restart", who="poseidon-1", text="after signal SIGKILL"),
        Happening(at_ms=DAY_MS + 62_000, kind="stopped", who="terminals-and-a-long-name"),
    ]
    assert list(lines(happenings)) == [
        "2026-01-04 (UTC)",
        "23:59:59.999  lab                phase: trading",
        "2026-01-05 (UTC)",
        "00:01:01.020  poseidon-1         started again: after signal SIGKILL",
        "00:01:02.000  terminals-and-a-long-name  stopped, and stands still",
    ]
    assert list(lines([])) == []


def test_a_log_is_told_in_the_order_of_time(tmp_path: Path) -> None:
    """What lasts is written down when it is noticed; it is told where it began."""
    (tmp_path / PLAN_FILE_NAME).write_bytes(msgspec.json.encode(Plan(name="run")))
    rows = ('{"format":"storefleet-log","version":1}', '{"at_ms":2,"kind":"end"}', '{"at_ms":1,"kind":"stopped"}')
    (tmp_path / LOG_FILE_NAME).write_text("\n".join((*rows, "")), encoding="utf-8")
    told = happenings_of(tmp_path)
    assert ([one.kind for one in told.happenings], told.derived) == (["stopped", "end"], False)


def test_a_run_without_a_log_tells_what_else_it_has(tmp_path: Path) -> None:
    """Starts and ends, phases, faults, commands and standstills, by plan.json and processes.jsonl."""
    fault = FaultRecord(
        hop="parm-broker", name="cut", type="down", attributes={}, begin_ms=40, end_ms=1_040,
        evidence=[{"found": "confirmed", "links_affected_total": "many"}],
    )  # fmt: skip
    record = RunRecord(
        lab=lab_plan(),
        phases=[Phase(name="trading", from_ms=10, until_ms=90)],
        faults=[fault, FaultRecord(hop="x", name="y", type="down", attributes={}, begin_ms=-10)],
        commands=[CommandRecord(at_ms=50, what="burst", params={"events": 5})],
        stalls=[Stall("views-1", 7_000, 1_000.0), Stall("views-1", 6_000, 1_000.0)],
    )
    (tmp_path / PLAN_FILE_NAME).write_bytes(msgspec.json.encode(record))
    rows = (
        '{"at_ms":5,"name":"parm-1","incarnation":1}', '{"at_ms":20,"name":"parm-1","incarnation":1,"exit":"signal X"}',
        "torn", '{"at_ms":30,"name":"parm-1","incarnation":2}', '{"at_ms":31,"na',
    )  # fmt: skip
    (tmp_path / "processes.jsonl").write_text("\n".join(rows), encoding="utf-8")
    told = happenings_of(tmp_path)
    assert told.derived
    assert [(one.at_ms, one.kind, one.who, one.text) for one in told.happenings] == [
        (5, "start", "parm-1", ""),
        (10, "phase", "lab", "trading"),
        (20, "end", "parm-1", "signal X"),
        (30, "restart", "parm-1", "after signal X"),
        (40, "fault_on", "parm-broker", "down on parm-broker"),
        (50, "command", "lab", "burst events 5"),
        (
            1_040,
            "fault_off",
            "parm-broker",
            "down of everything on parm-broker for 1.0 s; confirmed: 0 connections felt it",
        ),
        (6_000, "standstill", "views-1", "1.0 s (event loop)"),
    ]


def test_a_run_that_no_lab_recorded_and_no_run(tmp_path: Path) -> None:
    """A hand-written history tells its phases; a folder that is none is refused."""
    plan = Plan(name="hand", phases=[Phase(name="settle", from_ms=10)])
    (tmp_path / PLAN_FILE_NAME).write_bytes(msgspec.json.encode(plan))
    assert [one.text for one in happenings_of(tmp_path).happenings] == ["settle"]
    with pytest.raises(SettingsError, match="no run folder"):
        happenings_of(tmp_path / "missing")
