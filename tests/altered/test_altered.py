"""An event altered on the way, in a real lab: found by value, with both bodies side by side."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from storefleet.verdict.run_folder import judge
from storefleet.verdict.table import plain_text
from tests.lab.command_line import REPOSITORY, SHORT_DRAIN, CommandLine, Lab

FLEET = REPOSITORY / "examples" / "one_brand.toml"
TERMINALS = 9
EVENTS_EACH = 10
"""One more than the number of the last victim."""


def traded_lab(command_line: CommandLine, *options: str) -> Lab:
    """Nine terminals of the brand that the example PARM can read; all victims, and one more event each, are sold."""
    fleet = command_line.folder / "fleet.toml"
    text = FLEET.read_text(encoding="utf-8")
    fleet.write_text(text.replace("stores = 8", "stores = 3"), encoding="utf-8")
    command = shlex.join([sys.executable, str(Path(__file__).with_name("altering_parm.py"))])
    lab = command_line.up("--fleet", fleet, "--stage", f"parm={command}", "--drain", SHORT_DRAIN, *options, rate="0/s")
    lab.burst(TERMINALS * EVENTS_EACH)
    return lab


def fields_by_kind(verdict: dict[str, Any]) -> dict[int, list[list[dict[str, str]]]]:
    """The differing fields of every example, by the way in which it was altered."""
    result: dict[int, list[list[dict[str, str]]]] = {0: [], 1: [], 2: []}
    for example in verdict["classes"]["corrupted"]["examples"]:
        result[int(example["name"].rpartition(".")[2]) % 3].append(example["fields"])
    return result


@pytest.mark.timeout(180)
def test_three_alterations_are_shown_field_by_field(command_line: CommandLine) -> None:
    """A total off by a cent, two swapped lines and a time in the wrong zone: corrupted, with both values by path."""
    lab = traded_lab(command_line)
    lab.until_unresolved()
    lab.until_refused(*(rf"\b{view}\b[^;]* other content in \d sources?" for view in ("gateway", "orders", "sales")))
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
    lab = traded_lab(command_line, "--without", "sync_stage")
    lab.until_refused(r"\bcanonical\b[^;]* other content in \d sources?")
    assert lab.down(status=1)["classes"]["corrupted"]["count"] > 0
