"""Brings messages to the inventory and the inventory to the gateway; a message is done when the gateway has its state.

What waits is bounded by the client's backlog: nothing is acknowledged while the gateway is away, so the broker keeps
the rest. One document that the gateway refuses for good does not hold up the others: it stays in the inventory, is
counted, and is offered again every REFUSED_RETRY_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from consumers.olympus_dgs.inventory import Inventory, ToStore
from consumers.olympus_dgs.reading import read_document
from fleetwire.documents import DEVICE_PREFIX, DeviceDocument
from fleetwire.errors import BadPayload, GatewayError, StorageError
from fleetwire.gateway_client import BulkRow, GatewayClient

BATCH_DEVICES: Final = 500
RETRY_BASE_S: Final = 0.05
RETRY_CAP_S: Final = 2.0
REFUSED_RETRY_S: Final = 5.0
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500
_LARGEST_EXPONENT: Final = 10

_log = logging.getLogger(__name__)

Done = Callable[[], None]


class InventoryWriter:
    """``add`` what arrives, run ``run`` as a task; ``on_taken`` hears of every register that was committed here."""

    def __init__(
        self, inventory: Inventory, gateway: GatewayClient, on_taken: Callable[[DeviceDocument], None]
    ) -> None:
        self.stored_total = 0
        self.conflicts_total = 0
        self.refused_total = 0
        self.retries_total = 0
        self.refusal = ""
        """Why the gateway takes nothing now; empty: it took the last, or was not asked."""
        self._inventory = inventory
        self._gateway = gateway
        self._on_taken = on_taken
        self._waiting: deque[tuple[DeviceDocument, Done]] = deque()
        self._arrived = asyncio.Event()
        self._failures = 0

    @property
    def waiting(self) -> int:
        """Messages that are not in the inventory yet."""
        return len(self._waiting)

    def add(self, device: DeviceDocument, done: Done) -> None:
        """A state arrived; ``done`` is called when the gateway has it, or something newer."""
        self._waiting.append((device, done))
        self._arrived.set()

    async def run(self) -> None:
        """Until cancelled; what a crash left in the inventory goes first."""
        while True:
            batch = [self._waiting.popleft() for _ in range(min(BATCH_DEVICES, len(self._waiting)))]
            await self._until_done(lambda taken=batch: self._take(taken))  # type: ignore[misc]
            await self._until_done(self._store_all)
            for _, done in batch:
                done()
            if not self._waiting:
                self._arrived.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(REFUSED_RETRY_S):
                        await self._arrived.wait()

    async def _until_done(self, step: Callable[[], object]) -> None:
        while True:
            try:
                result = step()
                if asyncio.iscoroutine(result):
                    await result
            except (GatewayError, StorageError) as error:
                if isinstance(error, GatewayError):
                    self.refusal = str(error)
                if self._failures == 0:
                    _log.warning("%s; trying again", error)
                self._failures += 1
                self.retries_total += 1
                span_s = min(RETRY_CAP_S, RETRY_BASE_S * 2 ** min(self._failures, _LARGEST_EXPONENT))
                await asyncio.sleep(random.uniform(RETRY_BASE_S / 2, span_s))
            else:
                self._failures, self.refusal = 0, ""
                return

    def _take(self, batch: Sequence[tuple[DeviceDocument, Done]]) -> None:
        if batch:
            for device in self._inventory.take([device for device, _ in batch]):
                self._on_taken(device)

    async def _store_all(self) -> None:
        """Write everything that the gateway does not have; a conflict that was settled is written in the next round."""
        settled = True
        while settled:
            settled = False
            after = ""
            while rows := self._inventory.to_store(after, BATCH_DEVICES):
                after = rows[-1].terminal
                answers = await self._gateway.bulk_docs([row.document for row in rows], new_edits=True)
                settled = await self._receive(rows, answers) or settled

    async def _receive(self, rows: Sequence[ToStore], answers: Sequence[BulkRow]) -> bool:
        pairs = list(zip(rows, answers, strict=True))
        stored = [(row, answer.rev) for row, answer in pairs if not answer.status]
        self._inventory.stored(stored)
        self.stored_total += len(stored)
        settled = False
        for row, answer in pairs:
            if answer.status == _CONFLICT:
                await self._settle(row)
                settled = True
            elif answer.status >= _SERVER_ERROR:
                raise GatewayError(f"{row.terminal}: {answer.status} {answer.reason}", status=answer.status)
            elif answer.status:
                self.refused_total += 1
                _log.warning("the gateway refuses %s: %s %s", row.terminal, answer.status, answer.reason)
        return settled

    async def _settle(self, row: ToStore) -> None:
        self.conflicts_total += 1
        found = await self._gateway.get(DEVICE_PREFIX + row.terminal)
        theirs: DeviceDocument | None = None
        if found is not None:
            try:
                theirs = read_document(found.body)
            except BadPayload as error:
                _log.warning("the gateway's document of %s is no device: %s; replacing it", row.terminal, error)
        self._inventory.settle_conflict(row, theirs, found.rev if found is not None else "")
        if theirs is not None and (device := self._inventory.device(row.terminal)) is not None:
            self._on_taken(device)
