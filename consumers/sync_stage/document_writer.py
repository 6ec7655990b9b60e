"""Writes documents in the largest batches that have come together, one request at a time, until each is stored.

The first document after a pause goes at once. While they keep coming, requests are GATHER_S apart, since a request costs
the gateway and us as much as a dozen documents; what arrives meanwhile is the next batch, so batches grow with the load.
What is waiting is bounded by whoever adds: the unacknowledged messages of a session.

A row that is stored, known already, or refused for good is reported. A request without rows means, for its documents:

| how it ended | several | one alone |
|---|---|---|
| 400, 413: something in it is refused | each is tried alone | refused |
| 500, or we raised | each is tried alone | a failure |
| cut off, and the process that answers then is a new one | each is tried alone | a failure |
| cut off, and the same process answers: the network's fault | again | again, alone |
| silent, or its answer cannot be read | each is tried alone | again, alone |
| not connected, any other status | again | again, alone |

Tried alone are documents in turn with the others, and while no other request of this instance is under way. A document
with FAILURES_ALLOWED counted failures (see :mod:`consumers.sync_stage.suspects`) is refused, unless the gateway turns out
to hold it. Everything else is tried again for as long as it takes, with full-jitter back-off while nothing succeeds.

Whether a process ended is told by when it opened the database, asked before each lone try and after each cut or silence.
Everything waits until somebody answers that question; where a gateway does not say when it opened, no process has ended.
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

from consumers.sync_stage.suspects import FAILURES_ALLOWED, Suspects, Task
from fleetwire.errors import GatewayError
from fleetwire.gateway_client import BulkRow, GatewayClient

BATCH_DOCUMENTS: Final = 200
GATHER_S: Final = 0.008
BATCH_BYTES: Final = 4 * 1024 * 1024
RETRY_BASE_S: Final = 0.05
RETRY_CAP_S: Final = 2.0
LIVES_KNOWN: Final = 64
CONFLICT: Final = 409
FAILED: Final = 500
REFUSED_FOR_GOOD: Final[dict[int, str]] = {400: "schema", CONFLICT: "key_conflict", 413: "oversized"}
"""Row status -> reason of the dead letter. 401, 403 and 404 are not here: a wrong configuration gets mended."""
OTHER_CONTENT: Final = "the gateway holds another content under this key"
GATEWAY_ENDED: Final = (
    f"the gateway's process ended {FAILURES_ALLOWED} times while it was storing this document alone; "
    "the last line of its own log before each end says why"
)

_log = logging.getLogger(__name__)


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


class Request(Struct, frozen=True):
    """The documents of one request; ``alone``: one suspect, and nothing else of this instance under way."""

    tasks: list[Task]
    alone: bool


class DocumentWriter:
    """``stored`` hears of a whole batch at once, ``refused`` of each task with its reason and the gateway's words.

    ``quiet`` is held by whoever may not write while a suspect is tried, as it is here meanwhile.
    """

    def __init__(
        self,
        gateway: GatewayClient,
        suspects: Suspects,
        quiet: asyncio.Lock,
        *,
        stored: Callable[[Sequence[Task]], None],
        refused: Callable[[Task, str, str], None],
    ) -> None:
        self._gateway = gateway
        self._suspects = suspects
        self._quiet = quiet
        self._stored = stored
        self._refused = refused
        self._waiting: deque[Task] = deque()
        self._added = asyncio.Event()
        self._suspect_is_next = False
        self._setbacks = 0
        self.refusal = ""
        """Why the gateway takes nothing now; empty: it took the last, or was not asked."""
        self._lives: deque[int] = deque(maxlen=LIVES_KNOWN)
        # Nothing is cut off at first, but whoever answers then is known before anything is written.
        self._cut_off: Request | None = Request([], alone=False)
        self.counters = WriterCounters()

    def add(self, task: Task) -> None:
        """Write this as soon as possible."""
        if task.prepared in self._suspects:
            self._suspects.extend([task])
        else:
            self._waiting.append(task)
        self._added.set()

    def __len__(self) -> int:
        cut_off = self._cut_off.tasks if self._cut_off is not None else ()
        return len(self._waiting) + len(self._suspects) + len(cut_off)

    async def run(self) -> None:
        """Write until cancelled; a request under way then is abandoned, and its messages are not acknowledged."""
        loop = asyncio.get_running_loop()
        while True:
            if not len(self):
                self._added.clear()
                await self._added.wait()
            began_s = loop.time()
            if await self._go_on():
                few = not self._suspects and len(self._waiting) < BATCH_DOCUMENTS
                if few and (early_s := began_s + GATHER_S - loop.time()) > 0:
                    await asyncio.sleep(early_s)
                continue
            await asyncio.sleep(random.uniform(0, min(RETRY_CAP_S, RETRY_BASE_S * 2 ** min(self._setbacks, 10))))

    async def _go_on(self) -> bool:
        """The next request and all that follows from it; False when it is better to pause before another."""
        try:
            if self._cut_off is not None:
                await self._judge(self._cut_off)
                return True
            settled = await self._write_next()
        except GatewayError as error:
            self.counters.gateway_errors += 1
            self.refusal = str(error)
            _log.warning("%d documents wait: %s", len(self), error)
            settled = False
        if settled:
            self._setbacks, self.refusal = 0, ""
        else:
            self._setbacks += 1
        return settled

    async def _judge(self, cut_off: Request) -> None:
        """Find out whether the gateway's process ended. Raises GatewayError while nobody answers."""
        ended = await self._is_new_life()
        self._cut_off = None
        self._suspect_is_next = False
        if not ended:
            self._again(cut_off)
        elif cut_off.alone:
            await self._fail(cut_off.tasks[0], "crash", GATEWAY_ENDED)
        elif cut_off.tasks:
            _log.warning("the gateway's process ended with %d documents: each is tried alone", len(cut_off.tasks))
            self._suspect(cut_off.tasks)

    async def _is_new_life(self) -> bool:
        """Whether the process that answers now was never heard of before."""
        opened_us = await self._gateway.opened_us()
        if not opened_us or opened_us in self._lives:
            return False
        self._lives.append(opened_us)
        return True

    async def _write_next(self) -> bool:
        if not self._suspects or (self._waiting and not self._suspect_is_next):
            self._suspect_is_next = True
            return await self._write(Request(self._take(), alone=False))
        self._suspect_is_next = False
        async with self._quiet:
            await self._is_new_life()
            return await self._write(Request([self._suspects.take()], alone=True))

    def _take(self) -> list[Task]:
        batch: list[Task] = []
        size = 0
        while self._waiting and len(batch) < BATCH_DOCUMENTS:
            size += len(self._waiting[0].prepared.document)
            if batch and size > BATCH_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _write(self, request: Request) -> bool:
        tasks = request.tasks
        try:
            rows = await self._gateway.bulk_docs([task.prepared.document for task in tasks], new_edits=False)
        except GatewayError as error:
            await self._request_failed(request, error)
            raise
        except Exception as error:  # noqa: BLE001 - one document that we cannot even write must not end the writer
            _log.warning("%d documents could not be written", len(tasks), exc_info=error)
            await self._spoiled(request, "stage_error", traceback.format_exception_only(error)[-1].strip())
            return False
        self.counters.requests += 1
        self.counters.documents += len(tasks)
        return self._settle(request, rows)

    async def _request_failed(self, request: Request, error: GatewayError) -> None:
        reason = REFUSED_FOR_GOOD.get(error.status or 0)
        if error.cut_off:
            self._cut_off = request
        elif error.status == FAILED:
            await self._spoiled(request, "stage_error", str(error))
        elif error.status is None and not error.definite:
            self._suspect(request.tasks)
            # Until somebody answers, each further batch would only become suspect as well.
            self._cut_off = Request([], alone=False)
        elif reason is None or error.status == CONFLICT:
            self._again(request)
        elif request.alone:
            self._refused(request.tasks[0], reason, str(error))
        else:
            self._suspect(request.tasks)

    def _suspect(self, tasks: Sequence[Task]) -> None:
        """Try these alone, and what brings the same documents and waits among the others."""
        self._suspects.extend(tasks)
        others: deque[Task] = deque()
        for task in self._waiting:
            if task.prepared in self._suspects:
                self._suspects.extend([task])
            else:
                others.append(task)
        self._waiting = others

    def _again(self, request: Request) -> None:
        if request.alone:
            self._suspects.extend(request.tasks)
        else:
            self._waiting.extendleft(reversed(request.tasks))

    async def _spoiled(self, request: Request, reason: str, detail: str) -> None:
        if request.alone:
            await self._fail(request.tasks[0], reason, detail)
        else:
            self._suspect(request.tasks)

    async def _fail(self, task: Task, reason: str, detail: str) -> None:
        failures = self._suspects.count_failure(task.prepared)
        _log.warning("%s failed alone at the gateway: %s; failures that count: %d", task.prepared.key, reason, failures)
        if failures < FAILURES_ALLOWED or not await self._give_up(task, reason, detail):
            self._suspects.extend([task])

    async def _give_up(self, task: Task, reason: str, detail: str) -> bool:
        """Refuse a document, in all messages that bring it; False while nobody can say what the gateway holds.

        It may have stored the document before it failed: then it is rejected by nobody. A gateway that answers, but
        does not tell us (a status from 400 to 500), will not tell us later either.
        """
        document = task.prepared
        try:
            held = await self._gateway.get(str(document.key))
        except GatewayError as error:
            _log.warning("%s: nobody says whether it is stored: %s", document.key, error)
            if error.status is None or error.status > FAILED:
                return False
            held = None
            detail = f"{detail}; the gateway does not say whether it is stored: {error}"
        tasks = [task, *self._suspects.take_all(document)]
        if held is not None and held.rev == document.revision:
            self._done(tasks)
            return True
        if held is not None:
            reason, detail = REFUSED_FOR_GOOD[CONFLICT], OTHER_CONTENT
            self.counters.conflicts += len(tasks)
        for one in tasks:
            self._refused(one, reason, detail)
        return True

    def buried(self, task: Task) -> None:
        """The broker has the dead letter of a document that was refused."""
        self._suspects.forget(task.prepared)

    def _settle(self, request: Request, rows: list[BulkRow]) -> bool:
        stored: list[Task] = []
        again: list[Task] = []
        for task, row in zip(request.tasks, rows, strict=True):
            if row.status == 0 and row.id == str(task.prepared.key):
                stored.append(task)
            elif row.status in REFUSED_FOR_GOOD:
                self.counters.conflicts += row.status == CONFLICT
                words = f"the gateway refused the document: {row.status} {row.error}: {row.reason}"
                self._refused(task, REFUSED_FOR_GOOD[row.status], words)
            else:
                again.append(task)
        if stored:
            self._done(stored)
        if again:
            self.counters.gateway_errors += 1
            _log.warning("the gateway did not store %d of %d documents; trying again", len(again), len(rows))
            # Behind the others: what is refused for long must not hold them up.
            queue: Suspects | deque[Task] = self._suspects if request.alone else self._waiting
            queue.extend(again)
        return len(again) < len(rows)

    def _done(self, tasks: list[Task]) -> None:
        self._suspects.stored(task.prepared for task in tasks)
        self._stored(tasks)
