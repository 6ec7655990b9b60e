"""Finds strings that are not UTF-8 in a packet before the codec sees them: it panics on them, and floods stderr.

A packet that is ASCII behind its header, as nearly all are, costs three slices. Anything else that is wrong with
a packet is left to the codec.
"""

from __future__ import annotations

from typing import Final

_PUBLISH: Final = 3
#: Where the properties begin behind the fixed header, by packet type (CONNACK, PUBACK, SUBACK, DISCONNECT).
_PROPERTIES_AT: Final = {2: 2, 4: 3, 9: 2, 14: 1}

_STRING: Final = -1
_BINARY: Final = -2
_PAIR: Final = -3
_VARIABLE: Final = -4

#: Property identifiers (MQTT 5, table 2-4): a number of bytes, or one of the kinds above.
_KINDS: Final = {
    0x01: 1, 0x02: 4, 0x03: _STRING, 0x08: _STRING, 0x09: _BINARY, 0x0B: _VARIABLE, 0x11: 4, 0x12: _STRING,
    0x13: 2, 0x15: _STRING, 0x16: _BINARY, 0x17: 1, 0x18: 4, 0x19: 1, 0x1A: _STRING, 0x1C: _STRING, 0x1F: _STRING,
    0x21: 2, 0x22: 2, 0x23: 2, 0x24: 1, 0x25: 1, 0x26: _PAIR, 0x27: 4, 0x28: 1, 0x29: 1, 0x2A: 1,
}  # fmt: skip


def has_bad_string(frame: bytes) -> bool:
    """Whether the topic or a property of this whole frame is a string that is not UTF-8."""
    packet_type = frame[0] >> 4
    body = _skip_variable(frame, 1)
    if packet_type == _PUBLISH:
        topic_end = body + 2 + int.from_bytes(frame[body : body + 2], "big")
        topic = frame[body + 2 : topic_end]
        at = topic_end + (2 if frame[0] & 0x06 else 0)
        if not topic.isascii() and not _is_text(topic):
            return True
    elif packet_type in _PROPERTIES_AT:
        at = body + _PROPERTIES_AT[packet_type]
    else:
        return False
    start = _skip_variable(frame, at)
    length = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(frame[at:start]))
    # The payload is looked at too: a string whose length is wrong may reach into it.
    tail = frame[start:]
    return not tail.isascii() and not _are_texts(tail, length)


def _skip_variable(data: bytes, position: int) -> int:
    while position < len(data) and data[position] >= 0x80:
        position += 1
    return position + 1


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _are_texts(properties: bytes, length: int) -> bool:
    position = 0
    while position < min(length, len(properties)):
        kind = _KINDS.get(properties[position])
        position += 1
        if kind is None:
            return True
        if kind == _VARIABLE:
            position = _skip_variable(properties, position)
        elif kind > 0:
            position += kind
        else:
            for _ in range(2 if kind == _PAIR else 1):
                end = position + 2 + int.from_bytes(properties[position : position + 2], "big")
                if kind != _BINARY and not _is_text(properties[position + 2 : end]):
                    return False
                position = end
    return True
