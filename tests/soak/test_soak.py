"""A short soak of a real lab by the real command, with a seed of its own every time; the seed is printed."""

from __future__ import annotations

import json
import subprocess
import sys

from storefleet.soak.schedule import schedule
from tests.lab.command_line import CommandLine

MINUTES = 0.3
LONGEST_PAUSE_S = 4.0
TIMEOUT_S = 90.0


def soak(command_line: CommandLine, *options: object, status: int = 0) -> tuple[str, dict[str, object]]:
    """Run it; returns what it said, and ``soak.json``."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "storefleet.soak", "--stores", "4", "--rate", "40/s",
         "--longest-pause", str(LONGEST_PAUSE_S), *map(str, options)],
        cwd=command_line.folder, env=command_line.environment, capture_output=True, text=True, check=False,
        timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    print(done.stdout, done.stderr)
    assert done.returncode == status
    return done.stdout, json.loads((command_line.run_folders()[-1] / "soak.json").read_text(encoding="utf-8"))


def test_a_lab_whose_processes_suffer_at_random_converges_in_time_and_stays_valid(command_line: CommandLine) -> None:
    """Schedules of a new seed for a fixed time: nothing lost or doubled, every view within 10 s, nothing left running."""
    said, found = soak(command_line, "--minutes", MINUTES)
    assert f"--seed {found['seed']} --from 0" in said
    played = found["schedules"]
    assert isinstance(played, list)
    assert played
    for index, one in enumerate(played):
        steps = schedule(int(str(found["seed"])), index, longest_pause_s=LONGEST_PAUSE_S)
        assert [step["process"] for step in one["steps"]] == [step.process for step in steps]
        assert set(one["converged_ms"]) > {"fleet", "orders", "sales", "store_board", "device_inventory", "gateway"}
    assert found["validity"] == "valid"
    assert found["failures"] == []
    command_line.until_nothing_is_left(within_s=20.0)


def test_one_schedule_can_be_played_again_alone(command_line: CommandLine) -> None:
    """``--from INDEX --schedules 1`` plays that one; figures of every process stand in the file."""
    said, found = soak(command_line, "--seed", 1, "--from", 3, "--schedules", 1)
    (step, *_) = schedule(1, 3, longest_pause_s=LONGEST_PAUSE_S)
    assert f"schedule 3: {step}" in said
    growth = found["growth"]
    assert isinstance(growth, list)
    assert {row["process"] for row in growth} == set(dict(found["hits"]))  # type: ignore[call-overload]
