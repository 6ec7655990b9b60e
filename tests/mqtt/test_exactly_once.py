"""An observer's session sees QoS 2 as it was sent, and answers its handshake (MQTT 5, 4.3.3); no other asks."""

from __future__ import annotations

import mqtt5
import pytest

from fleetwire.mqtt.errors import ProtocolViolation
from fleetwire.mqtt.events import Ended
from fleetwire.mqtt.values import EveryQosFilter, Message, TopicFilter
from tests.mqtt.peer import CorePeer, publish

EVERYTHING = (EveryQosFilter(pattern="#"),)


def test_the_handshake() -> None:
    """PUBLISH, PUBREC once it is acknowledged, PUBREL, PUBCOMP; what came between is acknowledged in its order."""
    peer = CorePeer(subscriptions=EVERYTHING)
    peer.connect()
    peer.sent()
    first, second = peer.give(publish(7, qos=2) + publish(8))
    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert (first.qos, second.qos) == (2, 1)
    peer.core.acknowledge(second)
    assert peer.sent() == []
    peer.core.acknowledge(first)
    record, acknowledged = peer.sent()
    assert isinstance(record, mqtt5.PubRecPacket)
    assert isinstance(acknowledged, mqtt5.PubAckPacket)
    assert (record.packet_id, acknowledged.packet_id) == (7, 8)
    assert peer.give(mqtt5.PubRelPacket(7).write()) == []
    (complete,) = peer.sent()
    assert isinstance(complete, mqtt5.PubCompPacket)
    assert complete.packet_id == 7


@pytest.mark.parametrize("packet", [publish(7, qos=2), mqtt5.PubRelPacket(7).write()])
def test_whoever_did_not_ask_for_it(packet: bytes) -> None:
    """A broker that sends it to a session which asked for QoS 1 breaks the standard."""
    peer = CorePeer(subscriptions=(TopicFilter(pattern="#"),))
    peer.connect()
    (ended,) = peer.give(packet)
    assert isinstance(ended, Ended)
    assert ended.error is ProtocolViolation


@pytest.mark.parametrize(("kind", "qos"), [(TopicFilter, 2), (TopicFilter, -1), (EveryQosFilter, 3)])
def test_a_qos_that_a_filter_cannot_ask_for(kind: type[TopicFilter], qos: int) -> None:
    """Only an observer's filter may ask for QoS 2."""
    with pytest.raises(ValueError, match="QoS is 0 to"):
        kind(pattern="#", qos=qos)
