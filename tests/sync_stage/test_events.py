"""The sync stage between a real broker and a real gateway: stored, then acknowledged; whatever fails in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from consumers.gateway.server import serve
from consumers.gateway.store import DocumentStore
from consumers.sync_stage.stage import BACKLOG_LIMIT, SyncStage
from fleetwire.events import CanonicalEvent
from fleetwire.gateway_client import GatewayClient
from fleetwire.identity import Terminal
from fleetwire.outcomes import Ask, encode
from fleetwire.revisions import revision_id
from fleetwire.settings import StageSettings
from parm_stub.transform import Transformer, canonical_json
from tests.broker import Broker
from tests.parm_live.running import (
    ROOT,
    SOURCE,
    TOPICS,
    Wire,
    envelope,
    process,
    raw_control,
    raw_sale,
    running,
    stage_settings,
    until,
    wire,
)

TERMINAL = Terminal.parse(SOURCE)
TOPIC = TOPICS.canonical("transaction", TERMINAL)
_TRANSFORM = Transformer(TOPICS, {"taco": "taco"}).transform


def canonical(sequence: int, source: str = SOURCE) -> dict[str, Any]:
    """A canonical sign-on, as values."""
    raw_topic = TOPICS.terminal("transaction", Terminal.parse(source))
    event: CanonicalEvent = _TRANSFORM(raw_topic, envelope(sequence, source), raw_control(sequence, source), None)
    values: dict[str, Any] = json.loads(canonical_json(event))
    return values


async def send(client: Wire, sequence: int, **changes: Any) -> None:
    """Publish a canonical event, with changes of its values."""
    await client.publish(TOPIC, json.dumps({**canonical(sequence), **changes}).encode(), envelope(sequence))


@contextlib.asynccontextmanager
async def gateway(folder: Path, port: int) -> AsyncIterator[DocumentStore]:
    """The real gateway behind HTTP in this loop; its file stays, so that it can come back."""
    store = DocumentStore.open(folder / "gateway.sqlite")
    serving = asyncio.create_task(serve(store, socket.create_server(("127.0.0.1", port))))
    try:
        yield store
    finally:
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        store.close()


def sync_settings(broker: Broker, folder: Path, port: int, **changes: Any) -> StageSettings:
    """Settings of a sync stage that writes to this port."""
    url = f"http://127.0.0.1:{port}/fleet"
    return stage_settings("sync_stage", broker, folder, gateway_url=url, **changes)


async def test_an_event_becomes_a_document(broker: Broker, tmp_path: Path, port: int) -> None:
    """The document has the key as its id, all values of the event, its channel and sending, and its first revision."""
    async with gateway(tmp_path, port), wire(broker) as sender:
        stage = SyncStage(sync_settings(broker, tmp_path, port))
        async with running(stage), GatewayClient(f"http://127.0.0.1:{port}/fleet") as client:
            sale = _TRANSFORM(
                TOPICS.terminal("transaction", TERMINAL),
                envelope(1, event_type="transaction.retail"),
                raw_sale(1).replace(b"Taco", b"Taco <1> & Co"),
                None,
            )
            await sender.publish(TOPIC, canonical_json(sale), envelope(1, attempt=2))
            await until(lambda: stage.witness.counters["handed_on_total"], "the event is stored")
            found = await client.get(f"{SOURCE}.1")
    assert found is not None
    document = json.loads(found.body)
    body = {name: value for name, value in document.items() if not name.startswith("_")}
    event = json.loads(canonical_json(sale))
    del event["key"]
    assert body == {**event, "channels": ["transaction"], "attempt": 2}
    assert found.rev == revision_id(1, "", {**event, "channels": ["transaction"]})
    assert stage.witness.first_taken_on_retry[SOURCE].to_list() == [(1, 1)]


async def test_the_same_values_in_other_bytes_are_the_same_document(broker: Broker, tmp_path: Path, port: int) -> None:
    """A repeat with other key order and white space is a no-op, not a conflict."""
    async with gateway(tmp_path, port) as store, wire(broker, "dead-letter/#") as sender:
        stage = SyncStage(sync_settings(broker, tmp_path, port))
        async with running(stage):
            await send(sender, 1)
            await until(lambda: stage.witness.counters["handed_on_total"] == 1, "the event is stored")
            reversed_event = dict(reversed(canonical(1).items()))
            await sender.publish(TOPIC, json.dumps(reversed_event, indent=2).encode(), envelope(1, attempt=2))
            await until(lambda: stage.witness.counters["handed_on_total"] == 2, "the repeat is stored")
        assert store.counters.documents_written == 1
        assert store.counters.documents_unchanged == 1
    assert stage.witness.duplicates_absorbed == 1
    assert sender.seen == []


async def test_other_content_under_a_stored_key_is_a_conflict(broker: Broker, tmp_path: Path, port: int) -> None:
    """The second content becomes a dead letter without an outcome, the first stays, the next event passes."""
    async with gateway(tmp_path, port), wire(broker, "dead-letter/#", "command/#") as sender:
        stage = SyncStage(sync_settings(broker, tmp_path, port))
        async with running(stage), GatewayClient(f"http://127.0.0.1:{port}/fleet") as client:
            await send(sender, 1)
            await until(lambda: stage.witness.counters["handed_on_total"] == 1, "the event is stored")
            await send(sender, 1, business_day_date="2026-03-01")
            await send(sender, 2)
            await until(lambda: sender.seen and not len(stage._in_hand), "the letter, and nothing in hand")
            found = await client.get(f"{SOURCE}.1")
            stage.measure()
    assert found is not None
    assert json.loads(found.body)["business_day_date"] == "2026-03-02"
    (letter,) = sender.seen
    assert letter.topic == f"{ROOT}/dead-letter/sync_stage/key_conflict/{SOURCE}"
    assert json.loads(letter.payload)["business_day_date"] == "2026-03-01"
    assert letter.user_property("key") == f"{SOURCE}.1"
    assert stage.witness.counters["conflicts_total"] == 1
    assert stage.witness.handed_on[SOURCE].to_list() == [(1, 2)]


_EVENT = canonical(3)
#: case -> reason, payload, user properties, whether the key is known
BAD_INPUT: dict[str, tuple[str, bytes, list[tuple[str, str]], bool]] = {
    "no JSON": ("malformed_json", b"{", envelope(3), True),
    "no UTF-8": ("not_utf8", json.dumps(_EVENT).encode().replace(b"op7", b"\xff"), envelope(3), True),
    "a field missing": ("schema", json.dumps({**_EVENT, "data": {}}).encode(), envelope(3), True),
    "no properties": ("schema", json.dumps({**_EVENT, "data": {}}).encode(), [], True),
    "a foreign key": ("schema", json.dumps({**_EVENT, "key": "x"}).encode(), envelope(3), True),
    "an unknown type": ("unknown_type", json.dumps({**_EVENT, "type": "poem"}).encode(), envelope(3), True),
    "another terminal": ("topic_mismatch", json.dumps(canonical(3, "taco.west.s0002.r01")).encode(), envelope(3), True),
    "another number": ("topic_mismatch", json.dumps(canonical(4)).encode(), envelope(3), True),
    "too large": ("oversized", b" " * 10_001, envelope(3), True),
    "nothing at all": ("malformed_json", b"", [], False),
    "deeply nested": ("malformed_json", b'{"data":' + b"[" * 9_000, [], False),
}


@pytest.mark.parametrize("case", BAD_INPUT)
async def test_a_bad_canonical_message_becomes_a_dead_letter(
    broker: Broker, tmp_path: Path, case: str, port: int
) -> None:
    """A foreign PARM may send anything: a letter with the original bytes, a word to the terminal, and on it goes."""
    reason, payload, properties, has_key = BAD_INPUT[case]
    async with gateway(tmp_path, port), wire(broker, "dead-letter/#", "command/outcome/#") as sender:
        stage = SyncStage(sync_settings(broker, tmp_path, port, options='{"maximum_payload_bytes": 10000}'))
        async with running(stage):
            await sender.publish(TOPIC, payload, properties)
            await send(sender, 9)
            await until(lambda: stage.witness.counters["handed_on_total"], "the next event is stored")
            await until(lambda: not len(stage._in_hand), "nothing in hand")
            await until(lambda: len(sender.seen) == 1 + has_key, "letter and outcome")
    (letter,) = sender.on("dead-letter")
    assert letter.topic == f"{ROOT}/dead-letter/sync_stage/{reason}/{SOURCE}"
    assert letter.payload == payload
    told = [message.json["rejected"] for message in sender.on("command/outcome")]
    assert told == ([[{"sequence": 3, "stage": "sync_stage", "reason": reason}]] if has_key else [])


async def test_nothing_is_lost_while_the_gateway_is_down(broker: Broker, tmp_path: Path, port: int) -> None:
    """Nothing is acknowledged without the gateway; once it is up again, every event is in it."""
    stage = SyncStage(sync_settings(broker, tmp_path, port))
    async with wire(broker) as sender, running(stage):
        for sequence in range(1, 51):
            await send(sender, sequence)
        await until(lambda: len(stage._in_hand) == 50, "all in hand")
        await until(lambda: stage._documents.counters.gateway_errors > 1, "two failed requests")
        assert stage._sessions.inbound.backlog == 50
        assert stage.witness.counters["handed_on_total"] == 0
        async with gateway(tmp_path, port) as store:
            await until(lambda: stage.witness.counters["handed_on_total"] == 50, "all are stored")
            assert store.counters.documents_written == 50
            await until(lambda: not stage._sessions.inbound.backlog, "all are acknowledged")


async def test_what_is_in_hand_is_bounded(broker: Broker, tmp_path: Path, port: int) -> None:
    """While the gateway is down the stage stops reading at its limit; the rest stays in the broker, and comes later."""
    broker.stop()
    broker.add_line("max_queued_messages 0")
    broker.add_line("max_inflight_messages 0")
    broker.restart()
    stage = SyncStage(sync_settings(broker, tmp_path, port))
    total = BACKLOG_LIMIT + 1_000
    async with wire(broker) as sender, running(stage):
        for first in range(1, total, 500):
            await asyncio.gather(*(send(sender, number) for number in range(first, first + 500)))
        await until(lambda: len(stage._in_hand) >= BACKLOG_LIMIT, "a full backlog")
        assert len(stage._in_hand) < total
        async with gateway(tmp_path, port) as store:
            await until(lambda: store.counters.documents_written == total, "all are stored")
            stage.measure()
            assert stage.witness.counters["batch_size_average"] > 100


async def test_a_killed_stage_loses_nothing_and_still_knows_what_it_told(
    broker: Broker, tmp_path: Path, port: int
) -> None:
    """After SIGKILL a new process stores what was unacknowledged; its witness and answers tell what the old one stored."""
    settings = sync_settings(broker, tmp_path, port, outcomes=True)
    total = 300
    whole = [[1, total]]
    command = ("-m", "consumers.sync_stage")
    async with gateway(tmp_path, port) as store, wire(broker, "host/#", "command/outcome/#") as terminal:
        async with process(settings, *command) as first:
            await until(lambda: terminal.on("host/sync_stage"), "the first birth")
            await asyncio.gather(*(send(terminal, number) for number in range(1, 101)))
            await until(lambda: store.counters.documents_written > 20, "documents")
            first.kill()
        await asyncio.gather(*(send(terminal, number) for number in range(101, total + 1)))
        terminal.seen.clear()
        async with process(settings, *command):
            await until(lambda: store.counters.documents_written == total, "every document")
            await until(lambda: any(one.json["online"] for one in terminal.on("host/sync_stage")), "the second birth")
            await until(lambda: any(one.json["applied"] == whole for one in terminal.on("command")), "all told")
            ask = encode(Ask(unresolved=[(1, total + 1)]))
            await terminal.publish(TOPICS.terminal("ask", TERMINAL), ask)
            await until(lambda: any(one.json["answer"] for one in terminal.on("command")), "the answer")
        third = SyncStage(settings)
        async with running(third):
            told = third.witness.snapshot("sync_stage", 1, 3, full=False, loop_stall_ms=0.0)
    answer = next(one.json for one in terminal.on("command") if one.json["answer"])
    assert answer["applied"] == whole
    assert answer["by"] == "sync_stage"
    assert told.taken == told.handed_on == {SOURCE: [(1, total)]}


async def test_two_instances_share_the_events(broker: Broker, tmp_path: Path, port: int) -> None:
    """With two instances every event is stored once, and both have worked."""
    async with gateway(tmp_path, port) as store, wire(broker) as sender:
        pair = [
            SyncStage(sync_settings(broker, tmp_path / str(number), port, instance=number, instances=2))
            for number in (1, 2)
        ]
        async with running(pair[0]), running(pair[1]):
            await asyncio.gather(*(send(sender, number) for number in range(1, 101)))
            await until(lambda: store.counters.documents_written == 100, "every document")
        assert store.counters.documents_unchanged == 0
    assert all(stage.witness.counters["taken_total"] >= 1 for stage in pair)
