"""The story of a run: its fleet, faults and restarts in plain words, and nothing for what no lab wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from storefleet.run_record import FaultRecord, RunRecord
from storefleet.run_story import describe, story
from storefleet.verdict.run_format import PLAN_FILE_NAME
from tests.storefleet_units.plans import lab_plan


def fault(**changes: Any) -> FaultRecord:
    """A partition of region west for ten seconds, with changes."""
    fields: dict[str, Any] = {
        "hop": "terminals-broker", "name": "cut", "type": "partition", "attributes": {"region": "west"},
        "begin_ms": 1_000, "end_ms": 11_000,
    }  # fmt: skip
    return FaultRecord(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "partition of region west on terminals-broker for 10.0 s"),
        ({"end_ms": 0}, "partition of region west on terminals-broker, not lifted"),
        ({"attributes": {}}, "partition of everything on terminals-broker for 10.0 s"),
        ({"attributes": {"a": 1, "b": "x"}}, "partition of a 1 b x on terminals-broker for 10.0 s"),
        (
            {"evidence": [{"found": "confirmed", "links_affected_total": 1_200}, None,
                          {"found": "confirmed", "links_affected_total": 3}]},
            "partition of region west on terminals-broker for 10.0 s; confirmed: 1,203 connections felt it",
        ),
        (
            {"evidence": [{"found": "inconclusive"}]},
            "partition of region west on terminals-broker for 10.0 s; inconclusive: 0 connections felt it",
        ),
        ({"evidence": [None, "text", {"other": 1}]}, "partition of region west on terminals-broker for 10.0 s"),
    ],
    ids=range(7),
)  # fmt: skip
def test_a_fault_in_one_line(changes: dict[str, Any], text: str) -> None:
    """A fault says what, where, how long, and by the hop's own word whether it took effect."""
    assert describe(fault(**changes)) == text


def test_a_story(tmp_path: Path) -> None:
    """Above the verdict stand the fleet, every fault in its order, and who was restarted after what."""
    record = RunRecord(
        lab=lab_plan(stores=1_000, terminals=3_000),
        faults=[fault(), fault(name="again", end_ms=0)],
        restarts={"views-1": ["signal 9"], "parm-2": ["exit 1", "signal 9"]},
    )
    (tmp_path / PLAN_FILE_NAME).write_bytes(msgspec.json.encode(record))
    assert story(tmp_path) == [
        "1,000 stores, 3,000 terminals, seed 7, 200 events/s",
        "fault: partition of region west on terminals-broker for 10.0 s",
        "fault: partition of region west on terminals-broker, not lifted",
        "restarted: parm-2 after exit 1, signal 9",
        "restarted: views-1 after signal 9",
    ]


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"{}", b"[]", b"\xff", b'{"name":"\xff"}', b'{"lab":{}}'], ids=range(8)
)
def test_no_story(tmp_path: Path, content: bytes | None) -> None:
    """A folder that no lab wrote, or whose plan cannot be read, has no story."""
    if content is not None:
        (tmp_path / PLAN_FILE_NAME).write_bytes(content)
    assert story(tmp_path) == []
