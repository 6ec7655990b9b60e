"""The final reads: what every view holds when everything has been waited for, beside what it should hold.

Views of ours are asked over the control plane, the gateway over its own HTTP, the truth about registers comes from the
ledger at the same moment. A view that cannot be read is left out, and the verdict says that it was not read.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from fleetwire.content import HASH_BYTES, content_hash
from fleetwire.documents import TRANSACTION_CHANNEL, TransactionDocument
from fleetwire.errors import BadPayload, ControlError, StorageError
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.altered_documents import AlteredDocuments, ledger_or_nothing
from storefleet.feed_positions import Unreached, read_positions
from storefleet.lab import Lab
from storefleet.packed_reads import pack
from storefleet.verdict.run_format import FinalRead, Reads

PAGE_DOCUMENTS: Final = 500
"""So many are decoded without a pause of the lab's loop."""
GATEWAY_VIEW: Final = "gateway"
READ_STAGES: Final = ("poseidon", "views", "olympus_dgs")
"""Stages of ours that are asked for their views over the control plane."""
UNREADABLE: Final = bytes(HASH_BYTES)
_READ_TIMEOUT_S: Final = 60.0

Expected = dict[str, dict[str, object]]
"""View -> register -> the value that it must show."""

_log = logging.getLogger(__name__)


class _Entry(msgspec.Struct):
    seq: Any
    id: str
    doc: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    deleted: bool = False


class _Page(msgspec.Struct):
    results: list[_Entry]
    last_seq: str


_decode_page = msgspec.json.Decoder(_Page).decode
_decode_document = msgspec.json.Decoder(TransactionDocument).decode


async def read_all(lab: Lab, ledger: Path, now_ms: Callable[[], int]) -> Reads:
    """Read every view that is present; ``now_ms`` is the clock of the run."""
    reads = Reads()
    positions: dict[str, int] = {}
    begun_ms: dict[str, int] = {}
    for stage in READ_STAGES:
        before = _truth(ledger)
        found = await _stage_views(lab, stage, positions, begun_ms)
        truths = (before, _truth(ledger))
        for view, content in found.items():
            read = final_read(view, content, truths, at_ms=now_ms())
            if read is not None:
                read.begun_at_ms = begun_ms.get(view, 0)
                reads.views[view] = read
    if "gateway" in lab.plan.stages and "gateway" not in lab.plan.commands:
        try:
            altered = AlteredDocuments(await asyncio.to_thread(ledger_or_nothing, ledger))
            unreached = Unreached(positions)
            events = await read_gateway(lab.gateway_url, altered.look, unreached.look)
            for view, one in reads.views.items():
                one.unreached = unreached.of(view) if one.events is not None else None
            reads.views[GATEWAY_VIEW] = FinalRead(at_ms=now_ms(), events=events, altered=altered.bodies)
        except (aiohttp.ClientError, OSError, msgspec.DecodeError) as error:
            _log.warning("no final read of the gateway: %s", error)
    if lab.observer is not None:
        for view, events in lab.observer.final_read().items():
            reads.views[view] = FinalRead(at_ms=now_ms(), events=events)
    return reads


def _truth(ledger: Path) -> Expected | None:
    """What registers must show now; None where the ledger does not say it."""
    try:
        return expected_registers(ledger)
    except StorageError as error:
        _log.warning("no register can be judged: %s", error)
        return None


async def _stage_views(lab: Lab, stage: str, positions: dict[str, int], begun_ms: dict[str, int]) -> dict[str, Any]:
    """What the stage says that its views hold; how far their feeds were, and since when they hold it, is entered."""
    if stage not in lab.plan.stages or stage in lab.plan.commands:
        return {}
    views: dict[str, Any] = {}
    try:
        for answer in await lab.stage_call(stage, "final_read", timeout_s=_READ_TIMEOUT_S):
            views.update(answer["views"])
            positions.update(read_positions(answer))
            told = answer.get("begun_at_ms", {})
            begun_ms.update((view, at_ms) for view, at_ms in told.items() if isinstance(at_ms, int))
    except ControlError as error:
        _log.warning("no final read of %s: %s", stage, error)
    return views


def final_read(view: str, found: dict[str, Any], truths: Sequence[Expected | None], *, at_ms: int) -> FinalRead | None:
    """What a stage says a view holds, beside the truth; None where the truth cannot be told, so that it counts as unread.

    ``truths`` are those before and after the view was asked: a register is right if it equals either, since a terminal
    may come or go in between.
    """
    read = FinalRead(at_ms=at_ms)
    if "sources" in found:
        read.events = msgspec.convert(found["sources"], dict[str, ViewRead])
    if "registers" in found:
        known = [truth.get(view, {}) for truth in truths if truth is not None]
        if len(known) < len(truths):
            return None
        read.registers = found["registers"]
        read.registers_expected = expected_of(found["registers"], known)
    if "totals" in found:
        rows = ((name.rpartition(" "), count, cents) for name, (count, cents) in found["totals"].items())
        read.totals = [(store, day, count, cents) for (store, _, day), count, cents in rows]
    return read


def expected_of(found: dict[str, object], truths: Sequence[dict[str, object]]) -> dict[str, object]:
    """The newest truth about every register, or the older one that it agrees with."""
    expected: dict[str, object] = {}
    for truth in truths:
        for name, value in truth.items():
            if name not in expected or expected[name] != found.get(name):
                expected[name] = value
    return expected


async def read_gateway(
    url: str,
    look: Callable[[Key, bytes, bytes], None] = lambda *_: None,
    look_at_place: Callable[[Key, object], None] = lambda *_: None,
) -> dict[str, ViewRead]:
    """Every transaction document, by value, by source.

    ``look`` sees each key with its hash and its JSON, ``look_at_place`` with its place in the feed.

    Raises aiohttp.ClientError, OSError (TimeoutError), msgspec.DecodeError.
    """
    hashes: dict[str, dict[int, bytes]] = defaultdict(dict)
    since = "0"
    query = {
        "include_docs": "true",
        "limit": str(PAGE_DOCUMENTS),
        "filter": "sync_gateway/bychannel",
        "channels": TRANSACTION_CHANNEL,
    }
    timeout = aiohttp.ClientTimeout(total=_READ_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as client:
        while True:
            async with client.get(f"{url}/_changes", params={**query, "since": since}) as answer:
                page = _decode_page(await answer.read())
            for entry in page.results:
                if entry.doc is not msgspec.UNSET and not entry.deleted:
                    key = _enter(hashes, entry.id, entry.doc, look)
                    if key is not None:
                        look_at_place(key, entry.seq)
            if not page.results:
                return {source: pack(numbers) for source, numbers in hashes.items()}
            since = page.last_seq


def _enter(
    hashes: dict[str, dict[int, bytes]],
    document_id: str,
    document: msgspec.Raw,
    look: Callable[[Key, bytes, bytes], None],
) -> Key | None:
    """One document by its key, which is returned.

    One that cannot be read is there all the same, with a content that nobody sent.
    """
    try:
        key = Key.parse(document_id)
    except BadPayload:
        _log.warning("the gateway holds %.200r in channel %s: no key of an event", document_id, TRANSACTION_CHANNEL)
        return None
    try:
        digest = document_hash(_decode_document(document))
    except msgspec.DecodeError:
        digest = UNREADABLE
    hashes[key.source][key.sequence] = digest
    look(key, digest, bytes(document))
    return key


def document_hash(document: TransactionDocument) -> bytes:
    """Content hash of a transaction document."""
    data = msgspec.json.decode(document.data)
    return content_hash(document.type, document.time, document.business_day_date, data)


def expected_registers(ledger: Path) -> Expected:
    """What the state views must show: store -> status, terminal -> [online, boot, bd_seq]; raises StorageError."""
    devices: dict[str, object] = {}
    terminals: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    statement = "SELECT id, online, reason, boot, bd_seq FROM register JOIN source ON number = source"
    for terminal, online, reason, boot, bd_seq in query_ledger(ledger, statement):
        devices[terminal] = [bool(online), boot, bd_seq]
        terminals[terminal.rpartition(".")[0]].append((bool(online), reason))
    board: dict[str, object] = {store: store_status(states) for store, states in terminals.items()}
    return {"store_board": board, "device_inventory": devices, "olympus_dgs": devices}


def store_status(states: list[tuple[bool, str]]) -> str:
    """The status that a store's terminals (online, reason) make; the lab's own rule, beside PARM's."""
    online = sum(state for state, _ in states)
    if online == len(states):
        return "OPEN"
    if online:
        return "DEGRADED"
    return "PLANNED_CLOSED" if all(reason == "planned_close" for _, reason in states) else "OFFLINE"


def query_ledger(ledger: Path, statement: str, *values: int) -> list[Any]:
    """Rows of a ledger that its writer may be writing; raises StorageError when it cannot be read or is not there."""
    try:
        with contextlib.closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as one:
            return one.execute(statement, values).fetchall()
    except sqlite3.Error as error:
        raise StorageError(f"ledger {ledger} cannot be read: {error}") from error


class Outcomes:
    """What terminals were told, by source; each read looks only at what is new.

    ``refused`` is what was rejected and must not be held: a conflict's key may be, by its first content. ``applied`` is
    kept up only with ``keeps_applied``. All grow while they are used.
    """

    def __init__(self, ledger: Path, *, keeps_applied: bool) -> None:
        self.rejected: dict[str, IntervalSet] = {}
        self.refused: dict[str, IntervalSet] = {}
        self.applied: dict[str, IntervalSet] = {}
        self._ledger = ledger
        self._keeps_applied = keeps_applied
        self._seen_row = 0

    def read(self) -> set[str]:
        """Take in what is new; what cannot be read yet comes with a later call. Sources of which more was rejected."""
        if not self._ledger.exists():
            return set()
        newest = "SELECT coalesce(max(rowid), 0) FROM outcome"
        statement = (
            "SELECT id, verdict, reason, first, last FROM outcome JOIN source ON number = source"
            " WHERE outcome.rowid > ? AND outcome.rowid <= ? AND (verdict = 'rejected' OR ?)"
        )
        try:
            until_row: int = query_ledger(self._ledger, newest)[0][0]
            if until_row <= self._seen_row:
                return set()
            rows = query_ledger(self._ledger, statement, self._seen_row, until_row, self._keeps_applied)
        except StorageError as error:
            _log.warning("%s", error)
            return set()
        touched = set()
        for source, verdict, reason, first, last in rows:
            if verdict == "applied":
                self.applied.setdefault(source, IntervalSet()).add_range(first, last)
                continue
            touched.add(source)
            self.rejected.setdefault(source, IntervalSet()).add_range(first, last)
            if reason != "key_conflict":
                self.refused.setdefault(source, IntervalSet()).add_range(first, last)
        self._seen_row = until_row
        return touched


def last_resolved_key(ledger: Path) -> Key | None:
    """The event of the newest outcome; None while there is none."""
    newest = "SELECT id, last FROM outcome JOIN source ON number = source ORDER BY outcome.rowid DESC LIMIT 1"
    try:
        rows = query_ledger(ledger, newest)
    except StorageError as error:
        _log.warning("%s", error)
        return None
    return Key(*rows[0]) if rows else None
