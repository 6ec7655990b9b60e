"""Documents as events: what is proven by their hash, and what cannot be used."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.feed.event_journal import SCHEMA, EventJournal, applied_times, by_sequence, page_of, read_event
from consumers.feed.lines import Change
from fleetwire.errors import BadPayload
from fleetwire.held_events import digest_of
from tests.feed.events import Written, sale

SOURCE = "taco.west.s0001.r01"


def change(written: Written, **changed: Any) -> Change:
    """The document as a change, some of its fields replaced."""
    document = {**written.document, **changed}
    return Change("1", written.document["_id"], written.document["_rev"], False, msgspec.json.encode(document))


def test_the_hash_is_of_the_values_that_the_document_has() -> None:
    """Equal to the ledger's for the same values, and different as soon as one digit is."""
    written = sale(SOURCE, 1, 500)
    assert read_event(change(written)).hash == written.hash
    altered = dict(written.document["data"], grand_cents=501)
    assert read_event(change(written, data=altered)).hash != written.hash


def test_a_document_says_which_sending_was_stored_first() -> None:
    """Where it says nothing it was the first; it is no part of the content."""
    written = sale(SOURCE, 1)
    first, third = read_event(change(written)), read_event(change(written, attempt=3))
    assert (first.attempt, third.attempt, third.hash) == (1, 3, written.hash)


@pytest.mark.parametrize("attempt", ["3", None, True, 0, -1, 1.5, 1_000_001, 2**70, [3], {"a": 3}])
def test_a_wrong_attempt_costs_no_event(attempt: object) -> None:
    """What was sold is not refused for its accounting: whatever is no attempt counts as the first."""
    written = sale(SOURCE, 1)
    event = read_event(change(written, attempt=attempt))
    assert (event.attempt, event.hash) == (1, written.hash)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sequence": 2}, "no_key"),
        ({"source": "taco.west.s0002.r01"}, "no_key"),
        ({"sequence": 0}, "schema"),
        ({"sequence": 2**60}, "schema"),
        ({"sequence": True}, "schema"),
        ({"business_day_date": "tomorrow"}, "schema"),
        ({"time": "noon"}, "schema"),
        ({"type": ""}, "schema"),
        ({"data": []}, "schema"),
    ],
)
def test_a_document_that_is_no_event_is_refused_with_a_reason(changed: dict[str, Any], reason: str) -> None:
    """Every field that a table will hold is checked before."""
    with pytest.raises(BadPayload) as caught:
        read_event(change(sale(SOURCE, 1), **changed))
    assert caught.value.reason == reason


def test_a_deleted_event_conflicts_with_what_was_there() -> None:
    """A tombstone takes nothing back."""
    with pytest.raises(BadPayload, match="key_conflict"):
        read_event(Change("2", f"{SOURCE}.1", "2-b", True, b'{"_deleted":true}'))


def test_a_source_that_is_no_terminal_is_refused(tmp_path: Path) -> None:
    """A document under a strange name never reaches a table."""
    with pytest.raises(BadPayload, match="no_key"):
        EventJournal().read(change(sale("not-a-terminal", 1)))


def test_repeats_within_and_between_batches_and_after_a_restart_change_nothing(tmp_path: Path) -> None:
    """The journal holds every event once, in any order, and reads itself back."""
    path = tmp_path / "journal.sqlite"
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(SCHEMA)
    events = [read_event(change(sale(SOURCE, number))) for number in (3, 1, 3, 2, 5)]
    journal = EventJournal()
    assert [event.sequence for event in journal.write(connection, events)] == [3, 1, 2, 5]
    fresh, repeats = journal.committed()
    assert ([event.sequence for event in fresh], [event.sequence for event in repeats]) == ([3, 1, 2, 5], [3])
    again = EventJournal()
    again.load(connection)
    assert again.applied == journal.applied
    told = [one.held.report(full=True)[0] for one in (journal, again)]
    assert told[0].digests == told[1].digests == {SOURCE: digest_of(sale(SOURCE, one).hash for one in (1, 2, 3, 5))}
    assert told[0].sources == told[1].sources == {SOURCE: [(1, 3), (5, 5)]}
    assert again.write(connection, events) == []
    read = page_of(connection, 0, 9)[0][SOURCE]
    assert read.intervals == [(1, 3), (5, 5)]
    assert read.hashes == b"".join(sale(SOURCE, number).hash for number in (1, 2, 3, 5))
    assert list(by_sequence(applied_times(path)[SOURCE])) == [1, 2, 3, 5]
    assert applied_times(path, "taco.west.s0009.r01") == {}


def test_what_is_held_is_what_the_file_has(tmp_path: Path) -> None:
    """Altered, lost and invented rows are told as they are, a hash that is none too; and after a rebuild nothing is."""
    connection = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    connection.executescript(SCHEMA)
    journal = EventJournal()
    journal.write(connection, [read_event(change(sale(SOURCE, number))) for number in range(1, 6)])
    journal.committed()
    connection.execute("DELETE FROM applied WHERE sequence = 2")
    connection.execute("UPDATE applied SET hash = x'0000000000000001' WHERE sequence = 3")
    connection.execute("INSERT INTO applied SELECT source, 70, 'a', 0 FROM applied WHERE sequence = 1")
    journal.load(connection)
    (held, _) = journal.held.report(full=False)
    assert (held.epoch, held.sources) == (1, {SOURCE: [(1, 1), (3, 5), (70, 70)]})
    assert held.digests == {SOURCE: digest_of([*(sale(SOURCE, one).hash for one in (1, 4, 5)), b"\x01", b"a"])}
    journal.rebuild(connection)
    (held, _) = journal.held.report(full=True)
    assert (held.epoch, held.sources, held.digests) == (2, {}, {})


def test_what_was_rolled_back_is_not_remembered(tmp_path: Path) -> None:
    """Memory follows the commit, not the attempt."""
    connection = sqlite3.connect(tmp_path / "journal.sqlite", isolation_level=None)
    connection.executescript(SCHEMA)
    journal = EventJournal()
    events = [read_event(change(sale(SOURCE, 1)))]
    connection.execute("BEGIN")
    journal.write(connection, events)
    connection.execute("ROLLBACK")
    assert journal.applied == {}
    assert journal.write(connection, events) == events
