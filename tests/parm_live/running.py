"""What the tests of PARM and the sync stage share: raw events, a stage in this process or its own, an observer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleetwire.envelope import Envelope
from fleetwire.identity import Key, Terminal
from fleetwire.settings import StageSettings
from fleetwire.stage import Stage
from fleetwire.topics import Topics
from tests.broker import Broker

DEADLINE_S = 40.0
REPOSITORY = Path(__file__).parents[2]
ROOT = "storefleet/test"
TOPICS = Topics(ROOT)
SOURCE = "taco.west.s0001.r01"
UTC_TIME = "2026-03-02T14:00:00.000Z"


def raw_control(sequence: int, source: str = SOURCE, **changes: object) -> bytes:
    """A sign-on as the dialect "taco" writes it."""
    terminal = Terminal.parse(source)
    event: dict[str, object] = {
        "eventKind": "staffAction",
        "location": {"storeNumber": terminal.store, "registerId": terminal.terminal},
        "eventNumber": sequence,
        "occurredAt": "2026-03-02T08:00:00.000-06:00",
        "businessDate": "2026-03-02",
        "action": {"name": "SIGN_ON", "cashier": "op7", "drawer": "till1", "why": ""},
    }
    return json.dumps({**event, **changes}).encode()


def raw_sale(sequence: int, source: str = SOURCE, *, total: str = "10.80") -> bytes:
    """A sale of eight lines in the dialect "taco"; with the right total it adds up."""
    price = {"each": "1.25", "discount": "0.00", "subtotal": "1.25", "tax": "0.10"}
    product = {"sku": "taco-1", "barcode": "00012345678905", "name": "Taco"}
    items = [{"position": n, "product": product, "quantity": 1, "price": price} for n in range(1, 9)]
    order = {
        "orderType": "sale",
        "checkNumber": f"c{sequence}",
        "staff": {"cashier": "op7", "drawer": "till1"},
        "channel": "counter",
        "openedAt": "2026-03-02T07:59:00.000-06:00",
        "closedAt": "2026-03-02T08:00:00.000-06:00",
        "training": False,
        "totals": {"subtotal": "10.00", "tax": "0.80", "total": total},
        "items": items,
        "payments": [{"method": "cash", "amount": "10.80"}],
    }
    extra: dict[str, object] = {"eventKind": "retailOrder", "order": order}
    event = json.loads(raw_control(sequence, source, **extra))
    del event["action"]
    return json.dumps(event, separators=(",", ":")).encode()


def envelope(
    sequence: int, source: str = SOURCE, *, event_type: str = "transaction.control", attempt: int = 1
) -> list[tuple[str, str]]:
    """The user properties of one event."""
    return Envelope(Key(source, sequence), event_type, UTC_TIME, attempt).properties()


def stage_settings(stage: str, broker: Broker, state_dir: Path, **changes: Any) -> StageSettings:
    """Settings of one instance; every instance has a folder of its own."""
    values: dict[str, Any] = {
        "stage": stage,
        "client_id": f"{stage}-{changes.get('instance', 1)}",
        "broker_url": broker.url,
        "topic_root": ROOT,
        "state_dir": str(state_dir),
        "brands": "taco=taco,pizza=pizza",
    }
    return StageSettings(**{**values, **changes})


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Stage]:
    """The stage, started; stopped at the end."""
    await stage.start()
    try:
        yield stage
    finally:
        await stage.stop()


@contextlib.asynccontextmanager
async def process(settings: StageSettings, *command: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A stage in a process of its own, killed at the end if it lives."""
    environment = {**os.environ, **settings.environment(), "PYTHONPATH": str(REPOSITORY)}
    child = await asyncio.create_subprocess_exec(sys.executable, "-P", *command, env=environment)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def until(condition: Callable[[], object], what: str) -> None:
    """Let the loop run until the condition holds; fails with its name after the deadline."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes too
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_S:g} s: {what}") from None


@dataclass
class Seen:
    """A message as an independent client saw it."""

    topic: str
    payload: bytes
    properties: list[tuple[str, str]]
    retain: bool

    def user_property(self, name: str) -> str | None:
        """The user property of this name."""
        return dict(self.properties).get(name)

    @property
    def json(self) -> Any:
        """The payload, decoded."""
        return json.loads(self.payload)


@dataclass
class Wire:
    """aiomqtt on the same broker: publishes as a terminal would, and collects what the subscribed topics carry."""

    client: aiomqtt.Client
    seen: list[Seen] = field(default_factory=list)

    def on(self, plane: str) -> list[Seen]:
        """What came on topics that begin so, below the root."""
        return [message for message in self.seen if message.topic.startswith(f"{ROOT}/{plane}")]

    def retained(self, topic: str) -> Any:
        """The newest value of a register; None when there is none."""
        return next((message.json for message in reversed(self.seen) if message.topic == topic), None)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        properties: list[tuple[str, str]] | None = None,
        *,
        retain: bool = False,
        content_type: str | None = None,
    ) -> None:
        """QoS 1, waits for the PUBACK."""
        packed = Properties(PacketTypes.PUBLISH)
        if properties:
            packed.UserProperty = properties
        if content_type:
            packed.ContentType = content_type
        await self.client.publish(topic, payload, qos=1, retain=retain, properties=packed)

    async def send(self, payload: bytes, sequence: int, source: str = SOURCE, **attributes: Any) -> None:
        """Publish a raw event on its terminal's topic."""
        topic = TOPICS.terminal("transaction", Terminal.parse(source))
        await self.publish(topic, payload, envelope(sequence, source, **attributes))


@contextlib.asynccontextmanager
async def wire(broker: Broker, *filters: str, client_id: str = "observer") -> AsyncIterator[Wire]:
    """An aiomqtt client with these subscriptions below the root."""
    async with aiomqtt.Client(
        broker.host, broker.port, identifier=client_id, protocol=aiomqtt.ProtocolVersion.V5, timeout=DEADLINE_S
    ) as client:
        result = Wire(client)
        for pattern in filters:
            await client.subscribe(f"{ROOT}/{pattern}", qos=1)
        collecting = asyncio.create_task(_collect(result), name="observer")
        try:
            yield result
        finally:
            collecting.cancel()
            with contextlib.suppress(asyncio.CancelledError, aiomqtt.MqttError):
                await collecting


async def _collect(result: Wire) -> None:
    async for message in result.client.messages:
        properties = [tuple(pair) for pair in getattr(message.properties, "UserProperty", [])]
        payload = message.payload if isinstance(message.payload, bytes) else b""
        result.seen.append(Seen(str(message.topic), payload, properties, bool(message.retain)))
