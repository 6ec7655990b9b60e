"""Writes documents in the largest batches that have come together, one request at a time, until each is stored.

The first document after a pause goes at once. While they keep coming, requests are GATHER_S apart, since a request costs
the gateway and us as much as a dozen documents; what arrives meanwhile is the next batch, so batches grow with the load.
A row that is stored, known already, or refused for good is reported; everything else is tried again with full-jitter
back-off, for as long as it takes. A document that makes the gateway (500) or us fail is tried alone, behind all that
wait, and refused after FAILURES_ALLOWED failures if others were stored meanwhile. What is waiting is bounded by whoever
adds: the unacknowledged messages of a session.
"""

from __future__ import annotations

import asyncio
import logging
import random
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from consumers.sync_stage.canonical_documents import Prepared
from fleetwire.errors import GatewayError
from fleetwire.gateway_client import BulkRow, GatewayClient
from fleetwire.identity import Key
from fleetwire.in_hand import Identity
from fleetwire.mqtt import Message

BATCH_DOCUMENTS: Final = 200
GATHER_S: Final = 0.008
BATCH_BYTES: Final = 4 * 1024 * 1024
RETRY_BASE_S: Final = 0.05
RETRY_CAP_S: Final = 2.0
CONFLICT: Final = 409
FAILED: Final = 500
FAILURES_ALLOWED: Final = 3
REFUSED_FOR_GOOD: Final[dict[int, str]] = {400: "schema", 409: "key_conflict", 413: "oversized"}
"""Row status -> reason of the dead letter. 401, 403 and 404 are not here: a wrong configuration gets mended."""

_log = logging.getLogger(__name__)


class Task(Struct, frozen=True):
    """One document to write, and the message that it came with."""

    identity: Identity
    message: Message
    prepared: Prepared


class WriterCounters(Struct):
    """What the writer has done."""

    requests: int = 0
    documents: int = 0
    gateway_errors: int = 0
    conflicts: int = 0

    @property
    def batch_size_average(self) -> float:
        """Documents a request."""
        return round(self.documents / self.requests, 1) if self.requests else 0.0


class DocumentWriter:
    """``stored`` hears of a whole batch at once, ``refused`` of each task with its reason and the gateway's words."""

    def __init__(
        self,
        gateway: GatewayClient,
        stored: Callable[[Sequence[Task]], None],
        refused: Callable[[Task, str, str], None],
    ) -> None:
        self._gateway = gateway
        self._stored = stored
        self._refused = refused
        self._waiting: deque[Task] = deque()
        self._added = asyncio.Event()
        self._batch_limit = BATCH_DOCUMENTS
        self._failures: dict[Key, tuple[int, int]] = {}
        self.counters = WriterCounters()

    def add(self, task: Task) -> None:
        """Write this as soon as possible."""
        self._waiting.append(task)
        self._added.set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Write until cancelled; a request under way then is abandoned, and its messages are not acknowledged."""
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                self._added.clear()
                await self._added.wait()
            began_s = loop.time()
            if await self._write(self._take()):
                failures = 0
                if len(self._waiting) < self._batch_limit and (early_s := began_s + GATHER_S - loop.time()) > 0:
                    await asyncio.sleep(early_s)
                continue
            failures += 1
            await asyncio.sleep(random.uniform(0, min(RETRY_CAP_S, RETRY_BASE_S * 2 ** min(failures, 10))))

    def _take(self) -> list[Task]:
        batch: list[Task] = []
        size = 0
        while self._waiting and len(batch) < self._batch_limit:
            size += len(self._waiting[0].prepared.document)
            if batch and size > BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _write(self, batch: list[Task]) -> bool:
        counters = self.counters
        try:
            rows = await self._gateway.bulk_docs([task.prepared.document for task in batch], new_edits=False)
        except GatewayError as error:
            counters.gateway_errors += 1
            _log.warning("%d documents wait: %s", len(batch) + len(self._waiting), error)
            self._request_failed(batch, error)
            return False
        except Exception as error:  # noqa: BLE001 - one document that we cannot even write must not end the writer
            _log.warning("%d documents could not be written", len(batch), exc_info=error)
            self._failed(batch, traceback.format_exception_only(error)[-1].strip())
            return False
        self._batch_limit = BATCH_DOCUMENTS
        counters.requests += 1
        counters.documents += len(batch)
        return self._settle(batch, rows)

    def _request_failed(self, batch: list[Task], error: GatewayError) -> None:
        """A request refused for what is in it is tried document by document, so that one cannot hold up the rest."""
        if error.status == FAILED:
            self._failed(batch, str(error))
            return
        reason = REFUSED_FOR_GOOD.get(error.status or 0)
        if reason is not None and error.status != CONFLICT:
            if len(batch) == 1:
                self._batch_limit = BATCH_DOCUMENTS
                self._refused(batch[0], reason, str(error))
                return
            self._batch_limit = 1
        self._waiting.extendleft(reversed(batch))

    def _failed(self, batch: list[Task], detail: str) -> None:
        """Something in the batch may be poison, or the gateway is ill: only a document that fails alone, again and
        again while others are stored, is to blame."""
        if len(batch) > 1:
            self._batch_limit = 1
            self._waiting.extendleft(reversed(batch))
            return
        (task,) = batch
        failures, stored_before = self._failures.get(task.prepared.key, (0, self.counters.documents))
        if failures + 1 >= FAILURES_ALLOWED and self.counters.documents > stored_before:
            del self._failures[task.prepared.key]
            self._refused(task, "stage_error", detail)
            return
        self._failures[task.prepared.key] = failures + 1, stored_before
        self._waiting.append(task)

    def _settle(self, batch: list[Task], rows: list[BulkRow]) -> bool:
        stored: list[Task] = []
        again: list[Task] = []
        for task, row in zip(batch, rows, strict=True):
            self._failures.pop(task.prepared.key, None)
            if row.status == 0 and row.id == str(task.prepared.key):
                stored.append(task)
            elif row.status in REFUSED_FOR_GOOD:
                self.counters.conflicts += row.status == CONFLICT
                words = f"the gateway refused the document: {row.status} {row.error}: {row.reason}"
                self._refused(task, REFUSED_FOR_GOOD[row.status], words)
            else:
                again.append(task)
        if stored:
            self._stored(stored)
        if again:
            self.counters.gateway_errors += 1
            _log.warning("the gateway did not store %d of %d documents; trying again", len(again), len(batch))
            self._waiting.extend(again)  # behind the others: what is refused for long must not hold them up
        return not again
