"""A run whose lab died: what can go on and what cannot, and what its record says of the time without a lab."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetwire.errors import SettingsError
from storefleet import past_run
from storefleet.past_run import find_run, go_on, open_past_run, recovery_of
from storefleet.process_journal import ProcessJournal
from storefleet.run_record import FaultRecord, RecoveryRecord, RunRecord, calm_spans
from storefleet.unfinished_runs import unfinished_run
from storefleet.verdict.journey import VIEWS
from tests.storefleet_units.plans import lab_plan

CONVERGED = {view.view: 9_000 for view in VIEWS}


def record(**values: Any) -> RunRecord:
    """The record of a run that trades since 2,000."""
    found = RunRecord(lab=lab_plan(), started_at_ms=1_000, **values)
    found.enter("starting", 1_000)
    found.enter("trading", 2_000)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The run folder of a dead lab."""
    (tmp_path / "plan.json").write_bytes(msgspec.json.encode(record()))
    (tmp_path / "ledger.sqlite").touch()
    return tmp_path


def test_a_run_goes_on(folder: Path) -> None:
    """Its record and its lab's plan are as they were written, its ports those of lab.json."""
    lab = {"hops": {"parm-broker": {"listen": "127.0.0.1:11"}}, "gateway": "http://127.0.0.1:12/fleet"}
    lab["broker"] = {"kind": "local", "address": "127.0.0.1:13"}
    (folder / "lab.json").write_text(json.dumps(lab), encoding="utf-8")
    past = open_past_run(folder)
    assert (past.record, past.record.lab) == (record(), lab_plan())
    assert past.ports == {"parm-broker": 11, "gateway": 12, "broker": 13}
    with pytest.raises(SettingsError, match="still lives"):
        open_past_run(folder)
    past.journal.close()


def test_a_run_that_ends_while_its_lock_is_awaited(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is what lies there under the lock: a lab that ended just before has judged it."""

    def locked(of: Path) -> ProcessJournal:
        (of / "reads.json").touch()
        return ProcessJournal(of)

    monkeypatch.setattr(past_run, "ProcessJournal", locked)
    with pytest.raises(SettingsError, match="has ended; its verdict stands"):
        open_past_run(folder)
    ProcessJournal(folder).close()


def test_into_a_folder_that_cannot_go_on_nothing_is_written(tmp_path: Path) -> None:
    """Whoever names another folder finds it as it was."""
    with pytest.raises(SettingsError, match="is no run folder"):
        open_past_run(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"hops": {"x": 1}}', '{"hops": {}, "broker": null}'])
def test_a_broken_description_costs_the_ports_only(folder: Path, text: str) -> None:
    """Where lab.json says nothing that can be used, any port will do."""
    (folder / "lab.json").write_text(text, encoding="utf-8")
    past = open_past_run(folder)
    assert past.ports == {}
    past.journal.close()


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("plan.json", None, "is no run folder"),
        ("plan.json", "{", "cannot be read"),
        ("plan.json", '{"format": "storefleet-run", "version": 3}', "format version 3"),
        ("plan.json", '{"format": "storefleet-run"}', "was not recorded by a lab"),
        ("ledger.sqlite", None, "has no ledger.sqlite"),
        ("reads.json", "{}", "has ended; its verdict stands"),
        ("verdict.json", "{}", "has ended; its verdict stands"),
    ],
)
def test_what_cannot_go_on(folder: Path, file: str, content: str | None, reason: str) -> None:
    """Each reason is told in one line, and the journal is not kept from the next who tries."""
    for _ in range(2):
        if content is None:
            (folder / file).unlink(missing_ok=True)
        else:
            (folder / file).write_text(content, encoding="utf-8")
        with pytest.raises(SettingsError, match=reason) as refused:
            open_past_run(folder)
        assert len(str(refused.value).splitlines()) == 1


def test_a_run_that_never_traded_needs_no_ledger(folder: Path) -> None:
    """A lab that died while it started has none yet."""
    never = RunRecord(lab=lab_plan())
    never.enter("starting", 1_000)
    (folder / "plan.json").write_bytes(msgspec.json.encode(never))
    (folder / "ledger.sqlite").unlink()
    open_past_run(folder).journal.close()


def test_the_time_without_a_lab_is_a_phase() -> None:
    """It begins when the lab was last known to live, never before what the record itself tells."""
    for known_ms, died_ms in ((5_000, 5_000), (500, 2_000), (99_000, 8_000)):
        found = record()
        assert go_on(found, known_ms=known_ms, now_ms=8_000) == 8_000 - died_ms
        spans = [(phase.name, phase.from_ms, phase.until_ms) for phase in found.phases]
        assert spans == [("starting", 1_000, 2_000), ("trading", 2_000, died_ms), ("lab gone", died_ms, 0)]


def test_open_faults_ended_with_the_lab() -> None:
    """A fault that was in force ended by itself; one that was lifted stays as it was."""
    faults = [
        FaultRecord(hop="parm-broker", name=name, type="down", attributes={}, begin_ms=2_500, end_ms=end_ms)
        for name, end_ms in (("lifted", 3_000), ("open", 0))
    ]
    found = record(faults=faults)
    go_on(found, known_ms=5_000, now_ms=8_000)
    assert [(fault.end_ms, fault.ended_by_itself) for fault in found.faults] == [(3_000, False), (8_000, True)]


def test_a_recovery_that_was_cut_answers_for_nothing() -> None:
    """Whole ones stay, and those that had had their whole time."""
    cut, whole, late = (
        RecoveryRecord(healed_ms=healed_ms, converged_ms=converged_ms)
        for healed_ms, converged_ms in ((14_000, {}), (8_000, CONVERGED), (3_000, {"orders": 4_000}))
    )
    found = record(recoveries=[late, whole, cut], deadline_s=10.0)
    go_on(found, known_ms=15_000, now_ms=18_000)
    assert found.recoveries == [late, whole]
    assert recovery_of(late, found.views).converged_ms == {"orders": 4_000}
    assert recovery_of(late, found.views).views == {view.view for view in VIEWS if not view.follows}


def test_what_was_not_written_down_is_no_recovery_that_never_came() -> None:
    """A recovery that had its time only after the record was written may have come: it answers for nothing."""
    recovery = RecoveryRecord(healed_ms=3_000, converged_ms={"orders": 4_000})
    for written_at_ms, kept in ((12_999, []), (13_000, [recovery])):
        found = record(recoveries=[recovery], deadline_s=10.0, written_at_ms=written_at_ms)
        go_on(found, known_ms=15_000, now_ms=18_000)
        assert found.recoveries == kept


def test_each_life_of_a_lab_has_its_calm() -> None:
    """It begins when the lab is up and the last fault of that life lifted, and ends with the lab."""
    found = record()
    assert calm_spans(found) == ([], 2_000)
    found.faults.append(FaultRecord(hop="h", name="a", type="down", attributes={}, begin_ms=2_500, end_ms=3_000))
    assert calm_spans(found) == ([], 3_000)
    go_on(found, known_ms=5_000, now_ms=8_000)
    assert calm_spans(found) == ([(3_000, 5_000)], None), "the next one is not up yet"
    found.enter("trading", 9_000)
    found.faults.append(FaultRecord(hop="h", name="b", type="down", attributes={}, begin_ms=9_500))
    assert calm_spans(found) == ([(3_000, 5_000)], None)
    go_on(found, known_ms=10_000, now_ms=11_000)
    found.enter("trading", 12_000)
    assert calm_spans(found) == ([(3_000, 5_000)], 12_000), "a fault that was in force to the end leaves no calm"


def test_a_run_is_named_by_its_folder_or_is_the_latest(tmp_path: Path) -> None:
    """``latest`` is the newest folder that has a plan; without any, one line says so."""
    with pytest.raises(SettingsError, match="no run folder in"):
        find_run("latest", tmp_path)
    for name in ("20270101-b", "20270101-a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "plan.json").touch()
    (tmp_path / "20270102-none").mkdir()
    assert find_run("latest", tmp_path) == tmp_path / "20270101-b"
    assert find_run("runs/x", tmp_path) == Path("runs/x")


def test_a_dead_lab_tells_its_unfinished_run(folder: Path) -> None:
    """Until there are final reads; a lab that died before it was described tells none."""
    home = folder / "home"
    home.mkdir()
    assert unfinished_run(home) is None
    (home / "lab.json").write_text(json.dumps({"run_folder": os.fspath(folder)}), encoding="utf-8")
    assert unfinished_run(home) == folder
    (folder / "reads.json").touch()
    assert unfinished_run(home) is None
