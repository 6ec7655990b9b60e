"""Writes the status of each store into its document ``status:{store id}``; the greater ``revision`` wins.

Only the newest status of a store waits, so what waits is bounded by the stores. A conflict means that somebody else
wrote: the document is read again, and is written over only if ours is newer.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from typing import Final

import msgspec
from msgspec import Struct

from fleetwire import bounded_json
from fleetwire.documents import STATUS_CHANNEL, STATUS_PREFIX
from fleetwire.errors import GatewayError
from fleetwire.events import StoreStatus
from fleetwire.gateway_client import BulkRow, GatewayClient

BATCH_STATUSES: Final = 100
MAXIMUM_STORES: Final = 100_000
RETRY_BASE_S: Final = 0.05
RETRY_CAP_S: Final = 2.0
_CONFLICT: Final = 409

_encode_sorted = msgspec.json.Encoder(order="sorted").encode
_log = logging.getLogger(__name__)


class _Stored(Struct, frozen=True):
    """What the gateway holds of one store: the document's revision id, and the status's own revision."""

    rev: str
    revision: int


class StatusWriter:
    """Statuses by store id; run it as a task. While somebody else holds ``quiet``, nothing is written."""

    def __init__(self, gateway: GatewayClient, quiet: asyncio.Lock) -> None:
        self._gateway = gateway
        self._quiet = quiet
        self._waiting: dict[str, StoreStatus] = {}
        self._stored: dict[str, _Stored] = {}
        self._added = asyncio.Event()
        self.written = 0
        self.gateway_errors = 0

    def add(self, status: StoreStatus) -> None:
        """Write this unless something newer of its store is known."""
        store_id = f"{status.brand}.{status.region}.{status.store}"
        known = self._waiting.get(store_id) or self._stored.get(store_id)
        if known is not None and known.revision >= status.revision:
            return
        if known is None and len(self._waiting) + len(self._stored) >= MAXIMUM_STORES:
            _log.error("status of %s ignored: %d stores are known already", store_id, MAXIMUM_STORES)
            return
        self._waiting[store_id] = status
        self._added.set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Write until cancelled."""
        failures = 0
        while True:
            if not self._waiting:
                self._added.clear()
                await self._added.wait()
            try:
                async with self._quiet:
                    settled = await self._write(dict(itertools.islice(self._waiting.items(), BATCH_STATUSES)))
            except GatewayError as error:
                settled = False
                _log.warning("%d store statuses wait: %s", len(self._waiting), error)
            if settled:
                failures = 0
                continue
            self.gateway_errors += 1
            failures += 1
            await asyncio.sleep(random.uniform(0, min(RETRY_CAP_S, RETRY_BASE_S * 2 ** min(failures, 10))))

    async def _write(self, batch: dict[str, StoreStatus]) -> bool:
        documents = [self._document(store_id, status) for store_id, status in batch.items()]
        rows = await self._gateway.bulk_docs(documents, new_edits=True)
        settled = True
        for (store_id, status), row in zip(batch.items(), rows, strict=True):
            settled &= await self._settle(store_id, status, row)
        return settled

    async def _settle(self, store_id: str, status: StoreStatus, row: BulkRow) -> bool:
        if row.status == _CONFLICT:
            await self._read_again(store_id)
            return True
        if row.status != 0:
            _log.warning("status of %s not stored: %d %s %s", store_id, row.status, row.error, row.reason)
            # Behind the others: what is refused for long must not hold them up.
            self._waiting[store_id] = self._waiting.pop(store_id)
            return False
        self.written += 1
        self._keep(store_id, _Stored(row.rev, status.revision))
        return True

    async def _read_again(self, store_id: str) -> None:
        found = await self._gateway.get(STATUS_PREFIX + store_id)
        if found is None:
            self._stored.pop(store_id, None)
            return
        try:
            revision = bounded_json.decode(found.body, type=StoreStatus).revision
        except (msgspec.MsgspecError, UnicodeDecodeError):
            revision = -1  # somebody else's document: ours replaces it
        self._keep(store_id, _Stored(found.rev, revision))

    def _keep(self, store_id: str, stored: _Stored) -> None:
        self._stored[store_id] = stored
        waiting = self._waiting.get(store_id)
        if waiting is not None and waiting.revision <= stored.revision:
            del self._waiting[store_id]

    def _document(self, store_id: str, status: StoreStatus) -> bytes:
        stored = self._stored.get(store_id)
        document = {"_id": STATUS_PREFIX + store_id, "channels": [STATUS_CHANNEL], **msgspec.structs.asdict(status)}
        if stored is not None:
            document["_rev"] = stored.rev
        return _encode_sorted(document)
