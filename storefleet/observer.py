"""The lab's own MQTT session, straight to the broker: it hears which stages are up, and tidies up at the end.

It proves that the broker is one before anything else is started, and it is the final read of a lab that ends at PARM:
then it remembers the content hash of every canonical event that it sees.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Final

import msgspec

from fleetwire.content import content_hash
from fleetwire.errors import FleetError, SettingsError
from fleetwire.events import CanonicalEvent
from fleetwire.mqtt import Endpoint, Message, MqttError, SessionOptions, StageClient, TopicFilter
from fleetwire.topics import Topics
from fleetwire.witness import ViewRead
from storefleet.packed_reads import pack
from storefleet.plan import EXTERNAL

if TYPE_CHECKING:
    from storefleet.lab import Lab

CLEAR_QUIET_S: Final = 0.5
"""Retained messages arrive at once after subscribing: so long a silence means that there are no more."""
CLEAR_TIMEOUT_S: Final = 10.0

_decode = msgspec.json.Decoder(CanonicalEvent).decode


def endpoint(host: str, port: int, *, tls: bool) -> Endpoint:
    """The broker's endpoint, with the system's certificate authorities when it speaks TLS."""
    return Endpoint(host=host, port=port, tls=ssl.create_default_context() if tls else None)


class Observer:
    """``hosts`` is the newest word of every stage instance about itself, by ``stage/instance``."""

    def __init__(self, client: StageClient, topics: Topics, *, remembers: bool) -> None:
        self._client = client
        self._topics = topics
        self.hosts: dict[str, bytes] = {}
        self.heard_canonical = asyncio.Event()
        self._remembers = remembers
        self._hashes: dict[str, dict[int, bytes]] = {}

    @classmethod
    async def open(cls, lab: Lab) -> Observer:
        """Connect; raises SettingsError in one line when this is no broker, or one that does not let us in."""
        plan = lab.plan
        topics = Topics(plan.topic_root)
        host, port = lab.broker_address()
        options = SessionOptions(
            client_id=f"{plan.name}.lab",
            username=lab.username or None,
            password=lab.password,
            clean_start=True,
            keep_alive_s=30,
        )
        client = StageClient(endpoint(host, port, tls=lab.broker_tls), options, ready_timeout_s=6.0)
        observer = cls(client, topics, remembers=plan.outcome_stage == "parm")
        client.on(TopicFilter(pattern=f"{topics.root}/host/#"), observer._on_host)
        if plan.outcome_stage == "parm" or plan.commands.get("parm") == EXTERNAL:
            client.on(TopicFilter(pattern=topics.all_of("canonical", "transaction")), observer._on_canonical)
        try:
            await client.__aenter__()
        except MqttError as error:
            raise SettingsError(f"broker {host}:{port}: {error}") from error
        return observer

    async def close(self) -> None:
        """Leave the broker."""
        await self._client.__aexit__(None, None, None)

    def final_read(self) -> dict[str, ViewRead]:
        """Every canonical event that was on the broker, by value, by source."""
        return {source: pack(hashes) for source, hashes in self._hashes.items()}


    def _on_host(self, message: Message) -> None:
        self.hosts["/".join(message.topic.split("/")[-2:])] = message.payload
        self._client.acknowledge(message)

    def _on_canonical(self, message: Message) -> None:
        self._client.acknowledge(message)
        self.heard_canonical.set()
        if not self._remembers:
            return
        try:
            event = _decode(message.payload)
        except msgspec.DecodeError:
            return
        data = msgspec.json.decode(event.data)
        digest = content_hash(event.type, event.time, event.business_day_date, data)
        self._hashes.setdefault(event.source, {}).setdefault(event.sequence, digest)


async def clear_retained(
    where: Endpoint, root: str, *, client_id: str, username: str | None, password: bytes | None
) -> int:
    """Delete every retained message below the root; returns how many there were. Raises FleetError."""
    topics: set[str] = set()
    heard = asyncio.Event()

    def note(message: Message) -> None:
        if message.retain and message.payload:
            topics.add(message.topic)
            heard.set()

    options = SessionOptions(client_id=client_id, username=username, password=password, clean_start=True)
    everything = TopicFilter(pattern=f"{root}/#", qos=0)
    async with StageClient(where, options, handlers=[(everything, note)], ready_timeout_s=6.0) as client:
        deadline_s = asyncio.get_running_loop().time() + CLEAR_TIMEOUT_S
        cleared: set[str] = set()
        while asyncio.get_running_loop().time() < deadline_s:
            heard.clear()
            for topic in topics - cleared:
                await client.publish(topic, b"", qos=1, retain=True)
                cleared.add(topic)
            try:
                async with asyncio.timeout(CLEAR_QUIET_S):
                    await heard.wait()
            except TimeoutError:
                return len(cleared)
    raise FleetError(f"retained messages below {root} keep coming after {CLEAR_TIMEOUT_S:g} s; is the lab still running?")
