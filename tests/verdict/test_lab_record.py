"""What a lab's plan tells beyond the judging: faults in one line, and nothing for what no lab wrote."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from storefleet import run_story
from storefleet.run_record import FaultRecord, RunRecord
from storefleet.verdict.lab_record import LabRecord, account_faults, describe, lab_record
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
        ({"ended_by_itself": True}, "partition of region west on terminals-broker for 10.0 s, ended by itself"),
        ({"attributes": {}}, "partition of everything on terminals-broker for 10.0 s"),
        ({"attributes": {"a": 1, "b": "x"}}, "partition of a 1 b x on terminals-broker for 10.0 s"),
        (
            {"evidence": [{"found": "confirmed", "links_affected_total": 1_200}, None,
                          {"found": "confirmed", "links_affected_total": 3}]},
            "partition of region west on terminals-broker for 10.0 s; confirmed: 1,203 connections felt it",
        ),
        (
            {"evidence": [{"found": "inconclusive", "links_affected_total": "many"}]},
            "partition of region west on terminals-broker for 10.0 s; inconclusive: 0 connections felt it",
        ),
        ({"evidence": [None, "text", {"other": 1}]}, "partition of region west on terminals-broker for 10.0 s"),
        ({"evidence": 7}, "partition of region west on terminals-broker for 10.0 s"),
    ],
    ids=range(9),
)  # fmt: skip
def test_a_fault_in_one_line(changes: dict[str, Any], text: str) -> None:
    """A fault says what, where, how long, and by the hop's own word whether it took effect; live and recorded alike."""
    one = fault(**changes)
    assert run_story.describe(one) == text
    record = lab_record(msgspec.json.encode(RunRecord(lab=lab_plan(), faults=[one])))
    assert [describe(account) for account in account_faults(record.faults)] == [text]


def test_the_shape_of_a_lab() -> None:
    """Stores, terminals, seed and rate stand in the plan of the lab."""
    shape = lab_record(msgspec.json.encode(RunRecord(lab=lab_plan(stores=1_000, terminals=3_000)))).lab
    assert (shape.stores, shape.terminals, shape.seed, shape.rate_per_s) == (1_000, 3_000, 7, 200.0)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{}", b"[]", b"\xff", b'{"name":"\xff"}', b'{"lab":{}}', b'{"lab":7,"faults":{}}'],
    ids=range(8),
)
def test_what_no_lab_wrote(content: bytes) -> None:
    """It tells nothing, and harms nobody."""
    assert lab_record(content) == LabRecord()
