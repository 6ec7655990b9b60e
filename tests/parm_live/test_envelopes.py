"""Every row of the envelope's table through a real broker to a running PARM, in every mode: event or letter and word."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from parm_stub.stage import Parm
from tests.broker import Broker
from tests.parm_live.running import DEADLINE_S, ROOT, TOPICS, running, stage_settings, until, wire
from tests.parm_stub.envelope_cases import MODES, ROWS, SEQUENCE, Sent, message, terminal_of, words_of


@contextlib.asynccontextmanager
async def peer(broker: Broker, mode: str) -> AsyncIterator[aiomqtt.Client]:
    """A sender of the protocol version that the mode is for."""
    versions = {"mqtt311": aiomqtt.ProtocolVersion.V311}
    version = versions.get(mode, aiomqtt.ProtocolVersion.V5)
    async with aiomqtt.Client(
        broker.host, broker.port, identifier="peer", protocol=version, timeout=DEADLINE_S
    ) as client:
        yield client


async def publish(client: aiomqtt.Client, mode: str, sent: Sent) -> None:
    """QoS 1, waits for the PUBACK."""
    packed = None
    if mode != "mqtt311":
        packed = Properties(PacketTypes.PUBLISH)
        if sent.properties:
            packed.UserProperty = sent.properties
        if sent.content_type is not None:
            packed.ContentType = sent.content_type
    await client.publish(sent.topic, sent.payload, qos=1, properties=packed)


@pytest.mark.parametrize("mode", MODES)
async def test_each_row_ends_as_it_should(broker: Broker, tmp_path: Path, mode: str) -> None:
    """What is sound becomes canonical with its attempt; else there is one letter with its words, and the terminal is
    told when the key can be read."""
    rows = {name: number for number, (name, row) in enumerate(ROWS.items(), 1) if mode in row.modes}
    parm = Parm(stage_settings("parm", broker, tmp_path, options='{"maximum_payload_bytes": 100000}'))
    planes = ("canonical/transaction/#", "dead-letter/#", "command/outcome/#")
    expected = {name: (not ROWS[name].reason, bool(ROWS[name].reason), ROWS[name].told) for name in rows}
    total = sum(canonical + letter + (letter and told) for canonical, letter, told in expected.values())
    async with wire(broker, *planes) as observer, running(parm), peer(broker, mode) as client:
        await asyncio.gather(*(publish(client, mode, message(ROWS[name], mode, n)) for name, n in rows.items()))
        await until(lambda: len(observer.seen) >= total and not len(parm._in_hand), "all that must come")
    seen = {(one.topic.split("/")[2], one.topic.rpartition("/")[2]): one for one in observer.seen}
    assert len(seen) == len(observer.seen) == total
    for name, number in rows.items():
        row, source = ROWS[name], terminal_of(number).id
        if not row.reason:
            event = seen["canonical", source]
            assert event.json["key"] == f"{source}.{SEQUENCE}"
            assert event.user_property("attempt") == str(row.attempt)
            continue
        letter = seen["dead-letter", source]
        assert letter.topic == f"{ROOT}/dead-letter/parm/{row.reason}/{source}"
        assert letter.payload == message(row, mode, number).payload
        assert (letter.user_property("detail") or "").startswith(words_of(row, mode, number))
        if row.told:
            (rejection,) = seen["command", source].json["rejected"]
            assert seen["command", source].topic == TOPICS.command("outcome", terminal_of(number))
            assert (rejection["stage"], rejection["reason"]) == ("parm", row.reason)
            assert f"{source}.{rejection['sequence']}" == letter.user_property("key")
