"""A live run's folder from which evidence was taken away, or into which foreign evidence was put, is never valid."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.lab.command_line import CommandLine, until

Change = Callable[[Path], object]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CommandLine, Path, Path]]:
    """Two valid runs of a small lab, the first of them of ten seconds and more."""
    command = CommandLine(tmp_path_factory.mktemp("recorded"))
    first, second = (_run(command, name, seconds) for name, seconds in (("first", 10), ("second", 2)))
    yield command, first, second
    command.end_leftovers()


def _run(command: CommandLine, name: str, seconds: int) -> Path:
    """The folder of a run that lasted so long at least."""
    lab = command.up("--keep", "all", name=name, stores=2)
    lab.wait_for_trade(total=60)
    until(lambda: lab.status()["picture"]["elapsed_s"] > seconds, "it has run for a while")
    command.run("down", "--name", lab.name)
    return lab.run_folder


def amended(name: str, change: Callable[[Any], object]) -> Change:
    """A change of what a JSON file of the run says."""

    def apply(folder: Path) -> None:
        values = json.loads((folder / name).read_text(encoding="utf-8"))
        change(values)
        (folder / name).write_text(json.dumps(values), encoding="utf-8")

    return apply


def of_views(change: Callable[[dict[str, Any]], object]) -> Change:
    """A change of the final reads, by view."""
    return amended("reads.json", lambda reads: change(reads["views"]))


def without_hashes(view: dict[str, Any], *, sources: int) -> None:
    """So many sources of a view have no hashes any more."""
    for source in sorted(view["events"])[:sources]:
        view["events"][source]["hashes"] = ""


def without_times(views: dict[str, Any]) -> None:
    """The gateway does not say of one source when it stored its documents."""
    views["gateway"]["events"][min(views["gateway"]["events"])]["applied_at_ms"] = ""


def without_registers(views: dict[str, Any]) -> None:
    """A view of registers shows nothing, and nothing is expected of it."""
    views["store_board"].update(registers={}, registers_expected={}, registers_changed_ms={})


def total_twice(views: dict[str, Any]) -> None:
    """A row of the totals is there a second time."""
    views["sales"]["totals"].append(views["sales"]["totals"][0])


def edited(statement: str) -> Change:
    """A change of the ledger."""

    def apply(folder: Path) -> None:
        with closing(sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)) as ledger:
            assert ledger.execute(statement).rowcount > 0

    return apply


def ends_early(folder: Path) -> None:
    """The last eight seconds of the witnesses are not there."""
    path = folder / "witnesses.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    times_ms = [json.loads(line).get("at_ms", 0) for line in lines]
    kept = [line for line, at_ms in zip(lines, times_ms, strict=True) if at_ms < max(times_ms) - 8_000]
    assert 0 < len(kept) < len(lines)
    path.write_text("".join(kept), encoding="utf-8")


LAST = "(SELECT source, max(sequence) FROM event GROUP BY source LIMIT 1)"
CHANGES: dict[str, tuple[Change, str]] = {
    "hashes of one source": (of_views(lambda views: without_hashes(views["orders"], sources=1)), "evidence_missing"),
    "all hashes": (of_views(lambda views: without_hashes(views["gateway"], sources=99)), "evidence_missing"),
    "times of one source": (of_views(without_times), "evidence_missing"),
    "commits behind what was applied": (
        edited("UPDATE event SET committed_at_ms = committed_at_ms + 100000"),
        "times_contradict",
    ),
    "totals": (of_views(lambda views: views["sales"].pop("totals")), "evidence_missing"),
    "registers and what they must be": (of_views(without_registers), "evidence_missing"),
    "an empty file of witnesses": (lambda folder: (folder / "witnesses.jsonl").write_bytes(b""), "evidence_missing"),
    "the end of the witnesses": (ends_early, "evidence_missing"),
    "a row of totals twice": (of_views(total_twice), "read_broken"),
    "a rejection of what nobody committed": (
        edited("INSERT INTO outcome SELECT 1, 9999, 9999, 'rejected', 'parm', 'totals', max(at_ms) FROM outcome"),
        "ledger_contradicts",
    ),
    "a hole in the ledger": (edited("DELETE FROM event WHERE sequence = 3"), "ledger_gaps"),
    "what terminals were told": (edited("DELETE FROM outcome WHERE verdict = 'applied'"), "seal_broken"),
    "the expectation of letters": (amended("plan.json", lambda plan: plan.pop("letters")), "seal_broken"),
    "the end of the ledger": (edited(f"DELETE FROM event WHERE (source, sequence) IN {LAST}"), "ledger_gaps"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_what_is_missing_makes_it_unknown(recorded: tuple[CommandLine, Path, Path], tmp_path: Path, kind: str) -> None:
    """The verdict says what is missing, and nothing is called wrong for it."""
    command, folder, _ = recorded
    change, code = CHANGES[kind]
    copy = Path(shutil.copytree(folder, tmp_path / "run"))
    change(copy)
    verdict = command.json("verdict", copy, status=3)
    assert code in {reason["code"] for reason in verdict["unknown"]}, verdict["unknown"]
    assert verdict["invalid"] == []


def test_witnesses_of_another_run_are_known_for_that(recorded: tuple[CommandLine, Path, Path], tmp_path: Path) -> None:
    """The file of another run of the same fleet proves nothing here, and the verdict says whose it is not."""
    command, folder, other = recorded
    copy = Path(shutil.copytree(folder, tmp_path / "run"))
    shutil.copy(other / "witnesses.jsonl", copy)
    verdict = command.json("verdict", copy, status=3)
    assert "witnesses_of_another_run" in {reason["code"] for reason in verdict["unknown"]}
    assert verdict["invalid"] == []
