"""Store statuses from retained registers into documents: the newest stays, whoever wrote before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from consumers.sync_stage.stage import SyncStage
from consumers.sync_stage.status_writer import BATCH_STATUSES, StatusWriter
from fleetwire.events import StoreStatus
from fleetwire.gateway_client import BulkRow, GatewayClient
from tests.broker import Broker
from tests.parm_live.running import TOPICS, UTC_TIME, Wire, running, until, wire
from tests.sync_stage.test_events import gateway, sync_settings

DOCUMENT = "status:taco.west.s0001"


def status(revision: int, store: str = "s0001", **changes: Any) -> StoreStatus:
    """A store's status with this revision."""
    values: dict[str, Any] = {
        "brand": "taco",
        "region": "west",
        "store": store,
        "status": "OPEN",
        "flapping": False,
        "terminals_online": 2,
        "terminals_total": 2,
        "revision": revision,
        "time": UTC_TIME,
    }
    return StoreStatus(**{**values, **changes})


async def publish(client: Wire, value: StoreStatus) -> None:
    """Publish a status as PARM does."""
    topic = TOPICS.status(value.brand, value.region, value.store)
    await client.publish(topic, msgspec.json.encode(value), retain=True)


async def test_the_newest_status_is_the_document(broker: Broker, tmp_path: Path, port: int) -> None:
    """Later revisions replace the document, an older one does not, and a restart finds its way on."""
    url = f"http://127.0.0.1:{port}/fleet"
    async with gateway(tmp_path, port), wire(broker) as parm, GatewayClient(url) as client:

        async def stored(revision: int, stage: SyncStage, written: int) -> None:
            await until(lambda: stage._statuses.written == written, f"write {written}")
            found = await client.get(DOCUMENT)
            assert found is not None
            document = json.loads(found.body)
            assert document["revision"] == revision
            assert document["channels"] == ["status"]

        first = SyncStage(sync_settings(broker, tmp_path, port))
        await publish(parm, status(1))
        async with running(first):
            await stored(1, first, 1)
            await publish(parm, status(3, status="OFFLINE"))
            await stored(3, first, 2)
            await publish(parm, status(2))
            await publish(parm, status(4))
            await stored(4, first, 3)
        second = SyncStage(sync_settings(broker, tmp_path, port))
        await publish(parm, status(5))
        async with running(second):
            await stored(5, second, 1)


async def test_a_conflict_keeps_the_greater_revision(broker: Broker, tmp_path: Path, port: int) -> None:
    """Where somebody else wrote meanwhile, the document is read again, and only a newer status replaces it."""
    url = f"http://127.0.0.1:{port}/fleet"
    async with gateway(tmp_path, port), wire(broker) as parm, GatewayClient(url) as client:
        await client.put(DOCUMENT, msgspec.json.encode(status(7)))
        stage = SyncStage(sync_settings(broker, tmp_path, port))
        async with running(stage):
            await publish(parm, status(6))
            await publish(parm, status(1, "s0002"))
            await until(lambda: stage._statuses.written == 1 and not len(stage._statuses), "the other store")
            found = await client.get(DOCUMENT)
            assert found is not None
            assert json.loads(found.body)["revision"] == 7
            await publish(parm, status(8))
            await until(lambda: stage._statuses.written == 2, "the newer status")
            found = await client.get(DOCUMENT)
            assert found is not None
            assert json.loads(found.body)["revision"] == 8


async def test_a_bad_status_becomes_a_dead_letter(broker: Broker, tmp_path: Path, port: int) -> None:
    """A status that cannot be read, or on another store's topic, is a dead letter; a cleared one is nothing."""
    topic = TOPICS.status("taco", "west", "s0001")
    async with gateway(tmp_path, port), wire(broker, "dead-letter/#") as parm:
        stage = SyncStage(sync_settings(broker, tmp_path, port))
        async with running(stage):
            await parm.publish(topic, b"")
            await parm.publish(topic, b"{")
            await parm.publish(topic, b"{}")
            await parm.publish(topic, msgspec.json.encode(status(1, "s0002")))
            await parm.publish(topic, msgspec.json.encode(status(1, "s/1")))
            await publish(parm, status(1))
            await until(lambda: stage._statuses.written == 1, "the good one")
            await until(lambda: len(parm.seen) == 4, "four letters")
    reasons = [message.user_property("reason") for message in parm.seen]
    assert reasons == ["malformed_json", "schema", "topic_mismatch", "schema"]


async def test_bad_statuses_do_not_stop_reading(broker: Broker, tmp_path: Path, port: int) -> None:
    """More of them in one read than may be held: each is a letter, though the same session reads the PUBACKs."""
    async with gateway(tmp_path, port), wire(broker, "dead-letter/#") as parm:
        stage = SyncStage(sync_settings(broker, tmp_path, port))
        async with running(stage):
            stage._sessions.outbound._backlog_limit = 4
            topics = [TOPICS.status("taco", "west", f"s{number:04d}") for number in range(40)]
            await asyncio.gather(*(parm.publish(topic, b"[") for topic in topics))
            await until(lambda: len(parm.seen) == len(topics), "a letter for each")
            await publish(parm, status(1))
            await until(lambda: stage._statuses.written == 1, "the good one")


class ForbiddingGateway(GatewayClient):
    """Refuses the status of every store but one."""

    def __init__(self, allowed: str, quiet: asyncio.Lock) -> None:
        self.allowed = allowed
        self.quiet = quiet
        self.was_quiet: list[bool] = []

    async def bulk_docs(self, docs: Sequence[bytes], *, new_edits: bool) -> list[BulkRow]:
        """403 for all others."""
        self.was_quiet.append(self.quiet.locked())
        stores = [json.loads(doc)["store"] for doc in docs]
        return [BulkRow(id=store, rev="1-a", status=0 if store == self.allowed else 403) for store in stores]


async def test_refused_statuses_do_not_hold_up_the_others() -> None:
    """More of them than a batch holds, and the status behind them is written all the same, never beside a lone try."""
    quiet = asyncio.Lock()
    gateway = ForbiddingGateway("last", quiet)
    writer = StatusWriter(gateway, quiet)
    for number in range(BATCH_STATUSES + 1):
        writer.add(status(1, f"s{number:04d}"))
    writer.add(status(1, "last"))
    work = asyncio.create_task(writer.run())
    try:
        await until(lambda: writer.written == 1, "the last one")
    finally:
        work.cancel()
    assert len(writer) == BATCH_STATUSES + 1
    assert all(gateway.was_quiet)
