"""What a ledger says of single events: commits, sendings, what terminals were told; and rows that cannot be."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fleetwire import ledger_format
from fleetwire.identity import Key
from storefleet.verdict.ledger_entries import TOLD_LIMIT, LedgerEntries, LedgerEntry, Told, ledger_entries
from tests.verdict.test_run_folder import write_ledger
from tests.verdict.world import SOURCES, START_MS, ledger

ONE, TWO, _ = SOURCES
KEY = Key(ONE, 3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger of five events of two sources, none of which has an outcome."""
    truth = ledger(5, sources=(ONE, TWO))
    for entries in truth.sources.values():
        entries.applied = type(entries.applied)()
    write_ledger(tmp_path / "ledger.sqlite", truth)
    return tmp_path / "ledger.sqlite"


def insert(path: Path, statement: str, *rows: tuple[object, ...]) -> None:
    """Write more into it, as an emulator does."""
    with closing(sqlite3.connect(path)) as database:
        database.executemany(statement, rows)
        database.commit()


def entry(path: Path, key: Key = KEY) -> LedgerEntry:
    """What it says of one event."""
    return ledger_entries(path, [key]).events[key]


def test_what_was_committed(path: Path) -> None:
    """By key, wherever the row stands; a number that nobody committed and a strange source are absent."""
    keys = [Key(TWO, 5), KEY, Key(ONE, 6), Key("taco.west.s0999.r01", 1)]
    assert ledger_entries(path, keys) == LedgerEntries(
        readable=True,
        sources={ONE, TWO},
        events={
            KEY: LedgerEntry(committed_at_ms=START_MS + 3_000),
            Key(TWO, 5): LedgerEntry(committed_at_ms=START_MS + 5_000),
        },
    )


def test_how_often_it_was_sent(path: Path) -> None:
    """Once unless more is said; not at all while its outbox says so."""
    insert(path, ledger_format.INSERT_ATTEMPT, (1, 3, 2, START_MS + 10), (1, 3, 3, START_MS + 20), (1, 4, 2, START_MS))
    waiting = ("topic", "type", "time", "", b"")
    insert(path, ledger_format.INSERT_OUTBOX, (1, 3, 3, *waiting), (1, 5, 0, *waiting))
    assert (entry(path).sent, entry(path).sent_again_ms) == (3, START_MS + 20)
    assert entry(path, Key(ONE, 5)).sent == 0
    assert entry(path, Key(TWO, 4)).sent == 1


def test_what_its_terminal_was_told(path: Path) -> None:
    """Ranges that hold it, each different outcome once, in the order in which it was told."""
    insert(
        path,
        ledger_format.INSERT_OUTCOME,
        (1, 1, 2, "applied", "poseidon", "", START_MS + 1),
        (1, 1, 3, "applied", "poseidon", "", START_MS + 2),
        (1, 3, 3, "rejected", "sync_stage", "key_conflict", START_MS + 3),
        (1, 1, 5, "applied", "poseidon", "", START_MS + 4),
        (2, 3, 3, "rejected", "parm", "schema", START_MS + 5),
    )
    assert entry(path).told == [
        Told(verdict="applied", stage="poseidon", at_ms=START_MS + 2),
        Told(verdict="rejected", stage="sync_stage", reason="key_conflict", at_ms=START_MS + 3),
    ]
    assert entry(path, Key(ONE, 5)).told == [Told(verdict="applied", stage="poseidon", at_ms=START_MS + 4)]
    reasons = [(1, 3, 3, "rejected", "parm", f"reason {number}", START_MS) for number in range(20)]
    insert(path, ledger_format.INSERT_OUTCOME, *reasons)
    assert len(entry(path).told) == TOLD_LIMIT


def test_rows_that_cannot_be(path: Path) -> None:
    """SQLite keeps whatever it is given; such a row is left out, and the others stay."""
    insert(path, ledger_format.INSERT_OUTCOME, (1, 1, 5, "applied", b"\xff", "", START_MS))
    insert(path, ledger_format.INSERT_OUTCOME, (1, 1, 5, "applied", "poseidon", "", -1))
    insert(path, ledger_format.INSERT_ATTEMPT, (1, 3, 2, "now"))
    insert(path, "UPDATE event SET committed_at_ms = ? WHERE source = ? AND sequence = ?", ("soon", 1, 4))
    assert entry(path) == LedgerEntry(committed_at_ms=START_MS + 3_000)
    assert ledger_entries(path, [Key(ONE, 4)]).events == {}


def test_no_ledger(tmp_path: Path) -> None:
    """Where there is none, or no database, nothing is known."""
    assert ledger_entries(tmp_path / "ledger.sqlite", [KEY]) == LedgerEntries()
    (tmp_path / "ledger.sqlite").write_bytes(b"this is no database")
    assert ledger_entries(tmp_path / "ledger.sqlite", [KEY]) == LedgerEntries()
