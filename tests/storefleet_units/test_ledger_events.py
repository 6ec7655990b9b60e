"""The ledger read on: every event once, some at a time, while its writer goes on."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from fleetwire import ledger_format
from storefleet import ledger_events as module
from storefleet.ledger_events import LedgerEvents

TILL = "taco.west.s0001.r01"
OTHER = "taco.west.s0001.r02"
AT_MS = 1_700_000_000_000


def write(path: Path, *events: tuple[int, int]) -> None:
    """What the emulator would write: source's number and sequence."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(ledger_format.DDL)
        connection.executemany(ledger_format.INSERT_SOURCE, [(1, TILL), (2, OTHER)])
        rows = [(*key, "transaction.retail", bytes(key), "", 0, AT_MS, "") for key in events]
        connection.executemany(ledger_format.INSERT_EVENT, rows)
        connection.commit()


async def test_events_are_read_once_and_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However the reads are cut, all events come in order; who reads knows when there are more."""
    monkeypatch.setattr(module, "ROWS_A_READ", 2)
    path = tmp_path / "ledger.sqlite"
    events = LedgerEvents(path)
    assert (events.read(), events.behind) == ([], "")
    write(path, (1, 1), (2, 1), (1, 2))
    assert events.read() == [(TILL, 1, b"\x01\x01", AT_MS), (OTHER, 1, b"\x02\x01", AT_MS)]
    assert (events.unread, events.behind) == (1, "1 events of the ledger are not read yet")
    assert await events.read_aside() == [(TILL, 2, b"\x01\x02", AT_MS)]
    assert (events.read(), events.unread, events.behind) == ([], 0, "")
    write(path, (2, 2))
    aside = asyncio.create_task(events.read_aside())
    await asyncio.sleep(0)
    assert events.read() == []
    assert events.behind, "somebody else has them and has not told yet"
    assert await aside == [(OTHER, 2, b"\x02\x02", AT_MS)]
    assert (events.read(), events.behind) == ([], "")
    write(path, (2, 3))
    aside = asyncio.create_task(events.read_aside())
    await asyncio.sleep(0)
    aside.cancel()
    await asyncio.wait({aside})
    assert events.read() == [(OTHER, 3, b"\x02\x03", AT_MS)], "who was stopped has read nothing"


def test_a_ledger_that_cannot_be_read_is_read_later(tmp_path: Path) -> None:
    """It is no ledger without events: whoever asks is told."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"no ledger at all" * 100)
    events = LedgerEvents(path)
    assert events.read() == []
    assert path.name in events.behind
    path.unlink()
    write(path, (1, 1))
    assert events.read() == [(TILL, 1, b"\x01\x01", AT_MS)]
    assert events.behind == ""
