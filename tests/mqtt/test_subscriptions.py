"""A session hears again after every connect, whatever was done to its subscriptions behind its back meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiomqtt
import mqtt5
import pytest
from aiomqtt import ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleetwire.mqtt import ConnectionLost, SessionGroup, SessionOptions, TopicFilter
from fleetwire.mqtt.core import SUBACK_LIMIT_S
from fleetwire.mqtt.events import Ended
from tests.broker import Broker
from tests.mqtt.peer import CorePeer, puback
from tests.mqtt.recorder import Recorder

FILTERS = (TopicFilter(pattern="a/#"), TopicFilter(pattern="b/+", retain_handling=2))
TAKEN_OVER = b"\xe0\x01\x8e"


def subscribes(peer: CorePeer) -> list[list[int]]:
    """The retain handling of each filter in each SUBSCRIBE since the last call; each is answered."""
    found = []
    for one in peer.sent():
        if isinstance(one, mqtt5.SubscribePacket):
            found.append([int(row.retain_handling) for row in one.topic_filters])
            granted = [mqtt5.SubAckReasonCode(1)] * len(one.topic_filters)
            peer.give(mqtt5.SubAckPacket(one.packet_id, granted).write())
    return found


def test_every_connection_says_every_subscription() -> None:
    """Also where the server kept the session; then it is not asked again for what is retained."""
    peer = CorePeer(subscriptions=FILTERS)
    said = []
    for session_present in (True, True, False):
        peer.connect(session_present=session_present)
        said.append(subscribes(peer))
        peer.core.lost()
    assert said == [[[0, 2]], [[1, 2]], [[1, 2]]]


def test_what_was_not_granted_is_asked_for_as_at_first() -> None:
    """Without a SUBACK nobody knows whether the retained messages were on their way."""
    peer = CorePeer(subscriptions=FILTERS)
    peer.connect()
    peer.core.lost()
    peer.connect(session_present=True)
    assert subscribes(peer) == [[0, 2]]


@pytest.mark.parametrize("said", [TAKEN_OVER, b""])
def test_after_a_takeover_the_retained_messages_are_asked_for(said: bytes) -> None:
    """The other client may have had the same subscriptions, and have heard what changed; some brokers do not tell."""
    peer = CorePeer(subscriptions=FILTERS)
    peer.connect()
    assert subscribes(peer) == [[0, 2]]
    peer.give(said)
    peer.core.lost(closed_by_peer=not said)
    peer.connect(session_present=True)
    assert subscribes(peer) == [[0, 2]]


def test_a_subscription_that_was_added_later_is_repeated_too() -> None:
    """With those of the options, in one SUBSCRIBE."""
    peer = CorePeer(subscriptions=FILTERS)
    peer.connect()
    peer.core.subscribe([TopicFilter(pattern="c")])
    assert subscribes(peer) == [[0, 2], [0]]
    peer.core.lost()
    peer.connect(session_present=True)
    assert subscribes(peer) == [[1, 2, 1]]


def test_a_subscribe_takes_no_packet_id_of_a_publish_that_is_sent_again() -> None:
    """Ids begin anew after 65,535, and one that is in flight over a reconnect is passed over (MQTT 5, 2.2.1)."""
    peer = CorePeer(subscriptions=FILTERS)
    peer.connect()
    subscribes(peer)
    peer.publish(2)
    for number in range(3, 65_536):
        peer.publish(number)
        peer.give(puback(number))
    peer.core.publish("a/b", b"1", token=1)
    peer.give(puback(1))
    peer.sent()
    peer.core.lost()
    peer.connect(session_present=True)
    ids = [(type(one), one.packet_id) for one in peer.sent() if hasattr(one, "packet_id")]
    assert ids == [(mqtt5.SubscribePacket, 3), (mqtt5.PublishPacket, 2)]


def test_a_subscribe_without_an_answer_ends_the_connection() -> None:
    """Something on the way drops packets: pings are answered, and nobody knows whether we hear; a paused owner knows why."""
    peer = CorePeer(subscriptions=FILTERS, keep_alive_s=4)
    peer.connect()
    assert peer.core.tick(peer.now_s) == []
    assert peer.core.tick(peer.now_s + SUBACK_LIMIT_S, reading=False) == []
    began_s = peer.now_s = peer.now_s + SUBACK_LIMIT_S
    for tick_s in range(0, int(SUBACK_LIMIT_S), 3):
        peer.now_s = began_s + tick_s
        peer.give(mqtt5.PingRespPacket().write())
        assert peer.core.tick(peer.now_s) == []
    (ended,) = peer.core.tick(began_s + SUBACK_LIMIT_S)
    assert isinstance(ended, Ended)
    assert (ended.error, ended.detail[:24]) == (ConnectionLost, "no answer to a SUBSCRIBE")


def test_publishes_leave_packet_ids_to_subscribes() -> None:
    """Whatever the server takes at once: over a reconnect, too, a session with more to send than ids can subscribe."""
    peer = CorePeer(subscriptions=FILTERS, outgoing_limit=70_000)
    peer.connect()
    subscribes(peer)
    peer.publish(*range(70_000))
    peer.sent()
    peer.core.lost()
    peer.connect(session_present=True)
    peer.core.subscribe([TopicFilter(pattern="c")])
    assert subscribes(peer) == [[1, 2], [0]]


def test_a_server_that_takes_no_subscribe_is_left() -> None:
    """Its maximum packet size is below our SUBSCRIBE: the connection ends with a reason, not with an exception."""
    peer = CorePeer(subscriptions=FILTERS)
    ended = peer.connect(packet_size=5)[-1]
    assert isinstance(ended, Ended)
    assert "SUBSCRIBE" in ended.detail


# With a real broker

Stray = Callable[[Broker, str], Awaitable[None]]


def stranger(broker: Broker, client_id: str, *, clean_start: bool) -> aiomqtt.Client:
    """A client that takes somebody's id, and whose session outlives it."""
    expiry = Properties(PacketTypes.CONNECT)
    expiry.SessionExpiryInterval = 600
    return aiomqtt.Client(
        broker.host, broker.port, identifier=client_id, protocol=ProtocolVersion.V5, clean_start=clean_start,
        properties=expiry,
    )  # fmt: skip


async def begins_anew(broker: Broker, client_id: str) -> None:
    """Takes the id for a moment, with a session of its own."""
    async with stranger(broker, client_id, clean_start=True):
        await asyncio.sleep(0.3)


async def unsubscribes(broker: Broker, client_id: str) -> None:
    """Goes on with the session and takes a subscription out of it."""
    async with stranger(broker, client_id, clean_start=False) as client:
        await client.unsubscribe("state/#")


async def hears_in_our_place(broker: Broker, client_id: str) -> None:
    """Takes the id and the subscriptions, and hears a change that we are to know."""
    async with stranger(broker, client_id, clean_start=True) as client:
        await client.subscribe("state/#", qos=1)
        await client.publish("state/one", b"changed", qos=1, retain=True)
        async for message in client.messages:
            if message.payload == b"changed":
                return


@pytest.mark.parametrize("stray", [begins_anew, unsubscribes, hears_in_our_place])
async def test_a_session_hears_again_after_somebody_had_its_id(
    broker: Broker, group: SessionGroup, stray: Stray
) -> None:
    """What comes afterwards is heard, and what is retained is known, whatever the other client did."""
    recorder = Recorder()
    options = SessionOptions(
        client_id="stage", session_expiry_s=60, subscriptions=(TopicFilter(pattern="state/#"),), keep_alive_s=5
    )
    group.open(options, recorder)
    await recorder.until("it hears", lambda: bool(recorder.subscribed))
    await stray(broker, "stage")
    await recorder.until("it was taken over", lambda: bool(recorder.errors))
    async with aiomqtt.Client(broker.host, broker.port, protocol=ProtocolVersion.V5) as publisher:
        await publisher.publish("state/two", b"after", qos=1, retain=True)
    await recorder.until("it hears what came afterwards", lambda: b"after" in recorder.payloads)
    if stray is hears_in_our_place:
        await recorder.until("and knows what changed", lambda: b"changed" in recorder.payloads)


async def test_a_plain_reconnect_brings_nothing_retained_again(broker: Broker, group: SessionGroup) -> None:
    """The subscription stands, so a register that was heard does not come twice; a shared one is not doubled either."""
    async with aiomqtt.Client(broker.host, broker.port, protocol=ProtocolVersion.V5) as publisher:
        await publisher.publish("state/one", b"retained", qos=1, retain=True)
        recorder = Recorder()
        filters = (TopicFilter(pattern="state/#"), TopicFilter(pattern="$share/stages/work/#"))
        session = group.open(SessionOptions(client_id="s", session_expiry_s=60, subscriptions=filters), recorder)
        await recorder.until("the register", lambda: recorder.payloads == [b"retained"])
        for number in range(1, 4):
            session.abort()
            await session.closed()
            session.reopen()
            await recorder.until("it is back", lambda number=number: len(recorder.subscribed) == number + 1)
        for number in range(20):
            await publisher.publish("work/x", b"%d" % number, qos=1)
    await recorder.until("all of the work", lambda: len(recorder.messages) >= 21)
    assert recorder.connected == [False, True, True, True]
    assert recorder.payloads == [b"retained", *(b"%d" % number for number in range(20))]
