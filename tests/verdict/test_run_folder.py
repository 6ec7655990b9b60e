"""A run folder, there and back: format, versions, damage, and the files that the verdict leaves."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from fleetwire import ledger_format
from fleetwire.content import HASH_BYTES
from fleetwire.errors import SettingsError, StorageError
from fleetwire.witness import Snapshot, ViewRead, Witness
from storefleet.verdict.history import Ledger
from storefleet.verdict.journey import JOURNEY, VIEWS
from storefleet.verdict.ledger_file import read_ledger
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_folder import judge_folder, read_run
from storefleet.verdict.run_format import FinalRead, Plan, Reads
from tests.verdict.world import SOURCES, START_MS, healthy, ledger, view

ONE, TWO, _ = SOURCES
UNTIMED = [msgspec.structs.replace(view, timed=False) for view in VIEWS]
"""As an older storefleet wrote them, whose views gave no times."""


def write_ledger(path: Path, truth: Ledger) -> None:
    """Write a ledger as an emulator does."""
    with closing(sqlite3.connect(path)) as database:
        for pragma in ledger_format.PRAGMAS:
            database.execute(pragma)
        database.executescript(ledger_format.DDL)
        database.executemany(ledger_format.INSERT_META, ledger_format.META_ROWS)
        for number, (name, entries) in enumerate(truth.sources.items(), start=1):
            database.execute(ledger_format.INSERT_SOURCE, (number, name))
            for index, sequence in enumerate(entries.sequences.numbers()):
                row = (number, sequence, "transaction.retail", entries.hash_of(sequence), "2025-03-01", 100)
                expected = entries.malformed.get(sequence, "")
                database.execute(ledger_format.INSERT_EVENT, (*row, entries.times_ms[index], expected))
            for first, last in entries.applied:
                row_of_outcome = (number, first, last, "applied", "poseidon", "", START_MS)
                database.execute(ledger_format.INSERT_OUTCOME, row_of_outcome)
            for sequence, (stage, reason) in entries.rejected.items():
                row_of_outcome = (number, sequence, sequence, "rejected", stage, reason, START_MS)
                database.execute(ledger_format.INSERT_OUTCOME, row_of_outcome)
            for sequence, attempts in entries.attempts.items():
                for attempt in range(2, attempts + 1):
                    database.execute(ledger_format.INSERT_ATTEMPT, (number, sequence, attempt, START_MS))
            for kind, planted in (("repeat", entries.repeats), ("conflict", entries.conflicts)):
                for sequence in planted:
                    database.execute(ledger_format.INSERT_PLANTED, (number, sequence, kind, START_MS))
            database.execute(ledger_format.PUT_REGISTER, (number, 1, "birth", 2, 3, START_MS))
        database.commit()


def write_run(folder: Path, plan: Plan | None = None) -> None:
    """Write the folder of a healthy run of 30 events."""
    history = healthy()
    assert history.ledger is not None
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan or Plan(name="healthy", seed=7, views=UNTIMED)))
    write_ledger(folder / "ledger.sqlite", history.ledger)
    with (folder / "witnesses.jsonl").open("wb") as lines:
        for step in JOURNEY:
            witness = Witness()
            for source, entries in history.ledger.sources.items():
                for sequence in entries.sequences.numbers() if step.witnessed else ():
                    witness.take(source, sequence)
                    witness.hand_on(source, sequence)
            snapshot = witness.snapshot(step.stage, 1, 1, full=True, loop_stall_ms=0.0)
            lines.write(msgspec.json.encode(snapshot) + b"\n")
        lines.write(b'{"stage": "torn')
    (folder / "reads.json").write_bytes(msgspec.json.encode(reads()))


def reads() -> Reads:
    """The final reads of a healthy run."""
    result = Reads()
    for record in healthy().views:
        assert record.read_at_ms is not None
        result.views[record.view] = FinalRead(
            at_ms=record.read_at_ms,
            healed_at_ms=record.healed_at_ms,
            converged_at_ms=record.converged_at_ms,
            events=record.read,
            registers=record.registers_found,
            registers_expected=record.registers_expected,
        )
    days = [("bagel.east.s0002", "2025-03-01", 10, 1000), ("taco.west.s0001", "2025-03-01", 20, 2000)]
    result.views["sales"].totals = days
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with a space and a non-ASCII letter in its path."""
    result = tmp_path / "Läufe von heute" / "run"
    result.mkdir(parents=True)
    write_run(result)
    return result


def test_ledger_round_trip(tmp_path: Path) -> None:
    """Everything that an emulator writes into a ledger comes back."""
    truth = ledger(5)
    entries = truth.source(ONE)
    entries.malformed = {2: "totals"}
    entries.rejected = {2: ("parm", "totals"), 3: ("sync_stage", "key_conflict")}
    entries.attempts, entries.resent_ms = {4: 3}, {4: START_MS}
    entries.repeats, entries.conflicts = {5}, {3}
    write_ledger(tmp_path / "ledger.sqlite", truth)
    found = read_ledger(tmp_path / "ledger.sqlite")
    assert found.sources == truth.sources
    assert (found.types, found.days) == (["transaction.retail"], ["2025-03-01"])
    assert (found.registers[ONE].boot, found.registers[ONE].online) == (2, True)


def test_healthy_folder_is_valid_and_leaves_its_verdict(folder: Path) -> None:
    """A run folder alone, offline, gives the verdict and leaves it as JSON, JUnit XML and text."""
    verdict = judge_folder(folder)
    assert (verdict.validity, verdict.unknown) == ("valid", [])
    assert verdict.counts["ok"] == 30
    assert msgspec.json.decode((folder / "verdict.json").read_bytes(), type=Verdict) == verdict
    suite = ElementTree.fromstring((folder / "junit.xml").read_bytes())
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("21", "0", "0")
    report = (folder / "report.txt").read_text()
    assert report.startswith("VALID")
    assert "30 events were sent" in report


def test_loss_in_a_folder_is_reported_with_its_hop(folder: Path) -> None:
    """A document missing in the final reads shows as a failure in every file, with the stage to blame."""
    spoiled = reads()
    for name in ("gateway", "sales"):
        events = spoiled.views[name].events
        assert events is not None
        del events[TWO]
    (folder / "reads.json").write_bytes(msgspec.json.encode(spoiled))
    verdict = judge_folder(folder)
    assert (verdict.validity, verdict.counts["lost"]) == ("invalid", 10)
    assert [account.places for account in verdict.places] == [["gateway"]]
    assert ElementTree.fromstring((folder / "junit.xml").read_bytes()).find(".//failure[@type='lost']") is not None
    report = (folder / "report.txt").read_text()
    assert "10 of 30 events missing, although acknowledged as applied" in report
    assert f"{TWO}.1" in report


def test_torn_last_witness_does_not_matter(folder: Path) -> None:
    """A line that the killed lab left half written is skipped, the others count."""
    history, plan = read_run(folder)
    assert plan.seed == 7
    assert history.stages[2].taken[ONE].to_list() == [(1, 10)]
    assert history.notes == []


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ("ledger.sqlite", "ledger_missing"),
        ("witnesses.jsonl", "witnesses_missing"),
        ("reads.json", "no_final_read"),
    ],
)
def test_missing_file_makes_it_unknown(folder: Path, missing: str, code: str) -> None:
    """A ledger, witnesses or final reads that were not recorded make the verdict unknown, never valid."""
    (folder / missing).unlink()
    verdict = judge_folder(folder)
    assert code in [entry.code for entry in verdict.unknown]
    assert verdict.validity == "unknown"


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough", b""])
def test_damaged_ledger(folder: Path, damage: bytes) -> None:
    """A ledger that SQLite cannot read is a StorageError, and makes the verdict unknown."""
    (folder / "ledger.sqlite").write_bytes(damage)
    with pytest.raises(StorageError):
        read_ledger(folder / "ledger.sqlite")
    verdict = judge_folder(folder)
    assert "ledger_unreadable" in [entry.code for entry in verdict.unknown]


def test_damaged_reads(folder: Path) -> None:
    """Final reads that are no JSON make the verdict unknown."""
    (folder / "reads.json").write_bytes(b"{")
    assert "read_broken" in [entry.code for entry in judge_folder(folder).unknown]


def test_dead_stage_of_the_plan(folder: Path) -> None:
    """A stage that the plan says was dead at the end makes the verdict unknown."""
    plan = Plan(name="dead", dead_stages=["poseidon"], views=UNTIMED)
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    assert [entry.code for entry in judge_folder(folder).unknown] == ["stage_dead"]


@pytest.mark.parametrize(("name", "version"), [("plan.json", 3), ("reads.json", 2), ("ledger.sqlite", 2)])
def test_newer_format_is_refused_in_one_line(folder: Path, name: str, version: int) -> None:
    """A file of a newer format version is refused before anything of it is believed."""
    if name == "ledger.sqlite":
        with closing(sqlite3.connect(folder / name)) as database:
            database.execute(ledger_format.INSERT_META, ("version", str(version)))
            database.commit()
    else:
        content = msgspec.json.decode((folder / name).read_bytes())
        content["version"] = version
        content["views"] = "of another shape"
        (folder / name).write_bytes(msgspec.json.encode(content))
    with pytest.raises(SettingsError, match=f"format version {version}") as caught:
        judge_folder(folder)
    assert "\n" not in str(caught.value)


def test_no_run_folder(tmp_path: Path) -> None:
    """A folder without a plan, a plan that is none, and a path that cannot be read are one-line errors."""
    with pytest.raises(SettingsError, match="is no run folder"):
        judge_folder(tmp_path)
    (tmp_path / "plan.json").write_bytes(b"[]")
    with pytest.raises(SettingsError, match="cannot be read"):
        judge_folder(tmp_path)
    (tmp_path / "plan.json").write_bytes(b'{"format": "something-else", "version": 1}')
    with pytest.raises(SettingsError, match="something-else"):
        judge_folder(tmp_path)
    (tmp_path / "plan.json").unlink()
    (tmp_path / "plan.json").mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        judge_folder(tmp_path)


def test_new_incarnation_that_forgot_is_undecided(folder: Path) -> None:
    """Where a stage came back without its memory, what was committed before its first word is undecided."""
    witness = Witness()
    witness.take(ONE, 10)
    snapshot = witness.snapshot("sync_stage", 1, 2, full=True, loop_stall_ms=0.0)
    with (folder / "witnesses.jsonl").open("ab") as lines:
        lines.write(b"\n" + msgspec.json.encode(snapshot) + b"\n")
    history, _ = read_run(folder)
    stages = {stage.step: stage for stage in history.stages}
    assert stages["sync_stage"].undecided_until_ms == snapshot.at_ms
    assert stages["gateway"].undecided_until_ms == 0
    assert stages["sync_stage"].taken[ONE].to_list() == [(1, 10)]


def write_delay(folder: Path, late: set[str], *, unnoted: int = 0) -> None:
    """Write witnesses by which some stages took four events of each source later than the deadline allows."""
    with (folder / "witnesses.jsonl").open("wb") as lines:
        for second in (21, 32, 36):
            for step in JOURNEY:
                upto = 6 if step.stage in late and second < 36 else 10
                sets = {source: [(1, upto)] for source in SOURCES}
                snapshot = Snapshot(stage=step.stage, instance=1, incarnation=1, at_ms=START_MS + second * 1000)
                snapshot.taken, snapshot.handed_on = (sets, sets) if step.witnessed else ({}, {})
                snapshot.unnoted_total = unnoted if step.stage in late else 0
                lines.write(msgspec.json.encode(snapshot) + b"\n")


@pytest.mark.parametrize("delayed", ["sync_stage", "views"])
def test_delay_in_a_folder_is_stale_with_its_hop(folder: Path, delayed: str) -> None:
    """Reports over time that lack an event beyond the deadline prove it late, between the right stages."""
    late = {"sync_stage": {"sync_stage", "gateway", "poseidon", "views"}, "views": {"views"}}[delayed]
    write_delay(folder, late)
    verdict = judge_folder(folder)
    assert (verdict.counts["stale"], verdict.counts["ok"]) == (12, 18)
    expected = {"sync_stage": ["broker", "sync-broker"], "views": ["views-gateway"]}[delayed]
    assert [account.places for account in verdict.places] == [expected]
    assert {entry.code for entry in verdict.invalid} == {"stale"}


def test_a_full_witness_accuses_nobody(folder: Path) -> None:
    """What it did not note is neither late nor unconverged nor lost in that stage; the verdict is unknown and says why."""
    write_delay(folder, {"views"}, unnoted=7)
    content = reads()
    content.views["sales"].converged_at_ms = None
    content.views["sales"].at_ms = START_MS + 60_000
    (folder / "reads.json").write_bytes(msgspec.json.encode(content))
    verdict = judge_folder(folder)
    assert (verdict.counts["stale"], verdict.invalid) == (0, [])
    assert [(entry.code, entry.detail) for entry in verdict.unknown] == [
        ("witness_full", "views: 7 things were not noted"),
        ("convergence_unmeasured", "sales"),
    ]


def test_a_loss_behind_a_full_witness_has_a_wider_span(folder: Path) -> None:
    """Whether the event came to the stage is not known, so its hop is blamed together with the stage behind."""
    write_delay(folder, {"poseidon"}, unnoted=1)
    witnesses = folder / "witnesses.jsonl"
    told = witnesses.read_bytes().splitlines(keepends=True)
    witnesses.write_bytes(b"".join(line for line in told if b'"poseidon"' not in line or b"[1,6]" in line))
    content = reads()
    orders = content.views["orders"].events
    assert orders is not None
    orders[ONE] = ViewRead(intervals=[(1, 9)], hashes=orders[ONE].hashes[: 9 * HASH_BYTES])
    (folder / "reads.json").write_bytes(msgspec.json.encode(content))
    verdict = judge_folder(folder)
    assert verdict.counts["lost"] == 1
    assert [account.places for account in verdict.places if account.what == "lost"] == [
        ["poseidon-gateway", "poseidon"]
    ]


def test_views_of_a_folder_carry_their_deadlines(folder: Path) -> None:
    """A deadline of the plan holds for every view that has none of its own."""
    plan = Plan(deadline_s=5.0, deadlines_s={"sales": 1.0})
    (folder / "plan.json").write_bytes(msgspec.json.encode(plan))
    history, _ = read_run(folder)
    assert (view(history, "sales").deadline_s, view(history, "orders").deadline_s) == (1.0, 5.0)
    assert [entry.code for entry in judge_folder(folder).invalid] == ["late"]
