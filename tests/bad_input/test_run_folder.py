"""A folder that is no run folder is refused in one line; one that merely lacks records gives an unknown verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storefleet.verdict.run_format import Plan
from tests.bad_input.refusal import refusal
from tests.lab.command_line import CommandLine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder, to be filled by the test."""
    made = tmp_path / "a run"
    made.mkdir()
    return made


def test_what_is_no_run_folder(command_line: CommandLine, folder: Path) -> None:
    """Missing, empty, or a file: the path is named, and what a run folder is called."""
    for path, word in ((folder, "has no plan.json"), (folder / "gone", "has no plan.json")):
        line = refusal(command_line, "verdict", path)
        assert str(path) in line
        assert word in line
    (folder / "note.txt").write_text("", encoding="utf-8")
    assert "is a file, no run folder" in refusal(command_line, "verdict", folder / "note.txt")


def test_no_run_folder_named_and_none_there(command_line: CommandLine) -> None:
    """Without an argument and without runs there is nothing to judge, and the line says where it looked."""
    assert "no run folder in ./runs" in refusal(command_line, "verdict")


@pytest.mark.parametrize(
    ("plan", "word"),
    [
        pytest.param(b"{", "cannot be read", id="torn"),
        pytest.param(b"\xff\xfe", "cannot be read", id="binary"),
        pytest.param(b"[]", "cannot be read", id="no object"),
        pytest.param(b'{"format": "something", "version": 1}', "has format 'something'", id="other format"),
        pytest.param(b"{}", "has format ''", id="no format"),
    ],
)
def test_a_broken_plan(command_line: CommandLine, folder: Path, plan: bytes, word: str) -> None:
    """A plan that cannot be read is named with its fault."""
    (folder / "plan.json").write_bytes(plan)
    line = refusal(command_line, "verdict", folder)
    assert "plan.json" in line
    assert word in line


def test_a_plan_that_is_a_folder(command_line: CommandLine, folder: Path) -> None:
    """Even a folder in the plan's place gives one line."""
    (folder / "plan.json").mkdir()
    assert "cannot be read" in refusal(command_line, "verdict", folder)


def test_a_newer_format(command_line: CommandLine, folder: Path) -> None:
    """A newer format is refused before it is read, with the advice to use a newer storefleet."""
    (folder / "plan.json").write_text(json.dumps({"format": Plan(name="x").format, "version": 99}), encoding="utf-8")
    line = refusal(command_line, "verdict", folder)
    assert "format version 99" in line
    assert "newer" in line


def test_a_run_without_a_ledger_is_unknown(command_line: CommandLine) -> None:
    """Take the ledger away from a valid run: offline, the verdict is unknown with that reason, exit status 3."""
    lab = command_line.up(stores=2)
    lab.wait_for_trade(total=10)
    assert lab.down()["validity"] == "valid"
    (lab.run_folder / "ledger.sqlite").unlink()
    verdict = command_line.json("verdict", lab.run_folder, status=3)
    assert verdict["validity"] == "unknown"
    assert "ledger_missing" in json.dumps(verdict)
    (lab.run_folder / "ledger.sqlite").write_bytes(b"this is no database")
    verdict = command_line.json("verdict", lab.run_folder, status=3)
    assert "ledger_unreadable" in json.dumps(verdict)
