"""Frames of MQTT 5: where one ends, and the bytes of those that we send or read.

The ``mqtt5`` codec does the work. What it cannot do is done here: finding the end of a frame, acknowledgements with a
reason code that it does not know, and the refusal of strings that are not UTF-8. Every function raises
:class:`Violation` for bytes that break the standard, and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import mqtt5

from fleetwire.mqtt.reason_codes import MALFORMED_PACKET
from fleetwire.mqtt.strings import has_bad_string
from fleetwire.mqtt.values import SessionOptions, TopicFilter, Will

CONNACK: Final = 2
PUBLISH: Final = 3
PUBACK: Final = 4
PUBREL: Final = 6
SUBACK: Final = 9
PINGRESP: Final = 13
DISCONNECT: Final = 14

LARGEST_PACKET: Final = 268_435_455
#: Room for topic and properties: beyond the largest packet the codec panics.
LARGEST_PAYLOAD: Final = 1 << 27
PINGREQ_FRAME: Final = b"\xc0\x00"
_DUPLICATE_FLAG: Final = 0x08
_KNOWN_REASON: Final = 0x80
_QOS: Final = (mqtt5.QoS.AT_MOST_ONCE, mqtt5.QoS.AT_LEAST_ONCE, mqtt5.QoS.EXACTLY_ONCE)
_RETAIN_HANDLING: Final = (
    mqtt5.RetainHandling.SEND_ALWAYS,
    mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
    mqtt5.RetainHandling.SEND_NEVER,
)
_IF_NEW: Final = 1


class Violation(Exception):
    """The peer broke the standard; ``reason_code`` is what our DISCONNECT says."""

    def __init__(self, reason_code: int, detail: str) -> None:
        super().__init__(detail)
        self.reason_code = reason_code
        self.detail = detail


def read_variable_byte_integer(data: bytes, position: int) -> tuple[int, int] | None:
    """Value and the position behind it (MQTT 5, 1.5.5); None when the bytes end before it does."""
    value = 0
    for index in range(4):
        if position + index >= len(data):
            return None
        byte = data[position + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, position + index + 1
    raise Violation(MALFORMED_PACKET, "a length of more than four bytes")


def frame_end(data: bytes, position: int) -> int | None:
    """Position behind the frame that begins at ``position``, perhaps beyond the data; None when it is not known yet."""
    header = read_variable_byte_integer(data, position + 1)
    return None if header is None else header[0] + header[1]


def decode(frame: bytes) -> mqtt5.Packet:
    """The packet of exactly one whole frame."""
    if has_bad_string(frame):
        raise Violation(MALFORMED_PACKET, f"a packet of type {frame[0] >> 4} with a string that is not UTF-8")
    try:
        packet, length = mqtt5.read(memoryview(frame))
    except (ValueError, IndexError) as error:
        raise Violation(MALFORMED_PACKET, f"a malformed packet of type {frame[0] >> 4}: {error}") from error
    if length != len(frame):
        raise Violation(MALFORMED_PACKET, f"a packet of type {frame[0] >> 4} that ends before its length says")
    return packet


def _body(frame: bytes) -> int:
    header = read_variable_byte_integer(frame, 1)
    if header is None or header[1] >= len(frame):
        raise Violation(MALFORMED_PACKET, f"an empty packet of type {frame[0] >> 4}")
    return header[1]


def _decode_with_any_reason(frame: bytes, position: int) -> None:
    """Check all of a frame but its reason codes: they stand at ``position`` for one byte, and may be unknown to us."""
    decode(frame[:position] + bytes((_KNOWN_REASON,)) + frame[position + 1 :])


def read_pubrel(frame: bytes) -> int:
    """Packet id of a PUBREL (3.6); raises Violation."""
    packet = decode(frame)
    assert isinstance(packet, mqtt5.PubRelPacket)
    return packet.packet_id


def read_puback(frame: bytes) -> tuple[int, int]:
    """Packet id and reason code of a PUBACK (3.4), whatever the reason code is."""
    body = _body(frame)
    if len(frame) - body <= 2:
        decode(frame)
        return int.from_bytes(frame[body:], "big"), 0
    _decode_with_any_reason(frame, body + 2)
    return int.from_bytes(frame[body : body + 2], "big"), frame[body + 2]


def read_suback(frame: bytes) -> tuple[int, tuple[int, ...]]:
    """Packet id and reason codes of a SUBACK (3.9), whatever the reason codes are."""
    body = _body(frame)
    properties = read_variable_byte_integer(frame, body + 2)
    if properties is None:
        raise Violation(MALFORMED_PACKET, "a SUBACK without properties")
    codes_at = sum(properties)
    decode(frame[:codes_at] + bytes((_KNOWN_REASON,)) * (len(frame) - codes_at))
    return int.from_bytes(frame[body : body + 2], "big"), tuple(frame[codes_at:])


def read_connack_reason(frame: bytes) -> int:
    """Reason code of a CONNACK (3.2), also of an MQTT 3 one."""
    body = _body(frame)
    if len(frame) - body < 2:
        raise Violation(MALFORMED_PACKET, "a CONNACK without a reason code")
    return frame[body + 1]


def read_disconnect_reason(frame: bytes) -> int:
    """Reason code of a DISCONNECT (3.14), whatever it is."""
    if frame[1] == 0:
        return 0
    body = _body(frame)
    _decode_with_any_reason(frame, body)
    return frame[body]


def encode_connect(options: SessionOptions, will: Will | None, *, clean_start: bool) -> bytes:
    """A CONNECT (3.1); no topic aliases, since thousands of sessions would keep as many tables."""
    return mqtt5.ConnectPacket(
        options.client_id,
        username=options.username,
        password=options.password,
        clean_start=clean_start,
        will=None if will is None else _encode_will(will),
        keep_alive=options.keep_alive_s,
        session_expiry_interval=options.session_expiry_s,
        receive_max=options.receive_maximum,
        max_packet_size=options.maximum_packet_size,
        user_properties=list(options.user_properties) or None,
    ).write()


def _encode_will(will: Will) -> mqtt5.Will:
    return mqtt5.Will(
        will.topic,
        payload=will.payload,
        qos=_QOS[will.qos],
        retain=will.retain,
        message_expiry_interval=will.message_expiry_s,
        content_type=will.content_type,
        will_delay_interval=will.delay_s,
        user_properties=list(will.properties) or None,
    )


def encode_subscribe(packet_id: int, filters: Sequence[TopicFilter], *, repeated: bool = False) -> bytes:
    """A SUBSCRIBE (3.8). ``repeated``: of a subscription that stands retained messages are not asked for again (3.8.3.1)."""
    at_least = _IF_NEW if repeated else 0
    return mqtt5.SubscribePacket(
        packet_id,
        [
            mqtt5.TopicFilter(
                one.pattern,
                max_qos=_QOS[one.qos],
                no_local=one.no_local,
                retain_as_published=one.retain_as_published,
                retain_handling=_RETAIN_HANDLING[max(one.retain_handling, at_least)],
            )
            for one in filters
        ],
    ).write()


def encode_publish(  # noqa: PLR0917 - the hot path, see SessionCore.publish
    topic: str,
    payload: bytes,
    qos: int,
    retain: bool,
    packet_id: int,
    properties: Sequence[tuple[str, str]],
    content_type: str | None,
    response_topic: str | None,
    correlation_data: bytes | None,
    message_expiry_s: int | None,
) -> bytes:
    """A PUBLISH (3.3); raises ValueError for a string that MQTT cannot carry."""
    if not topic or "+" in topic or "#" in topic or "\0" in topic:
        raise ValueError(f"topic {topic[:200]!r} is empty or holds a wildcard or NUL: publish to a plain topic")
    return mqtt5.PublishPacket(
        topic,
        payload,
        qos=_QOS[qos],
        retain=retain,
        packet_id=packet_id if qos else None,
        message_expiry_interval=message_expiry_s,
        content_type=content_type,
        response_topic=response_topic,
        correlation_data=correlation_data,
        user_properties=list(properties) if properties else None,
    ).write()


def encode_puback(packet_id: int) -> bytes:
    """A PUBACK (3.4) that says success."""
    return b"\x40\x02" + packet_id.to_bytes(2, "big")


def encode_pubrec(packet_id: int) -> bytes:
    """A PUBREC (3.5) that says success."""
    return b"\x50\x02" + packet_id.to_bytes(2, "big")


def encode_pubcomp(packet_id: int) -> bytes:
    """A PUBCOMP (3.7) that says success."""
    return b"\x70\x02" + packet_id.to_bytes(2, "big")


def encode_disconnect(reason_code: int) -> bytes:
    """A DISCONNECT (3.14)."""
    return bytes((0xE0, 1, reason_code)) if reason_code else b"\xe0\x00"


def with_duplicate_flag(frame: bytes, duplicate: bool) -> bytes:
    """The same PUBLISH with its DUP flag (3.3.1.1) set or cleared."""
    first = frame[0] | _DUPLICATE_FLAG if duplicate else frame[0] & ~_DUPLICATE_FLAG
    return frame if first == frame[0] else bytes((first,)) + frame[1:]


def with_packet_id(frame: bytes, packet_id: int) -> bytes:
    """The same QoS 1 PUBLISH under another packet id."""
    header = read_variable_byte_integer(frame, 1)
    assert header is not None, "we encoded this frame ourselves"
    at = header[1] + 2 + int.from_bytes(frame[header[1] : header[1] + 2], "big")
    return frame[:at] + packet_id.to_bytes(2, "big") + frame[at + 2 :]
