"""``storefleet trace`` on a run folder made by hand: rows, outcome, JSON, and the keys of which there is nothing to tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from fleetwire.identity import Key
from fleetwire.witness import Step
from storefleet.recorded_journey import JourneyRow, Outcome, recorded_journey
from storefleet.verdict.ledger_entries import Told
from tests.lab.command_line import CommandLine
from tests.verdict.seen_run import ONE, TWO, SeenRun, at, held
from tests.verdict.world import START_MS

KEY = Key(ONE, 3)


@pytest.fixture
def run(tmp_path: Path) -> SeenRun:
    """A run of which ledger, witnesses, reads and journeys tell; its sync stage is somebody else's."""
    made = SeenRun(tmp_path)
    made.foreign("sync_stage")
    made.write_plan()
    made.write_ledger()
    made.report("emulator", 3.9, {ONE: [(1, 4)]}, number=1)
    made.report("parm", 3.9, {ONE: [(1, 4)]}, number=1, instance=2)
    made.write_reads({"gateway": held({3: 3.2})})
    made.write_journeys({"parm-1": {f"{ONE}.9": Step(taken_ms=at(9.1), did="canonical")}})
    return made


def test_an_early_event(run: SeenRun) -> None:
    """It has a row for every step, and its outcome; no ring remembers it."""
    journey = recorded_journey(run.folder, str(KEY))
    assert (journey.key, journey.steps) == (str(KEY), {})
    assert [(row.step, row.foreign, row.sighting.at_ms - START_MS if row.sighting else 0) for row in journey.rows] == [
        ("emulator", False, 3_000),
        ("broker-raw", False, 3_200),
        ("parm", False, 3_200),
        ("broker-canonical", False, 3_200),
        ("sync_stage", True, 3_200),
        ("gateway", False, 3_200),
        ("poseidon", False, 0),
        ("views", False, 0),
    ]
    applied = Told(verdict="applied", stage="poseidon", at_ms=START_MS)
    assert journey.outcome == Outcome(ledger=True, terminal=True, committed=True, sent=1, told=[applied])


def test_a_late_event_and_the_newest_one(run: SeenRun) -> None:
    """What a ring remembers is told as it is; without a key it is the event of the newest outcome."""
    assert recorded_journey(run.folder, f"{ONE}.9").steps == {"parm-1": Step(taken_ms=at(9.1), did="canonical")}
    assert recorded_journey(run.folder, None).key == "bagel.east.s0002.r01.10"
    run.folder.joinpath("ledger.sqlite").unlink()
    with pytest.raises(SettingsError, match="no event of this run has an outcome"):
        recorded_journey(run.folder, None)


def test_a_folder_without_a_plan_or_with_a_broken_one(run: SeenRun) -> None:
    """Nobody knows the steps of such a run."""
    run.plan.steps = run.plan.steps[::-1]
    run.write_plan()
    with pytest.raises(SettingsError, match="comes after"):
        recorded_journey(run.folder, str(KEY))
    run.folder.joinpath("plan.json").unlink()
    with pytest.raises(SettingsError, match="is no run folder"):
        recorded_journey(run.folder, str(KEY))


def test_nobody_has_seen_it(run: SeenRun) -> None:
    """Every row is there, and no sighting."""
    journey = recorded_journey(run.folder, f"{TWO}.11")
    assert journey.rows == [
        JourneyRow(step=step.step, stage=step.stage, foreign=step.foreign) for step in run.plan.steps
    ]
    assert journey.outcome == Outcome(ledger=True, terminal=True, committed=False)


def test_the_command(run: SeenRun, tmp_path: Path) -> None:
    """A table and a line of what became of it; the same as values; one line and status 3 for what nobody knows."""
    command_line = CommandLine(tmp_path)
    shown = command_line.run("trace", KEY, "--run", run.folder).stdout
    assert "sync stage (yours)" in shown
    assert "by 22:13:23.200" in shown
    assert shown.count("not seen") == 2
    assert shown.splitlines()[-1] == "applied, told 22:13:20.000"
    said = command_line.json("trace", KEY, "--run", run.folder)
    assert said.keys() == {"key", "steps", "rows", "outcome"}
    assert said["rows"][2]["sighting"]["evidence"] == "witness"
    for key, why in ((f"{ONE}.11", "its terminal has not committed it"), ("taco.west.s0999.r01.1", "no terminal of")):
        said = command_line.run("trace", key, "--run", run.folder, status=3).stderr
        assert len(said.splitlines()) == 1
        assert f"nobody has seen {key}" in said
        assert why in said
