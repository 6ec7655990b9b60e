"""The sans-io session: flow control, resume, acknowledgements, and peers that break the standard."""

from __future__ import annotations

import itertools

import mqtt5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwire.mqtt.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectRefused,
    NotConnected,
    NotSupported,
    PacketTooLarge,
    ProtocolViolation,
    QueueFull,
)
from fleetwire.mqtt.events import Connected, Ended, Published, State, Subscribed
from fleetwire.mqtt.values import Message, TopicFilter, Will
from tests.mqtt.peer import CorePeer, puback, publish, read_all

_FILTERS = (TopicFilter(pattern="a/#"), TopicFilter(pattern="b/+", qos=0))

_STREAM = b"".join(
    (
        mqtt5.ConnAckPacket(receive_max=20, reason_str="welcome").write(),
        mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1), mqtt5.SubAckReasonCode(0)]).write(),
        publish(1),
        publish(2, qos=0, payload=b"\x00\xff" * 200),
        mqtt5.PingRespPacket().write(),
        puback(77),
        publish(3),
        mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.SERVER_SHUTTING_DOWN).write(),
    )
)


def _receive_stream(pieces: list[bytes]) -> list[str]:
    peer = CorePeer(subscriptions=_FILTERS)
    peer.core.open(None, 0.0)
    return [repr(event) for piece in pieces for event in peer.give(piece)]


def test_every_split_of_the_stream_gives_the_same_events() -> None:
    """A stream cut in two at any byte means the same as the whole."""
    whole = _receive_stream([_STREAM])
    assert len(whole) == 6
    for at in range(len(_STREAM) + 1):
        assert _receive_stream([_STREAM[:at], _STREAM[at:]]) == whole


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, len(_STREAM)), max_size=40))
def test_any_chunking_gives_the_same_events(cuts: list[int]) -> None:
    """A stream in pieces of any size means the same as the whole."""
    bounds = [0, *sorted(cuts), len(_STREAM)]
    pieces = [_STREAM[start:end] for start, end in itertools.pairwise(bounds)]
    assert _receive_stream(pieces) == _receive_stream([_STREAM])


@settings(max_examples=300, deadline=None)
@given(garbage=st.binary(max_size=60), accepted=st.booleans())
def test_no_bytes_of_a_peer_raise(garbage: bytes, accepted: bool) -> None:
    """Whatever a peer sends, the session answers with events and never with an exception."""
    peer = CorePeer()
    if accepted:
        peer.connect()
    else:
        peer.core.open(None, 0.0)
    events = peer.give(garbage)
    ended = [event for event in events if isinstance(event, Ended)]
    assert len(ended) <= 1
    assert (peer.core.state is State.CLOSING) == bool(ended)


_MUTABLE = (
    mqtt5.PublishPacket(
        "a/b", b"xyz", user_properties=[("kk", "v\u00e9")], content_type="c", message_expiry_interval=200
    ).write(),
    publish(200, topic="x" * 130),
    mqtt5.ConnAckPacket(reason_str="abc", receive_max=20, server_reference="s", user_properties=[("a", "b")]).write(),
    mqtt5.PubAckPacket(3, reason_str="abc").write(),
    mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1)], reason_str="x").write(),
    mqtt5.DisconnectPacket(reason_str="abc").write(),
)


@settings(max_examples=1500, deadline=None)
@given(frame=st.sampled_from(_MUTABLE), at=st.integers(0, 200), byte=st.integers(0, 255), accepted=st.booleans())
def test_one_altered_byte_never_raises(frame: bytes, at: int, byte: int, accepted: bool) -> None:
    """A valid packet with one byte altered gives events or a violation; the codec never panics."""
    peer = CorePeer()
    if accepted:
        peer.connect()
    else:
        peer.core.open(None, 0.0)
    at %= len(frame)
    peer.give(frame[:at] + bytes((byte,)) + frame[at + 1 :])
    assert peer.core.state in (State.CONNECTING, State.CONNECTED, State.CLOSING)


def test_connect_carries_options_and_will() -> None:
    """The CONNECT says what the options and the will say."""
    peer = CorePeer(username="u", password=b"secret", session_expiry_s=9, keep_alive_s=7, receive_maximum=3)
    peer.core.open(Will(topic="w", payload=b"gone", delay_s=4, retain=True, properties=(("a", "b"),)), 0.0)
    (connect,) = peer.sent()
    assert isinstance(connect, mqtt5.ConnectPacket)
    assert (connect.username, connect.password, connect.session_expiry_interval) == ("u", b"secret", 9)
    assert (connect.keep_alive, connect.receive_max, connect.max_packet_size) == (7, 3, 262_144)
    assert connect.will is not None
    assert (connect.will.topic, connect.will.will_delay_interval, connect.will.retain) == ("w", 4, True)
    assert connect.will.user_properties == [("a", "b")]
    assert "secret" not in repr(peer.core.options)


def test_clean_start_holds_for_the_first_connect_only() -> None:
    """A reconnect of a session with clean start resumes."""
    peer = CorePeer(clean_start=True)
    seen = []
    for _ in range(2):
        peer.core.open(None, 0.0)
        (connect,) = peer.sent()
        assert isinstance(connect, mqtt5.ConnectPacket)
        seen.append(connect.clean_start)
        peer.core.lost()
    assert seen == [True, False]


def test_publishes_keep_to_the_receive_maximum() -> None:
    """No more publishes are in flight than the server takes; the others follow in order."""
    peer = CorePeer()
    peer.connect(receive_maximum=3)
    peer.publish(*range(1, 8))
    assert [number for number, _ in peer.payloads_sent()] == [1, 2, 3]
    assert (peer.core.publishes.in_flight, peer.core.publishes.queued) == (3, 4)
    assert peer.give(puback(2)) == [Published(2, 0)]
    assert [number for number, _ in peer.payloads_sent()] == [4]
    peer.give(puback(1) + puback(3))
    assert [number for number, _ in peer.payloads_sent()] == [5, 6]


def test_queue_is_bounded() -> None:
    """Beyond its limit a publish is refused, and definitely did not happen."""
    peer = CorePeer(outgoing_limit=2)
    peer.publish(1, 2)
    with pytest.raises(QueueFull) as caught:
        peer.publish(3)
    assert caught.value.definite


def test_resumed_session_gets_duplicates_in_order() -> None:
    """What was in flight is sent again first, with DUP, its packet id and its order; then what waited."""
    peer = CorePeer()
    peer.connect(receive_maximum=3)
    peer.publish(1, 2, 3, 4, 5)
    first = [one.packet_id for one in peer.sent() if isinstance(one, mqtt5.PublishPacket)]
    peer.give(puback(first[1]))
    assert peer.payloads_sent() == [(4, False)]
    peer.core.lost()
    peer.publish(6)
    peer.connect(session_present=True, receive_maximum=10)
    again = [one for one in peer.sent() if isinstance(one, mqtt5.PublishPacket)]
    expected = [(1, True), (3, True), (4, True), (5, False), (6, False)]
    assert [(int(one.payload), one.duplicate) for one in again] == expected
    assert [one.packet_id for one in again[:2]] == [first[0], first[2]]
    tokens = [peer.give(puback(one.packet_id or 0)) for one in again]
    assert tokens == [[Published(number, 0)] for number in (1, 3, 4, 5, 6)]
    assert len(peer.core.publishes) == 0


def test_resume_under_a_smaller_receive_maximum_keeps_order() -> None:
    """Duplicates that do not fit the new receive maximum wait for their turn, still as duplicates."""
    peer = CorePeer()
    peer.connect()
    peer.publish(1, 2, 3)
    peer.core.lost()
    peer.connect(session_present=True, receive_maximum=1)
    seen = []
    while sent := [one for one in peer.sent() if isinstance(one, mqtt5.PublishPacket)]:
        seen += [(int(one.payload), one.duplicate) for one in sent]
        peer.give(puback(sent[0].packet_id or 0))
    assert seen == [(1, True), (2, True), (3, True)]


def test_lost_session_gets_new_publishes_with_their_tokens() -> None:
    """Without the old session nothing is a duplicate, and each acknowledgement still finds its token."""
    peer = CorePeer()
    peer.connect()
    peer.publish(1, 2)
    peer.core.lost()
    peer.connect(session_present=False)
    sent = [one for one in peer.sent() if isinstance(one, mqtt5.PublishPacket)]
    assert [(int(one.payload), one.duplicate) for one in sent] == [(1, False), (2, False)]
    assert peer.give(puback(sent[1].packet_id or 0)) == [Published(2, 0)]


def test_packet_ids_wrap_around_those_in_use() -> None:
    """After 65,535 publishes packet ids begin anew, and one that is in use is passed over."""
    peer = CorePeer()
    peer.connect()
    peer.publish(0)
    peer.sent()
    for number in range(2, 65_536):
        peer.publish(number)
        peer.give(puback(number))
    peer.publish(1)
    sent = read_all(peer.core.take(0.0))[-1]
    assert isinstance(sent, mqtt5.PublishPacket)
    assert sent.packet_id == 2


def test_acknowledgements_go_out_in_order_of_arrival() -> None:
    """Messages acknowledged in any order give PUBACKs in the order of arrival."""
    peer = CorePeer()
    peer.connect()
    messages = [event for event in peer.give(publish(7) + publish(3) + publish(9)) if isinstance(event, Message)]
    peer.core.acknowledge(messages[2])
    peer.core.acknowledge(messages[1])
    assert peer.sent() == []
    assert peer.core.unacknowledged_messages == 3
    peer.core.acknowledge(messages[0])
    assert [one.packet_id for one in peer.sent() if isinstance(one, mqtt5.PubAckPacket)] == [7, 3, 9]


def test_stale_acknowledgement_is_counted_and_not_sent() -> None:
    """A message of an earlier connection is not acknowledged on the next one."""
    peer = CorePeer()
    peer.connect()
    (message,) = peer.give(publish(7))
    peer.core.lost()
    peer.connect(session_present=True)
    assert isinstance(message, Message)
    peer.core.acknowledge(message)
    assert peer.sent() == []
    assert peer.statistics.stale_acknowledgements == 1


def test_receive_maximum_exceeded_is_counted_only() -> None:
    """A server that sends more than we announced is counted, never left: Mosquitto 2.0.11 does so."""
    peer = CorePeer(receive_maximum=2)
    peer.connect()
    events = peer.give(publish(1) + publish(2) + publish(3))
    assert [type(event) for event in events] == [Message] * 3
    assert peer.statistics.receive_maximum_exceeded == 1


@pytest.mark.parametrize("reason_code", [0x10, 0x87, 0x95, 0x9F, 0xEE])
@pytest.mark.parametrize("tail", [b"", b"\x00", b"\x07\x1f\x00\x04whyn"])
def test_any_reason_code_of_a_puback_is_passed_on(reason_code: int, tail: bytes) -> None:
    """Known or not, the reason code of a PUBACK reaches the publisher, and the session goes on."""
    peer = CorePeer()
    peer.connect()
    peer.publish(5)
    body = b"\x00\x01" + bytes((reason_code,)) + tail
    assert peer.give(bytes((0x40, len(body))) + body) == [Published(5, reason_code)]
    assert peer.core.state is State.CONNECTED


def test_unknown_reason_codes_of_a_suback_are_passed_on() -> None:
    """A SUBACK with a reason code that nobody knows does not end the session."""
    peer = CorePeer(subscriptions=_FILTERS)
    peer.connect()
    assert peer.give(b"\x90\x05\x00\x01\x00\x01\xee") == [Subscribed((1, 0xEE))]


def test_acknowledgement_of_an_unknown_packet_id_is_counted_only() -> None:
    """A PUBACK or SUBACK for nothing that we sent is counted and ignored."""
    peer = CorePeer()
    peer.connect()
    assert peer.give(puback(9) + mqtt5.SubAckPacket(4, [mqtt5.SubAckReasonCode(1)]).write()) == []
    assert peer.statistics.unknown_acknowledgements == 2


@pytest.mark.parametrize(
    ("data", "reason_code"),
    [
        (b"\x00\x00", 0x82),
        (b"\x62\x02\x00\x01", 0x82),
        (mqtt5.ConnAckPacket().write(), 0x82),
        (mqtt5.PingReqPacket().write(), 0x82),
        (publish(1, qos=2), 0x82),
        (b"\x32\x06\x00\x01a\x00\x00\x00", 0x82),
        (mqtt5.PublishPacket("", b"x", topic_alias=3).write(), 0x94),
        (b"\x30\x05\x00\x01#\x00a", 0x81),
        (b"\x30\x05\x00\x01\x00\x00a", 0x81),
        (b"\x30\x06\x00\x02\xff\xfe\x00\x00", 0x81),
        (b"\x30\x0b\x00\x01a\x07\x26\x00\x01k\x00\x01\xffx", 0x81),
        (b"\x40\x08\x00\x01\x87\x04\x1f\x00\x01\xff", 0x81),
        (b"\x36" + publish(1)[1:], 0x81),
        (b"\x30\xff\xff\xff\xff\x7f", 0x81),
        (b"\x41\x02\x00\x01", 0x81),
        (b"\x40\x01\x00", 0x81),
        (b"\x40\x06\x00\x01\x00\x09\x1f\x00", 0x81),
        (b"\x90\x02\x00\x01", 0x81),
        (b"\xd0\x01\x00", 0x81),
        (b"\x30\xff\xff\xff\x7f", 0x95),
        (publish(1, payload=b"x" * 300_000), 0x95),
    ],
)
def test_violation_ends_the_session_with_its_reason_code(data: bytes, reason_code: int) -> None:
    """A peer that breaks the standard gets a DISCONNECT that says how, and nothing after it counts."""
    peer = CorePeer()
    peer.connect()
    (ended,) = peer.give(data + publish(1, qos=0))
    assert isinstance(ended, Ended)
    assert (ended.error, ended.reason_code) == (ProtocolViolation, reason_code)
    assert peer.core.take(0.0) == bytes((0xE0, 1, reason_code))
    assert peer.statistics.protocol_errors == 1
    assert peer.give(publish(2, qos=0)) == []


def test_suback_for_another_number_of_filters_is_a_violation() -> None:
    """A SUBACK answers each filter once."""
    peer = CorePeer(subscriptions=_FILTERS)
    peer.connect()
    (ended,) = peer.give(mqtt5.SubAckPacket(1, [mqtt5.SubAckReasonCode(1)]).write())
    assert isinstance(ended, Ended)
    assert ended.reason_code == 0x82


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad\r\n\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00", b"\x30\x00"])
def test_a_peer_that_answers_with_no_connack_is_no_broker(data: bytes) -> None:
    """The first bytes of a web server are told from an MQTT answer, and get no DISCONNECT."""
    peer = CorePeer()
    peer.core.open(None, 0.0)
    peer.sent()
    (ended,) = peer.give(data)
    assert isinstance(ended, Ended)
    assert ended.error is ConnectFailed
    assert "no MQTT broker" in ended.detail
    assert peer.core.take(0.0) == b""


@pytest.mark.parametrize("reason_code", [0x86, 0x87, 0x01, 0xEE])
def test_refused_connect_gives_its_reason_code(reason_code: int) -> None:
    """A CONNACK that refuses ends the attempt, also with the code of an MQTT 3 broker or an unknown one."""
    peer = CorePeer()
    peer.core.open(None, 0.0)
    (ended,) = peer.give(bytes((0x20, 2, 0, reason_code)))
    assert isinstance(ended, Ended)
    assert (ended.error, ended.reason_code) == (ConnectRefused, reason_code)


@pytest.mark.parametrize("reason_code", [0x8E, 0x00, 0xEE])
def test_server_disconnect_gives_its_reason_code(reason_code: int) -> None:
    """A DISCONNECT of the server ends the connection with whatever reason it gives."""
    peer = CorePeer()
    peer.connect()
    (ended,) = peer.give(bytes((0xE0, 1, reason_code)))
    assert isinstance(ended, Ended)
    assert (ended.error, ended.reason_code) == (ConnectionLost, reason_code)


def test_nothing_is_sent_after_the_disconnect() -> None:
    """Publishes and acknowledgements after a DISCONNECT stay here."""
    peer = CorePeer()
    peer.connect()
    (message,) = peer.give(publish(1))
    peer.core.close()
    peer.publish(4)
    assert isinstance(message, Message)
    peer.core.acknowledge(message)
    assert [type(packet) for packet in peer.sent()] == [mqtt5.DisconnectPacket]
    assert peer.core.publishes.queued == 1


def test_too_large_a_packet_is_refused_here() -> None:
    """A packet beyond the server's maximum is never sent: an error now, or reason code 0x95 for one that waited."""
    peer = CorePeer()
    peer.core.publish("a", b"x" * 500, token="waited")
    assert peer.connect(packet_size=200) == [Connected(False), Published("waited", 0x95)]
    with pytest.raises(PacketTooLarge) as caught:
        peer.core.publish("a", b"x" * 500)
    assert caught.value.definite
    assert peer.sent() == []
    assert peer.statistics.publishes_refused_locally == 2
    peer.publish(1)
    assert peer.payloads_sent() == [(1, False)]


def test_what_the_server_does_not_do_is_refused_here() -> None:
    """A retained publish to a server without retained messages is an error here, not a lost connection."""
    peer = CorePeer()
    peer.core.open(None, 0.0)
    peer.give(mqtt5.ConnAckPacket(retain_available=False, max_qos=mqtt5.QoS.AT_MOST_ONCE).write())
    for retain, qos in ((True, 0), (False, 1)):
        with pytest.raises(NotSupported):
            peer.core.publish("a", b"x", qos, retain)


def test_unqueued_publish_needs_a_connection() -> None:
    """QoS 0 without a connection is an error, since it would silently be lost."""
    peer = CorePeer()
    with pytest.raises(NotConnected):
        peer.core.publish("a", b"x", 0)


@pytest.mark.parametrize("topic", ["", "a/#", "a/+/b", "a\0b", "a\ud800", "x" * 70_000])
def test_impossible_topic_is_refused(topic: str) -> None:
    """A topic that MQTT cannot carry is a ValueError and leaves the session as it was."""
    peer = CorePeer()
    peer.connect()
    with pytest.raises(ValueError, match=r".+"):
        peer.core.publish(topic, b"x")
    assert peer.sent() == []
    assert len(peer.core.publishes) == 0


def test_paused_sending_lets_publishes_wait() -> None:
    """While the transport is full publishes wait, and follow in order when it takes bytes again."""
    peer = CorePeer()
    peer.connect()
    peer.core.publishes.paused = True
    peer.publish(1, 2)
    assert peer.sent() == []
    peer.core.resume_sending()
    assert peer.payloads_sent() == [(1, False), (2, False)]


def test_keep_alive_pings_and_gives_up() -> None:
    """A PINGREQ goes out after a keep-alive of silence; without an answer for half of one the connection is lost."""
    peer = CorePeer(keep_alive_s=10)
    peer.connect()
    assert peer.core.tick(peer.now_s + 9.9) == []
    assert peer.sent() == []
    peer.now_s += 10
    assert peer.core.tick(peer.now_s) == []
    assert [type(packet) for packet in peer.sent()] == [mqtt5.PingReqPacket]
    peer.give(mqtt5.PingRespPacket().write())
    peer.now_s += 10
    assert peer.core.tick(peer.now_s) == []
    peer.sent()
    assert peer.core.tick(peer.now_s + 4.9) == []
    (ended,) = peer.core.tick(peer.now_s + 5)
    assert isinstance(ended, Ended)
    assert ended.error is ConnectionLost


def test_a_silent_server_is_found_out_although_we_send() -> None:
    """Publishing into a dead network does not keep a connection alive: a PINGREQ asks when nothing comes back."""
    peer = CorePeer(keep_alive_s=10)
    peer.connect()
    for _ in range(5):
        peer.now_s += 2
        peer.publish(1)
        peer.sent()
    assert peer.core.tick(peer.now_s) == []
    assert [type(packet) for packet in peer.sent()] == [mqtt5.PingReqPacket]
    (ended,) = peer.core.tick(peer.now_s + 5)
    assert isinstance(ended, Ended)


def test_silence_proves_nothing_while_we_do_not_read() -> None:
    """An owner that has paused reading does not lose its connection for the answer that it did not read."""
    peer = CorePeer(keep_alive_s=10)
    peer.connect()
    for _ in range(4):
        peer.now_s += 10
        assert peer.core.tick(peer.now_s, reading=False) == []
        assert len(peer.sent()) == 1
    peer.core.resumed_reading(peer.now_s + 4)
    assert peer.core.tick(peer.now_s + 6) == []
