"""An event altered on the way, in a real lab: found by value, with both bodies side by side."""

from __future__ import annotations

import re
import shlex
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storefleet.verdict.run_folder import judge
from storefleet.verdict.table import plain_text
from tests.lab.command_line import REPOSITORY, CommandLine, Lab, until

FLEET = REPOSITORY / "examples" / "one_brand.toml"
LAST_VICTIM = 9


def lab_with_altering_parm(command_line: CommandLine, *options: str) -> Lab:
    """Nine terminals of the brand that the example PARM can read."""
    fleet = command_line.folder / "fleet.toml"
    text = FLEET.read_text(encoding="utf-8")
    fleet.write_text(text.replace("stores = 8", "stores = 3"), encoding="utf-8")
    command = shlex.join([sys.executable, str(Path(__file__).with_name("altering_parm.py"))])
    return command_line.up("--fleet", fleet, "--stage", f"parm={command}", *options)


def terminals_beyond(lab: Lab, sequence: int, table: str = "outcome") -> int:
    """How many terminals have the outcome of an event, or the event."""
    condition = {"outcome": "first <= :sequence AND last >= :sequence", "event": "sequence = :sequence"}[table]
    with closing(sqlite3.connect(f"file:{lab.run_folder / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
        query = f"SELECT count(DISTINCT source) FROM {table} WHERE {condition}"
        (count,) = ledger.execute(query, {"sequence": sequence}).fetchone()
        return int(count)


def assert_never_converges(lab: Lab, *views: str) -> None:
    """``wait --converged`` says of each of these views that it holds other contents than were sold."""
    arguments = ("--name", lab.name, "--converged", "--timeout", "3s")
    said = lab.command_line.run("wait", *arguments, status=3).stderr
    for view in views:
        assert re.search(rf"\b{view}\b[^;]* other content in \d sources?", said), said


def fields_by_kind(verdict: dict[str, Any]) -> dict[int, list[list[dict[str, str]]]]:
    """The differing fields of every example, by the way in which it was altered."""
    result: dict[int, list[list[dict[str, str]]]] = {0: [], 1: [], 2: []}
    for example in verdict["classes"]["corrupted"]["examples"]:
        result[int(example["name"].rpartition(".")[2]) % 3].append(example["fields"])
    return result


@pytest.mark.timeout(180)
def test_three_alterations_are_shown_field_by_field(command_line: CommandLine) -> None:
    """A total off by a cent, two swapped lines and a time in the wrong zone: corrupted, with both values by path."""
    lab = lab_with_altering_parm(command_line)
    until(lambda: terminals_beyond(lab, LAST_VICTIM) == 9, "every terminal's last victim has its outcome")
    assert_never_converges(lab, "gateway", "orders", "sales")
    verdict = lab.down(status=1)
    assert "corrupted" in {reason["code"] for reason in verdict["invalid"]}
    kinds = fields_by_kind(verdict)
    assert all(kinds.values())
    for (cent,) in kinds[0]:
        assert cent["path"] == "data.grand_cents"
        assert int(cent["found"]) == int(cent["expected"]) + 1
    swaps = [fields for fields in kinds[1] if fields]
    assert swaps
    for fields in swaps:
        sides = {place: {f["path"][len(place) :]: f for f in fields if f["path"].startswith(place)}
                 for place in ("data.line_items[0]", "data.line_items[1]")}  # fmt: skip
        first, second = sides.values()
        assert first.keys() == second.keys()
        both = [name for name in first if name != ".line"]
        assert {(first[name]["expected"], first[name]["found"]) for name in both} == {
            (second[name]["found"], second[name]["expected"]) for name in both
        }
    for (time,) in kinds[2]:
        assert time["path"] == "time"
        assert time["expected"] != time["found"]
    again, plan = judge(lab.run_folder)
    assert msgspec.json.decode(msgspec.json.encode(again.classes)) == verdict["classes"]
    assert "data.grand_cents" in plain_text(again, plan.name)
    assert "data.grand_cents" in (lab.run_folder / "report.txt").read_text(encoding="utf-8")


@pytest.mark.timeout(180)
def test_what_parm_alters_is_seen_where_parm_is_the_last(command_line: CommandLine) -> None:
    """Nobody answers the terminals then; the lab has heard what PARM published, and compares it by content."""
    lab = lab_with_altering_parm(command_line, "--without", "sync_stage")
    until(lambda: terminals_beyond(lab, LAST_VICTIM, "event") == 9, "every terminal has traded its last victim")
    assert_never_converges(lab, "canonical")
    assert lab.down(status=1)["classes"]["corrupted"]["count"] > 0
