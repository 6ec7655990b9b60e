"""The self-test on a recorded run: every anomaly is found, a checker that overlooks one is found out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleetwire.errors import SettingsError
from fleetwire.intervals import IntervalSet
from storefleet.selftest import selftest
from storefleet.selftest.command import play
from storefleet.selftest.ground import Event, Ground
from storefleet.selftest.made_run import make_run
from storefleet.selftest.plants import PLANTS
from storefleet.selftest.selftest import self_test
from storefleet.verdict.check import check
from storefleet.verdict.history import History
from storefleet.verdict.letter_file import Letter
from storefleet.verdict.result import INVALID_REASONS, UNKNOWN_REASONS, Verdict
from storefleet.verdict.run_folder import read_run
from tests.lab.command_line import CommandLine

ROUNDS = 6


def test_every_anomaly_is_found_in_a_recorded_run(recorded: tuple[CommandLine, Path]) -> None:
    """Some of every kind are planted into a real run, with and without a foreign stage: nothing else is reported."""
    command, folder = recorded
    report = command.json("selftest", folder, "--plants", ROUNDS * len(PLANTS), "--seed", 3)
    assert (report["failures"], report["impossible"], report["exit_status"]) == ([], {}, 0)
    assert report["plants"] == dict.fromkeys(PLANTS, ROUNDS)
    assert report["found"] == report["planted"] == ROUNDS * len(PLANTS)
    assert report["with_foreign_stage"] > ROUNDS


def test_every_anomaly_is_found_beside_somebody_elses_parm(recorded_foreign: tuple[CommandLine, Path]) -> None:
    """In a run with a real foreign stage without a witness every plant is found, with its span and nothing else."""
    command, folder = recorded_foreign
    history, _ = read_run(folder)
    assert [stage.step for stage in history.stages if stage.foreign] == ["parm"]
    report = command.json("selftest", folder, "--plants", ROUNDS * len(PLANTS), "--seed", 4)
    assert (report["failures"], report["exit_status"]) == ([], 0)
    assert set(report["impossible"].values()) == {"this run has no view of registers"}  # they hang on PARM's own work


def test_every_reason_is_planted() -> None:
    """No reason for invalid or unknown is without its plant."""
    kinds = " ".join(PLANTS)
    assert [code for code in UNKNOWN_REASONS if f"unknown: {code}" not in kinds] == []
    words = {"registers_differ": "register altered", "totals_differ": "total off", "late": "late view"}
    assert [code for code in INVALID_REASONS if words.get(code, code) not in kinds] == []


def test_planting_leaves_no_trace(recorded: tuple[CommandLine, Path]) -> None:
    """After all plants the history is judged as before."""
    history, _ = read_run(recorded[1])
    before = check(history)
    self_test(history, seed=5, numbers=range(2 * len(PLANTS)))
    assert check(history) == before


def overlooks_duplicates(history: History) -> Verdict:
    """A checker with a fault."""
    if not history.views:
        return check(history)
    views = []
    for view in history.views:
        read = view.read and {name: _once(one) for name, one in view.read.items()}
        views.append(replace(view, read=read))
    return check(replace(history, views=views))


def _once(read):  # type: ignore[no-untyped-def]
    import copy

    changed = copy.copy(read)
    changed.repeated = []
    return changed


def blames_nobody(history: History) -> Verdict:
    """A checker that finds everything and gives no address."""
    verdict = check(history)
    verdict.places = []
    return verdict


@pytest.mark.parametrize(
    ("faulty", "found_out_by"),
    [(overlooks_duplicates, {"duplicated"}), (blames_nobody, {"lost on the way", "stale", "corrupted in one view"})],
)
def test_a_faulty_checker_is_found_out(
    recorded: tuple[CommandLine, Path], monkeypatch: pytest.MonkeyPatch, faulty: object, found_out_by: set[str]
) -> None:
    """A checker that overlooks something fails its plants, and each failure is repeated by its number alone."""
    monkeypatch.setattr(selftest, "check", faulty)
    report = play(recorded[1], seed=3, numbers=range(len(PLANTS)))
    assert report.exit_status == 1
    assert found_out_by <= {failure.plant for failure in report.result.failures}
    first = report.result.failures[0]
    assert report.commands[0].endswith(f" --seed 3 --plant {first.number}")
    assert play(recorded[1], seed=3, numbers=[first.number]).result.failures == [first]


def test_one_plant_by_number(recorded: tuple[CommandLine, Path]) -> None:
    """The command that a failure prints plants exactly that one."""
    command, folder = recorded
    report = json.loads(command.run("selftest", folder, "--seed", 3, "--plant", 17, "--json").stdout)
    assert report["plants"] == {list(PLANTS)[17]: 1}
    assert "1 of 1 found" in command.run("selftest", folder, "--seed", 3, "--plant", 17).stdout


def test_a_made_run_is_valid_and_tested(tmp_path: Path) -> None:
    """A run that was made for measuring is valid, by its folder alone, and takes plants like a recorded one."""
    make_run(tmp_path / "made", events=1_000, sources=30)
    report = play(tmp_path / "made", seed=1, numbers=range(2 * len(PLANTS)))
    assert (report.events, report.result.failures, report.result.impossible) == (1_000, [], {})


def test_rejected_and_recovered_events_are_no_plants_surplus(tmp_path: Path) -> None:
    """In a valid run with events that were rejected as they must be, and with untold ones, every plant is found alone."""
    make_run(tmp_path / "made", events=600, sources=30)
    history, _ = read_run(tmp_path / "made")
    assert history.ledger is not None
    assert history.letters is not None
    ground = Ground(history)
    rejected, untold = IntervalSet([(7, 7)]), IntervalSet([(9, 9)])
    for name in sorted(history.ledger.sources)[:4]:
        for view in ground.event_views:
            ground.forget(view, Event(name, 7))
        entries = history.ledger.sources[name]
        entries.applied = entries.applied.difference(rejected).difference(untold)
        entries.rejected, entries.malformed = {7: ("parm", "totals")}, {7: "totals"}
        history.letters.heard.append(Letter(at_ms=1, stage="parm", reason="totals", source=name, sequence=7))
    verdict = check(history)
    assert (verdict.validity, verdict.counts["rejected"], verdict.counts["recovered"]) == ("valid", 4, 4)
    result = self_test(history, seed=1, numbers=range(5 * len(PLANTS)))
    assert (result.failures, result.impossible) == ([], {})


def test_what_cannot_be_tested_is_refused(tmp_path: Path, recorded: tuple[CommandLine, Path]) -> None:
    """No run, a run that is not valid, and a folder that is there already are each refused in one line."""
    make_run(tmp_path / "made", events=60, sources=30)
    (tmp_path / "made" / "reads.json").unlink()
    with pytest.raises(SettingsError, match=r"is unknown .*needs a valid run"):
        play(tmp_path / "made", seed=1, numbers=[1])
    with pytest.raises(SettingsError, match="cannot make the run folder"):
        make_run(tmp_path / "made", events=60, sources=30)
    with pytest.raises(SettingsError, match="every source needs one event"):
        make_run(tmp_path / "other", events=6, sources=30)
    command, _ = recorded
    assert "no run folder in ./runs" not in command.run("selftest", "--plants", 1).stderr
    empty = CommandLine(tmp_path)
    assert "no run folder in ./runs" in empty.run("selftest", status=2).stderr
