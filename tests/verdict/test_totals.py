"""The checker's sales totals and the one rule of :mod:`fleetwire.amounts` say the same."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwire import ledger_format
from fleetwire.amounts import RETAIL, VOID, sales_contribution
from fleetwire.identity import Terminal
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.history import History, Ledger, ViewRecord
from storefleet.verdict.ledger_file import read_ledger
from storefleet.verdict.views import expected_totals
from tests.verdict.world import SOURCES

DAYS = ("2026-01-05", "2026-01-06")


class Sold(NamedTuple):
    """One event with what its body says."""

    source: str
    type: str
    day: str
    grand_cents: int
    training: bool
    held: bool


events = st.lists(
    st.builds(
        Sold,
        source=st.sampled_from(SOURCES),
        type=st.sampled_from((RETAIL, VOID, "transaction.control", "terminal.alert")),
        day=st.sampled_from(DAYS),
        grand_cents=st.integers(-10_000, 10_000),
        training=st.booleans(),
        held=st.booleans(),
    ),
    max_size=40,
)


def contribution(sold: Sold) -> tuple[int, int]:
    """By the rule, from the body."""
    return sales_contribution(sold.type, {"grand_cents": sold.grand_cents, "training_mode": sold.training})


def view_of(sold: list[Sold]) -> ViewRecord:
    """What a view of sales holds of these events."""
    view = ViewRecord(view="sales", step="views", counted_types=[RETAIL, VOID], read={})
    assert view.read is not None
    for source in SOURCES:
        own = [one for one in sold if one.source == source]
        numbers = IntervalSet((index, index) for index, one in enumerate(own, start=1) if one.held)
        view.read[source] = ViewRead(intervals=numbers.to_list(), hashes=bytes(8 * numbers.count))
    return view


def ledger_of(sold: list[Sold]) -> Ledger:
    """The ledger of these events."""
    ledger = Ledger()
    for one in sold:
        count, cents = contribution(one)
        entries = ledger.source(one.source)
        codes = {"type_code": ledger.type_code(one.type), "day_code": ledger.day_code(one.day)}
        entries.append(entries.count + 1, bytes(8), 0, amount_cents=cents, **codes)
        if one.type in (RETAIL, VOID) and not count:
            entries.uncounted.add(entries.count)
    return ledger


@settings(max_examples=200, deadline=None)
@given(events)
def test_totals_follow_the_one_rule(sold: list[Sold]) -> None:
    """Whatever a view holds, training and returns among it, the totals are the sums of the rule over the bodies."""
    counts: Counter[tuple[str, str]] = Counter()
    cents: Counter[tuple[str, str]] = Counter()
    for one in sold:
        if one.held:
            key = Terminal.parse(one.source).store_id, one.day
            counts[key] += contribution(one)[0]
            cents[key] += contribution(one)[1]
    found = expected_totals(History(ledger=ledger_of(sold)), view_of(sold))
    assert found == {key: (count, cents[key]) for key, count in counts.items() if count}


def write_ledger(path: Path, *, ddl: str = ledger_format.DDL, source: str = SOURCES[0]) -> None:
    """A ledger of two sales."""
    with closing(sqlite3.connect(path)) as database:
        database.executescript(ddl)
        database.executemany(ledger_format.INSERT_META, ledger_format.META_ROWS)
        database.execute(ledger_format.INSERT_SOURCE, (1, source))
        for sequence in (1, 2):
            database.execute(ledger_format.INSERT_EVENT, (1, sequence, RETAIL, bytes(8), DAYS[0], 100, 5, ""))
        database.commit()


def test_training_is_in_the_ledger(tmp_path: Path) -> None:
    """A sale that the ledger says counts nothing is not counted; a ledger from before it could say so counts all."""
    path = tmp_path / "ledger.sqlite"
    write_ledger(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE event SET sales_count = 0, amount_cents = 0 WHERE sequence = 2")
        database.commit()
    assert read_ledger(path).sources[SOURCES[0]].uncounted == {2}
    old_ddl = "\n".join(line for line in ledger_format.DDL.splitlines() if "sales_count" not in line)
    old_ddl = old_ddl.replace("expected_reason   TEXT NOT NULL,", "expected_reason   TEXT NOT NULL")
    write_ledger(tmp_path / "old.sqlite", ddl=old_ddl)
    assert read_ledger(tmp_path / "old.sqlite").sources[SOURCES[0]].uncounted == set()


def test_shards_of_a_ledger_are_one(tmp_path: Path) -> None:
    """The ledgers of two shards read together; a source that is in both is an error."""
    import pytest

    from fleetwire.errors import StorageError

    for number, source in enumerate(SOURCES[:2]):
        write_ledger(tmp_path / f"{number}.sqlite", source=source)
    ledger = read_ledger(tmp_path / "0.sqlite", tmp_path / "1.sqlite")
    assert (sorted(ledger.sources), ledger.count) == (sorted(SOURCES[:2]), 4)
    with pytest.raises(StorageError, match="in another shard already"):
        read_ledger(tmp_path / "0.sqlite", tmp_path / "0.sqlite")
