"""Poseidon's final read: every event that its journal or its facts know, and of each the effect that it really shows.

The effect is hashed from the rows that registers and orders are asked of, not from the journal: a receipt that is gone,
a changed amount, a movement that is doubled shows as another hash. What is shown without a journal entry is held as
well, with NO_HASH for its content. On a connection of its own, so in any thread; memory is bounded by the answer.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from consumers.feed import event_journal
from consumers.feed.event_journal import NO_HASH, Entry
from consumers.poseidon.fold import TABLES
from fleetwire.content import HASH_BYTES
from fleetwire.effects import NOTHING, Control, Movement, Receipt, Reference, effect_hash
from fleetwire.witness import ViewRead

_FACTS: Final = {
    table: f"SELECT source, sequence, {', '.join(fields)} FROM {table}"  # noqa: S608 - names are ours
    " WHERE source >= ? ORDER BY source, sequence"
    for table, fields in zip(
        TABLES, (Receipt._fields, Reference._fields, Control._fields, Movement._fields), strict=True
    )
}
_NO_EFFECT: Final = effect_hash(NOTHING)

Item = TypeVar("Item")
Row = tuple[Any, ...]
"""Source, sequence, and the fields of one fact."""
Shown = list[Row | None]
"""What is shown of one event, in the order of an Effect's parts."""


def read_page(path: Path, begin: int, limit: int) -> tuple[dict[str, ViewRead], int]:
    """As :func:`consumers.feed.event_journal.page_of`, with the effects."""
    reads: dict[str, ViewRead] = {}
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN")  # all of one moment
        names = event_journal.source_names(connection)
        journal = _Groups(event_journal.journal_entries(connection, begin))
        facts = [_Groups(_fact_rows(connection, table, begin)) for table in TABLES]
        while True:
            coming = [journal.number, *(one.number for one in facts)]
            number = min((one for one in coming if one is not None), default=None)
            if number is None or limit <= 0:
                return reads, number or 0
            entries, strays = event_journal.sound(journal.take(number))
            rows = [one.take(number) for one in facts]
            known = [[row for row in one if event_journal.is_number(row[1])] for one in rows]
            strays += sum(map(len, rows)) - sum(map(len, known))
            if entries or any(known):
                reads[event_journal.name_of(names, number)] = read = _view_read(entries, known)
                limit -= len(read.hashes) // HASH_BYTES
            if strays:
                reads[event_journal.stray_name(number)] = event_journal.stray_read(strays)
                reads[event_journal.stray_name(number)].effects = _NO_EFFECT * strays


class _Groups(Generic[Item]):
    """Groups of rows in the order of their sources' numbers; ``number`` is the next one's, None behind the last."""

    def __init__(self, groups: Iterator[tuple[int, list[Item]]]) -> None:
        self._groups = groups
        self.number: int | None = None
        self._rows: list[Item] = []
        self._step()

    def take(self, number: int) -> list[Item]:
        """The rows of this source, none if the next group is another's."""
        if number != self.number:
            return []
        rows = self._rows
        self._step()
        return rows

    def _step(self) -> None:
        self.number, self._rows = next(self._groups, (None, []))


def _fact_rows(connection: sqlite3.Connection, table: str, begin: int) -> Iterator[tuple[int, list[Row]]]:
    for number, rows in groupby(connection.execute(_FACTS[table], (begin,)), key=itemgetter(0)):
        yield number, list(rows)


def _view_read(entries: list[Entry], facts: list[list[Row]]) -> ViewRead:
    shown, repeated = _shown(facts)
    known = {entry.sequence for entry in entries}
    beyond = [Entry(sequence, NO_HASH, 0) for sequence in shown if sequence not in known]
    if beyond:
        entries = sorted([*entries, *beyond])
    read = event_journal.view_read(entries)
    held = dict.fromkeys(entry.sequence for entry in entries)
    read.effects = b"".join([effect_hash(shown[one]) if one in shown else _NO_EFFECT for one in held])
    for sequence, times in read.repeated:
        repeated[sequence] = max(times, repeated[sequence])
    read.repeated = sorted(repeated.items())
    return read


def _shown(facts: list[list[Row]]) -> tuple[dict[int, Shown], Counter[int]]:
    """What is shown of each event, and of which more than one row of a kind: how many."""
    shown: dict[int, Shown] = {}
    repeated: Counter[int] = Counter()
    for place, rows in enumerate(facts):
        before = None
        times = 1
        for row in rows:
            sequence = row[1]
            if sequence == before:
                times += 1
                repeated[sequence] = max(times, repeated[sequence])
                continue
            before, times = sequence, 1
            parts = shown.get(sequence)
            if parts is None:
                parts = shown[sequence] = [None, None, None, None]
            parts[place] = row[2:]
    return shown, repeated
