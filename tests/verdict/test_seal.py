"""What of a sealed run folder is not as its run left it is told by name; whatever reads the folder breaks no seal."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from storefleet.selftest.made_run import make_run
from storefleet.verdict import sealing
from storefleet.verdict.result import Verdict
from storefleet.verdict.run_folder import judge

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sealed run of 60 events."""
    folder = tmp_path_factory.mktemp("sealed") / "run"
    make_run(folder, events=60, sources=6)
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it that may be spoiled."""
    return Path(shutil.copytree(made, tmp_path / "run"))


def amended(name: str, change: Callable[[Any], object]) -> Change:
    """A change of what a JSON file of the run says."""

    def apply(folder: Path) -> None:
        values = json.loads((folder / name).read_bytes())
        change(values)
        (folder / name).write_text(json.dumps(values), encoding="utf-8")

    return apply


def edited(*statements: str) -> Change:
    """A change of the ledger."""

    def apply(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as ledger:
            for statement in statements:
                assert ledger.execute(statement).rowcount > 0

    return apply


def of_another_run(name: str) -> Change:
    """A file of a run of other events."""

    def apply(folder: Path) -> None:
        make_run(folder / "other", events=66, sources=6)
        shutil.copy(folder / "other" / name, folder)

    return apply


def replaced(name: str, old: bytes, new: bytes) -> Change:
    """Other bytes in the place of the first of these."""

    def apply(folder: Path) -> None:
        content = (folder / name).read_bytes()
        assert old in content
        (folder / name).write_bytes(content.replace(old, new, 1))

    return apply


def without_view(plan: dict[str, Any]) -> None:
    """The sales are no view of the run."""
    plan["views"] = [view for view in plan["views"] if view["view"] != "sales"]


def details(verdict: Verdict, code: str) -> str:
    """What an unknown verdict says under a code."""
    return "\n".join(reason.detail for reason in verdict.unknown if reason.code == code)


PLANTED = "INSERT INTO planted SELECT source, sequence, 'conflict', 0 FROM event"
FORGED = "INSERT INTO attempt SELECT source, sequence, 2, 0 FROM event"
CHANGES: dict[str, tuple[Change, str]] = {
    "all outcomes": (edited("DELETE FROM outcome"), "table outcome has 0 rows for 6"),
    "some outcomes": (edited("DELETE FROM outcome WHERE source < 3"), "table outcome has 4 rows for 6"),
    "an outcome, edited": (edited("UPDATE outcome SET last = 9"), "table outcome has as many rows, 6, but others"),
    "plants": (edited(PLANTED), "table planted has 60 rows for 0"),
    "attempts": (edited(FORGED), "table attempt has 60 rows for 0"),
    "a time": (edited("UPDATE event SET committed_at_ms = committed_at_ms - 1 WHERE rowid = 7"), "table event"),
    "an effect": (edited("UPDATE event SET effect = NULL WHERE rowid = 7"), "table event"),
    "a reason": (edited("UPDATE event SET expected_reason = 'totals' WHERE rowid = 7"), "table event"),
    "a register": (edited("UPDATE register SET online = 0 WHERE source = 1"), "table register"),
    "a name": (edited("UPDATE source SET id = 'taco.west.s0099.r01' WHERE number = 1"), "table source"),
    "another ledger": (of_another_run("ledger.sqlite"), "table event has 66 rows for 60"),
    "a ledger of another time": (
        edited("INSERT INTO meta VALUES ('created_at_ms', '7')"),
        "ledger.sqlite is another run's: created at 7, not at no time",
    ),
    "other reads": (of_another_run("reads.json"), "reads.json is not the one that this run left"),
    "other letters": (replaced("letters.jsonl", b"begun_at_ms", b"begun_at_Ms"), "as many bytes, 100, but others"),
    "no letters": (lambda folder: (folder / "letters.jsonl").unlink(), "letters.jsonl is gone: 100 bytes"),
    "a log": (lambda folder: (folder / "log.jsonl").write_bytes(b"{}"), "log.jsonl was not there when the run ended"),
    "a witness edited": (replaced("witnesses.jsonl", b"taken_total", b"Taken_total"), "witnesses.jsonl is not"),
    "a view": (amended("plan.json", without_view), "plan.json is not the one that this run left: views"),
    "letters not expected": (amended("plan.json", lambda plan: plan.pop("letters")), "this run left: letters"),
    "the mark": (amended("plan.json", lambda plan: plan.pop("sealed_at_end")), "this run left: sealed_at_end"),
    "another seal": (amended("plan.json", lambda plan: plan["seal"].update(run="other")), "the seal is of run 'other'"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_not_as_the_run_left_it(folder: Path, kind: str) -> None:
    """The verdict is not valid, and says which file or table differs and how."""
    change, what = CHANGES[kind]
    change(folder)
    verdict, _ = judge(folder)
    assert verdict.validity != "valid"
    assert what in details(verdict, "seal_broken")


def test_a_seal_that_is_taken_away(folder: Path) -> None:
    """A run that seals its folder and was read at its end has a seal."""
    amended("plan.json", lambda plan: plan.pop("seal"))(folder)
    verdict, _ = judge(folder)
    assert [reason.code for reason in verdict.unknown] == ["never_sealed"]


def test_an_older_run_needs_none(folder: Path) -> None:
    """What an older storefleet has recorded is judged as ever."""
    amended("plan.json", lambda plan: [plan.pop(key) for key in ("seal", "sealed_at_end")])(folder)
    assert judge(folder)[0].validity == "valid"


def test_a_swapped_file_stays_invalid_and_is_named(folder: Path) -> None:
    """Loss is not excused by a broken seal; it stands beside it."""
    of_another_run("ledger.sqlite")(folder)
    verdict, _ = judge(folder)
    assert verdict.validity == "invalid"
    assert details(verdict, "seal_broken")


def test_reading_breaks_no_seal(folder: Path) -> None:
    """The plan laid out otherwise, the ledger's write-ahead log moved into its file: nothing else is said there."""
    amended("plan.json", lambda plan: plan.update(dict(reversed(plan.items()))))(folder)
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as ledger:
        ledger.execute("PRAGMA journal_mode = DELETE")
        ledger.execute("PRAGMA page_size = 8192")
        ledger.execute("VACUUM")
    assert judge(folder)[0].validity == "valid"


def test_a_large_file_is_sealed_by_blocks_all_over_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cut out or put in, at the beginning or at the end, is found, and an edit in the first or last block."""
    monkeypatch.setattr(sealing, "WHOLE_BYTES", 256)
    monkeypatch.setattr(sealing, "BLOCK_BYTES", 64)
    path = folder / "witnesses.jsonl"
    content = path.read_bytes()
    assert len(content) > 1_000
    marks = set()
    for one in (content, content[:-1] + b" ", b" " + content[1:], content[9:], content + b"\n"):
        path.write_bytes(one)
        marks.add(sealing._file_mark(path))
    assert len(marks) == 5


def test_rows_that_are_missing_without_a_seal(folder: Path) -> None:
    """Nothing is ever deleted from the ledger's logs, so that a row that is missing is known by the newest one."""
    edited("DELETE FROM outcome WHERE source = 2")(folder)
    amended("plan.json", lambda plan: [plan.pop(key) for key in ("seal", "sealed_at_end")])(folder)
    verdict, _ = judge(folder)
    assert verdict.validity == "unknown"
    assert "5 rows of outcome, the newest is 6" in details(verdict, "evidence_missing")
    edited("DELETE FROM outcome")(folder)
    verdict, _ = judge(folder)
    assert details(verdict, "evidence_missing") == "the ledger's newest outcome is row 0; it had 6"


def test_an_effect_that_is_missing(folder: Path) -> None:
    """A ledger that says what some events of a terminal do, and not what others do, proves no view right."""
    edited("UPDATE event SET effect = NULL WHERE source = 2 AND sequence = 3")(folder)
    verdict, _ = judge(folder)
    assert "does not say what 1 of 10 events of taco.north.s0001.r02 do" in details(verdict, "evidence_missing")
    edited("UPDATE event SET effect = NULL")(folder)
    assert "events of" not in details(judge(folder)[0], "evidence_missing")  # an older emulator


def test_a_report_that_comes_after_the_end(folder: Path) -> None:
    """One report an hour ahead is the one that cannot be; those of the other stages do not end early for it."""
    path = folder / "witnesses.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    last = next(line for line in reversed(lines) if line.get("stage") == "views")
    last["at_ms"] += 3_600_000
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    verdict, _ = judge(folder)
    assert verdict.validity == "unknown"
    found = [line for line in details(verdict, "evidence_missing").splitlines() if "report" in line]
    assert len(found) == 1
    assert found[0].startswith("a report of views is of 3,601.0 s after")
