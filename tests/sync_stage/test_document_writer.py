"""How the writer of documents treats each answer of a gateway; the answers are given, nothing is on the network."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from consumers.sync_stage.canonical_documents import Prepared
from consumers.sync_stage.document_writer import BATCH_BYTES, BATCH_DOCUMENTS, DocumentWriter
from consumers.sync_stage.suspects import Suspects, Task
from fleetwire.attempt_record import FILE_NAME, AttemptRecord
from fleetwire.errors import GatewayError
from fleetwire.gateway_client import BulkRow, GatewayClient, GatewayDocument
from fleetwire.identity import Key
from fleetwire.mqtt import Message
from tests.parm_live.running import SOURCE, until


class ScriptedGateway(GatewayClient):
    """Answers each request with the next of ``script``: an error for all of it, or a status by document id.

    ``held`` are the documents that it says it holds, ``lives`` what it says it is, the last for ever.
    """

    def __init__(self, *script: GatewayError | dict[str, int]) -> None:
        self.script = deque(script)
        self.requests: list[list[str]] = []
        self.held: dict[str, str] = {}
        self.lives = deque([1])

    async def opened_us(self) -> int:
        """Which life this is."""
        return self.lives.popleft() if len(self.lives) > 1 else self.lives[0]

    async def get(self, document_id: str) -> GatewayDocument | None:
        """One of ``held``, by the last part of its id."""
        revision = self.held.get(document_id.rpartition(".")[2])
        return GatewayDocument(document_id, revision, b"") if revision else None

    async def bulk_docs(self, docs: Sequence[bytes], *, new_edits: bool) -> list[BulkRow]:
        """The next answer; everything is stored after the last."""
        ids = [doc.decode().strip() for doc in docs]
        self.requests.append([one.rpartition(".")[2] for one in ids])
        answer = self.script.popleft() if self.script else {}
        if isinstance(answer, GatewayError):
            raise answer
        return [BulkRow(id=one, rev="1-a", status=answer.get(one.rpartition(".")[2], 0)) for one in ids]


class Written:
    """What the writer reported."""

    def __init__(self, gateway: GatewayClient, folder: Path) -> None:
        self.stored: list[int] = []
        self.refused: list[tuple[int, str]] = []
        self.given_up: list[Task] = []
        self.quiet = asyncio.Lock()
        self.attempts = AttemptRecord(folder / FILE_NAME)
        self.writer = DocumentWriter(
            gateway, Suspects(self.attempts), self.quiet, stored=self._stored, refused=self._refused
        )

    def _stored(self, tasks: Sequence[Task]) -> None:
        self.stored += [task.prepared.key.sequence for task in tasks]

    def _refused(self, task: Task, reason: str, detail: str) -> None:
        self.refused.append((task.prepared.key.sequence, reason))
        self.given_up.append(task)

    def add(self, *sequences: int, size: int = 0) -> None:
        """Tasks whose document is just the id, padded to a size."""
        for sequence in sequences:
            self.writer.add(self.task(sequence, size=size))

    @staticmethod
    def task(sequence: int, *, revision: str = "1-a", size: int = 0) -> Task:
        """One of them."""
        message = Message(
            topic="t",
            payload=b"",
            qos=1,
            retain=False,
            duplicate=False,
            properties=[],
            content_type=None,
            response_topic=None,
            correlation_data=None,
            message_expiry_s=None,
            packet_id=sequence,
            connection=1,
        )
        return Task(("t", b"", ()), message, prepared(sequence, revision=revision, size=size))

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """The writer's task, ended afterwards."""
        task = asyncio.create_task(self.writer.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self.attempts.close()


def prepared(sequence: int, *, revision: str = "1-a", size: int = 0) -> Prepared:
    """A document that is just its id, padded to a size."""
    key = Key(SOURCE, sequence)
    return Prepared(key, 1, str(key).encode().ljust(size), revision)


async def test_rows_are_treated_one_by_one(tmp_path: Path) -> None:
    """Stored rows are reported at once, final refusals as such, and only the rest is tried again."""
    gateway = ScriptedGateway({"2": 409, "3": 503, "4": 403, "5": 400, "6": 413})
    written = Written(gateway, tmp_path)
    written.add(1, 2, 3, 4, 5, 6)
    async with written.at_work():
        await until(lambda: len(written.stored) == 3, "everything that can be stored")
    assert gateway.requests == [["1", "2", "3", "4", "5", "6"], ["3", "4"]]
    assert written.stored == [1, 3, 4]
    assert written.refused == [(2, "key_conflict"), (5, "schema"), (6, "oversized")]
    assert written.writer.counters.conflicts == 1


async def test_a_gateway_that_fails_is_tried_again(tmp_path: Path) -> None:
    """A request that never came to it, and one that is refused for now, is repeated whole and in order."""
    gateway = ScriptedGateway(GatewayError("not connected"), GatewayError("busy", status=503))
    written = Written(gateway, tmp_path)
    written.add(1, 2)
    async with written.at_work():
        await until(lambda: written.stored == [1, 2], "both stored")
    assert gateway.requests == [["1", "2"]] * 3
    assert written.writer.counters.gateway_errors == 2


async def test_a_document_that_spoils_the_request_is_found(tmp_path: Path) -> None:
    """A request refused for its content is repeated document by document, and only the bad one is given up."""
    bad = GatewayError("bad request", status=400)
    gateway = ScriptedGateway(bad, bad)
    written = Written(gateway, tmp_path)
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.stored == [2, 3], "the others stored")
    assert gateway.requests[:2] == [["1", "2", "3"], ["1"]]
    assert written.refused == [(1, "schema")]


async def test_a_request_is_bounded_in_bytes(tmp_path: Path) -> None:
    """Large documents travel in smaller batches; one that is larger than a batch travels alone."""
    gateway = ScriptedGateway()
    written = Written(gateway, tmp_path)
    written.add(1, 2, 3, size=BATCH_BYTES // 2)
    written.add(4, size=BATCH_BYTES + 1)
    async with written.at_work():
        await until(lambda: len(written.stored) == 4, "all stored")
    assert gateway.requests == [["1", "2"], ["3"], ["4"]]


async def test_documents_refused_for_now_do_not_hold_up_the_others(tmp_path: Path) -> None:
    """A whole batch that the gateway does not take yet goes behind what waits, and is tried again after it."""
    refused = range(1, BATCH_DOCUMENTS + 1)
    gateway = ScriptedGateway({str(sequence): 403 for sequence in refused})
    written = Written(gateway, tmp_path)
    written.add(*refused, BATCH_DOCUMENTS + 1)
    async with written.at_work():
        await until(lambda: len(written.stored) == BATCH_DOCUMENTS + 1, "all of them")
    assert written.stored[0] == BATCH_DOCUMENTS + 1
