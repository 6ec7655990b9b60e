"""A running lab is steered: rate, bursts, planned closing and opening, a view that is rebuilt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.command_line import CommandLine, Lab, until


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    """``storefleet`` with a home of its own; whatever a failed test leaves running is ended."""
    command = CommandLine(tmp_path)
    yield command
    command.end_leftovers()


def test_a_lab_is_steered(command_line: CommandLine) -> None:
    """Burst, close, open, rebuild: each takes effect, and the verdict stays valid."""
    lab = command_line.up("--stores", 8, rate="20/s")
    before = lab.stage("emulator")["total"]
    command_line.run("trade", "--name", lab.name, "--burst", 500)
    until(lambda: lab.stage("emulator")["total"] >= before + 500, "the burst is traded")
    command_line.run("trade", "--name", lab.name, "--close", "*.west")
    until(lambda: _online(lab, "west") == 0, "the west is closed")
    assert _online(lab, "east") == 2
    command_line.run("trade", "--name", lab.name, "--open", "*.west", "--rate", "40/s")
    until(lambda: _online(lab, "west") == 2, "the west is open again")
    command_line.run("rebuild", "--name", lab.name, "sales")
    command_line.run("wait", "--name", lab.name, "--converged", "--timeout", "90s")
    for wrong in (("trade",), ("trade", "--close", "a.b.c.d"), ("trade", "--rate", "fast"), ("rebuild", "weather")):
        refused = command_line.run(wrong[0], "--name", lab.name, *wrong[1:], status=2)
        assert refused.stderr.count("\n") == 1, refused.stderr
    assert_nobody_is_meant(command_line, lab)
    assert lab.down()["validity"] == "valid"


def assert_nobody_is_meant(command_line: CommandLine, lab: Lab) -> None:
    """A selector that fits no store of the fleet: refused before anything is told to the lab, with the nearest word."""
    for options, said in {
        ("--close", "nix.*"): "--close 'nix.*' fits nobody: no brand 'nix'; there are taco, burger",
        ("--open", "*.wset"): "--open '*.wset' fits nobody: no region 'wset'; did you mean 'west'?",
        ("--close", "*.west.s0001"): "no store of *.west is 's0001'",
        ("--burst", "50", "--open", "*.east", "--close", "tacco"): "no brand 'tacco'; did you mean 'taco'?",
    }.items():
        before = lab.committed()
        refused = command_line.run("trade", "--name", lab.name, "--rate", "0", *options, status=2)
        assert said in refused.stderr, refused.stderr
        until(lambda before=before: lab.committed() > before, "it trades on: the rate was not told either")


def _online(lab, region: str) -> int:  # type: ignore[no-untyped-def]
    return int(lab.status()["picture"]["regions"][region][0])
