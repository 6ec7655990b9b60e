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
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from fleetwire.clock import now_ms
from fleetwire.content import HASH_BYTES, content_hash
from fleetwire.documents import TRANSACTION_CHANNEL, TransactionDocument
from fleetwire.errors import BadPayload, ControlError
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.altered_documents import AlteredDocuments, ledger_or_nothing
from storefleet.lab import Lab
from storefleet.packed_reads import pack
from storefleet.verdict.run_format import FinalRead, Reads

PAGE_DOCUMENTS: Final = 5_000
GATEWAY_VIEW: Final = "gateway"
UNREADABLE: Final = bytes(HASH_BYTES)
_READ_TIMEOUT_S: Final = 60.0

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


async def read_all(lab: Lab, ledger: Path) -> Reads:
    """Read every view that is present."""
    reads = Reads()
    expected = expected_registers(ledger)
    for stage in ("poseidon", "views"):
        for view, found in (await _stage_views(lab, stage)).items():
            reads.views[view] = _final_read(view, found, expected)
    if "gateway" in lab.plan.stages and "gateway" not in lab.plan.commands:
        try:
            altered = AlteredDocuments(await asyncio.to_thread(ledger_or_nothing, ledger))
            events = await read_gateway(lab.gateway_url, altered.look)
            reads.views[GATEWAY_VIEW] = FinalRead(at_ms=now_ms(), events=events, altered=altered.bodies)
        except (aiohttp.ClientError, OSError, msgspec.DecodeError) as error:
            _log.warning("no final read of the gateway: %s", error)
    if lab.observer is not None:
        for view, events in lab.observer.final_read().items():
            reads.views[view] = FinalRead(at_ms=now_ms(), events=events)
    return reads


async def _stage_views(lab: Lab, stage: str) -> dict[str, Any]:
    if stage not in lab.plan.stages or stage in lab.plan.commands:
        return {}
    views: dict[str, Any] = {}
    try:
        for answer in await lab.stage_call(stage, "final_read", timeout_s=_READ_TIMEOUT_S):
            views.update(answer["views"])
    except ControlError as error:
        _log.warning("no final read of %s: %s", stage, error)
    return views


def _final_read(view: str, found: dict[str, Any], expected: dict[str, dict[str, object]]) -> FinalRead:
    read = FinalRead(at_ms=now_ms())
    if "sources" in found:
        read.events = msgspec.convert(found["sources"], dict[str, ViewRead])
    if "registers" in found:
        read.registers = found["registers"]
        read.registers_expected = expected.get(view, {})
    if "totals" in found:
        rows = ((name.rpartition(" "), count, cents) for name, (count, cents) in found["totals"].items())
        read.totals = [(store, day, count, cents) for (store, _, day), count, cents in rows]
    return read


async def read_gateway(url: str, look: Callable[[Key, bytes, bytes], None] = lambda *_: None) -> dict[str, ViewRead]:
    """Every transaction document, by value, by source; ``look`` sees each key with its hash and its JSON.

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
                    _enter(hashes, entry.id, entry.doc, look)
            if not page.results:
                return {source: pack(numbers) for source, numbers in hashes.items()}
            since = page.last_seq


def _enter(
    hashes: dict[str, dict[int, bytes]],
    document_id: str,
    document: msgspec.Raw,
    look: Callable[[Key, bytes, bytes], None],
) -> None:
    """One document by its key; one that cannot be read is there all the same, with a content that nobody sent."""
    try:
        key = Key.parse(document_id)
    except BadPayload:
        _log.warning("the gateway holds %.200r in channel %s: no key of an event", document_id, TRANSACTION_CHANNEL)
        return
    try:
        digest = document_hash(_decode_document(document))
    except msgspec.DecodeError:
        digest = UNREADABLE
    hashes[key.source][key.sequence] = digest
    look(key, digest, bytes(document))


def document_hash(document: TransactionDocument) -> bytes:
    """Content hash of a transaction document."""
    data = msgspec.json.decode(document.data)
    return content_hash(document.type, document.time, document.business_day_date, data)


def expected_registers(ledger: Path) -> dict[str, dict[str, object]]:
    """What the state views must show: store -> status, terminal -> [online, boot, bd_seq]; from the ledger."""
    devices: dict[str, object] = {}
    terminals: dict[str, list[tuple[bool, str]]] = defaultdict(list)
    statement = "SELECT id, online, reason, boot, bd_seq FROM register JOIN source ON number = source"
    for terminal, online, reason, boot, bd_seq in query_ledger(ledger, statement):
        devices[terminal] = [bool(online), boot, bd_seq]
        terminals[terminal.rpartition(".")[0]].append((bool(online), reason))
    board: dict[str, object] = {store: store_status(states) for store, states in terminals.items()}
    return {"store_board": board, "device_inventory": devices}


def store_status(states: list[tuple[bool, str]]) -> str:
    """The status that a store's terminals (online, reason) make; the lab's own rule, beside PARM's."""
    online = sum(state for state, _ in states)
    if online == len(states):
        return "OPEN"
    if online:
        return "DEGRADED"
    return "PLANNED_CLOSED" if all(reason == "planned_close" for _, reason in states) else "OFFLINE"


def query_ledger(ledger: Path, statement: str) -> list[Any]:
    """Rows of a ledger that its writer may be writing; empty (and logged) when it cannot be read."""
    if not ledger.exists():
        return []
    try:
        with contextlib.closing(sqlite3.connect(f"{ledger.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)) as one:
            return one.execute(statement).fetchall()
    except sqlite3.Error as error:
        _log.warning("ledger %s: %s", ledger, error)
        return []


def rejected_numbers(ledger: Path) -> dict[str, IntervalSet]:
    """What terminals were told is rejected, by source; empty while there is no ledger."""
    statement = "SELECT id, first, last FROM outcome JOIN source ON number = source WHERE verdict = 'rejected'"
    result: dict[str, IntervalSet] = {}
    for source, first, last in query_ledger(ledger, statement):
        result.setdefault(source, IntervalSet()).add_range(first, last)
    return result


def last_resolved_key(ledger: Path) -> Key | None:
    """The event of the newest outcome."""
    newest = "SELECT id, last FROM outcome JOIN source ON number = source ORDER BY outcome.rowid DESC LIMIT 1"
    rows = query_ledger(ledger, newest)
    return Key(*rows[0]) if rows else None
