"""Poseidon's final read: effects from what is shown, repeats, facts that nobody journaled, and pages."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from consumers.feed.event_journal import first_source
from consumers.poseidon.final_read import read_page
from consumers.poseidon.fold import SCHEMA
from fleetwire.effects import NOTHING, effect_hash, effect_of
from fleetwire.events import EVENT_TYPES
from fleetwire.packed_times import unpacked_times
from fleetwire.witness import ViewRead
from tests.feed.events import Written, sale
from tests.poseidon.test_fold import MORNING, OTHER, TILL, Counter

ALL = 10**9


@pytest.fixture
def poseidon(tmp_path: Path) -> Iterator[Counter]:
    """Poseidon's fold in a file of its own."""
    made = Counter(tmp_path)
    yield made
    made.close()


def must_show(written: Written) -> bytes:
    """The hash of what must be shown of an event."""
    document = written.document
    return effect_hash(
        effect_of(document["business_day_date"], msgspec.convert(document["data"], EVENT_TYPES[document["type"]]))
    )


def of_till(poseidon: Counter) -> ViewRead:
    """The read of one terminal."""
    return read_page(poseidon.path, 0, ALL)[0][TILL]


def change(path: Path, statement: str) -> None:
    """Behind Poseidon's back."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute(statement).rowcount == 1
        database.commit()


def test_what_is_shown_is_what_the_events_do(poseidon: Counter) -> None:
    """Hashes, effects and times along the numbers, in whatever order the events came."""
    poseidon.apply(*reversed(MORNING))
    read = of_till(poseidon)
    assert (read.intervals, read.repeated) == ([(1, len(MORNING))], [])
    assert read.hashes == b"".join(written.hash for written in MORNING)
    assert read.effects == b"".join(map(must_show, MORNING))
    assert len(unpacked_times(read.applied_at_ms)) == len(MORNING)
    assert min(unpacked_times(read.applied_at_ms)) > 1_700_000_000_000


@pytest.mark.parametrize(
    ("statement", "number"),
    [
        ("DELETE FROM receipt WHERE sequence = 4", 4),
        ("UPDATE receipt SET grand_cents = grand_cents + 1 WHERE sequence = 5", 5),
        ("UPDATE receipt SET cash_cents = 0 WHERE sequence = 5", 5),
        ("UPDATE reference SET referred_key = 'taco.west.s0001.r01.5' WHERE sequence = 6", 6),
        ("UPDATE control SET operator_id = 'op-8' WHERE sequence = 2", 2),
        ("UPDATE till_movement SET cents = 2 * cents WHERE sequence = 3", 3),
        (
            "INSERT INTO till_movement SELECT source, 11, control_type, cents, counted_cents FROM till_movement LIMIT 1",
            11,
        ),
    ],
)
def test_a_spoiled_fact_is_another_effect(poseidon: Counter, statement: str, number: int) -> None:
    """Of that event alone; the journal has not changed."""
    poseidon.apply(*MORNING)
    before = of_till(poseidon)
    change(poseidon.path, statement)
    after = of_till(poseidon)
    changed = [n for n in range(len(MORNING)) if before.effects[8 * n : 8 * n + 8] != after.effects[8 * n : 8 * n + 8]]
    assert (changed, after.hashes, after.intervals) == ([number - 1], before.hashes, before.intervals)


def test_what_is_shown_without_a_journal_entry_is_held(poseidon: Counter) -> None:
    """With a content hash that says so, no time, and the effect that it shows; an unknown source has a name, too."""
    poseidon.apply(*MORNING)
    change(poseidon.path, "DELETE FROM applied WHERE sequence = 4")
    change(
        poseidon.path,
        "INSERT INTO control SELECT source, 900, control_type, operator_id, till_id, '' FROM control LIMIT 1",
    )
    change(
        poseidon.path, "INSERT INTO control SELECT 77, 1, control_type, operator_id, till_id, '' FROM control LIMIT 1"
    )
    reads, following = read_page(poseidon.path, 0, ALL)
    read = reads[TILL]
    assert (sorted(reads), following) == ([TILL, "unknown.unknown.unknown.n77"], 0)
    assert read.intervals == [(1, len(MORNING)), (900, 900)]
    assert read.hashes[24:32] == bytes(8)
    assert read.effects[24:32] == must_show(MORNING[3])
    assert (unpacked_times(read.applied_at_ms)[3], unpacked_times(read.applied_at_ms)[-1]) == (0, 0)


def test_facts_that_are_there_twice_are_repeated(tmp_path: Path, poseidon: Counter) -> None:
    """In a file without keys: the event is held once, with how often it is shown."""
    poseidon.apply(*MORNING)
    path = tmp_path / "keyless.sqlite"
    with closing(sqlite3.connect(path)) as database:
        database.executescript(SCHEMA.replace(", PRIMARY KEY (source, sequence)\n) WITHOUT ROWID", "\n)").replace(
            "PRIMARY KEY (source, sequence)\n) WITHOUT ROWID", "CHECK (true))"
        ))  # fmt: skip
        database.execute("ATTACH ? AS good", (str(poseidon.path),))
        for table in ("source", "applied", "receipt", "reference", "control", "till_movement"):
            database.execute(f"INSERT INTO main.{table} SELECT * FROM good.{table}")
        for statement in (
            "INSERT INTO main.receipt SELECT * FROM good.receipt WHERE sequence = 4",
            "INSERT INTO main.receipt SELECT * FROM good.receipt WHERE sequence = 4",
            "INSERT INTO main.reference SELECT * FROM good.reference WHERE sequence = 7",
            "INSERT INTO main.applied SELECT * FROM good.applied WHERE sequence = 9",
        ):
            assert database.execute(statement).rowcount == 1
        database.commit()
    good, doubled = of_till(poseidon), read_page(path, 0, ALL)[0][TILL]
    assert doubled.repeated == [(4, 3), (7, 2), (9, 2)]
    doubled.repeated = []
    assert doubled == good


def test_pages_are_the_whole(poseidon: Counter) -> None:
    """A page ends behind a source and says where the next begins."""
    poseidon.apply(*MORNING, sale(OTHER, 1))
    whole, _ = read_page(poseidon.path, 0, ALL)
    first, following = read_page(poseidon.path, 0, 1)
    second, end = read_page(poseidon.path, following, 1)
    assert (len(first), len(second), end) == (1, 1, 0)
    assert {**first, **second} == whole


def test_an_event_without_facts_shows_nothing(poseidon: Counter) -> None:
    """A terminal's alert changes no till."""
    poseidon.apply(*MORNING)
    assert of_till(poseidon).effects[-8:] == effect_hash(NOTHING)


def test_where_a_page_begins() -> None:
    """What the lab asks for next; anything that is no number begins anew."""
    assert first_source({}, "orders") == 0
    assert first_source({"following": {"orders": 7}}, "orders") == 7
    assert first_source({"following": {"orders": "7"}}, "orders") == 0
    assert first_source({"following": 7}, "orders") == 0


@pytest.mark.parametrize("sequence", ["0", "-3", "9223372036854775807", "'seven'", "1.5"])
@pytest.mark.parametrize("table", ["applied", "receipt"])
def test_a_row_that_no_event_can_have_hides_no_other(poseidon: Counter, table: str, sequence: str) -> None:
    """It is held by nobody of this fleet; all others are read as they are."""
    poseidon.apply(*MORNING)
    before = of_till(poseidon)
    columns = [row[1] for row in rows_of(poseidon.path, f"PRAGMA table_info({table})")][2:]
    of_another = ", ".join(["source", sequence, *columns])
    change(poseidon.path, f"INSERT INTO {table} SELECT {of_another} FROM {table} LIMIT 1")
    reads, _ = read_page(poseidon.path, 0, ALL)
    assert reads.pop(TILL) == before
    ((name, stray),) = reads.items()
    assert (name.startswith("unknown.unknown.unknown."), stray.intervals) == (True, [(1, 1)])
    assert len(stray.hashes) == len(stray.effects) == len(stray.applied_at_ms) == 8


@pytest.mark.parametrize(
    "change_to", ["hash = x'07'", "hash = 'seven'", "applied_at_ms = -1", "applied_at_ms = 'noon'"]
)
def test_a_row_that_says_what_cannot_be_is_read_all_the_same(poseidon: Counter, change_to: str) -> None:
    """A content that is no hash is another content, a time that is none is not said."""
    poseidon.apply(*MORNING)
    change(poseidon.path, f"UPDATE applied SET {change_to} WHERE sequence = 2")
    read = of_till(poseidon)
    assert (read.intervals, len(read.applied_at_ms)) == ([(1, len(MORNING))], 8 * len(MORNING))
    hashes = [read.hashes[place : place + 8] for place in range(0, len(read.hashes), 8)]
    must = [written.hash for written in MORNING]
    assert hashes == [must[0], bytes(8) if "hash" in change_to else must[1], *must[2:]]


def rows_of(path: Path, statement: str) -> list[tuple[str, ...]]:
    """What the file says."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(statement).fetchall()
