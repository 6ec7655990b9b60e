"""The reason codes of MQTT 5 (section 2.4) as data: a number that is not in the table still has a printable name."""

from __future__ import annotations

from typing import Final

SUCCESS: Final = 0x00
DISCONNECT_WITH_WILL: Final = 0x04
NO_MATCHING_SUBSCRIBERS: Final = 0x10
MALFORMED_PACKET: Final = 0x81
PROTOCOL_ERROR: Final = 0x82
SESSION_TAKEN_OVER: Final = 0x8E
TOPIC_ALIAS_INVALID: Final = 0x94
PACKET_TOO_LARGE: Final = 0x95

NAMES: Final[dict[int, str]] = {
    0x00: "success",
    0x01: "unacceptable protocol version (the answer of an MQTT 3 broker)",
    0x04: "disconnect with will message",
    0x10: "no matching subscribers",
    0x11: "no subscription existed",
    0x18: "continue authentication",
    0x19: "re-authenticate",
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    0x84: "unsupported protocol version",
    0x85: "client identifier not valid",
    0x86: "bad user name or password",
    0x87: "not authorized",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    0x92: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    0x95: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}

RETURN_CODES_3: Final[dict[int, str]] = {
    0x01: NAMES[0x01],
    0x02: "client identifier rejected (the answer of an MQTT 3 broker)",
    0x03: "server unavailable (the answer of an MQTT 3 broker)",
    0x04: "bad user name or password (the answer of an MQTT 3 broker)",
    0x05: "not authorized (the answer of an MQTT 3 broker)",
}
"""What a CONNACK of MQTT 3.1.1 (3.2.2.3) refuses with; in one of MQTT 5 none of these numbers stands."""

#: Refusals that no waiting can heal. A wrong password is not among them: in a lab it is a fault that gets healed.
FINAL_REFUSALS: Final[frozenset[int]] = frozenset({0x01, 0x02, 0x84, 0x85, 0x8C, 0x9D})


def describe_refusal(reason_code: int) -> str:
    """The code of a CONNACK that refuses, of either version, and its name."""
    return f"0x{reason_code:02X} {RETURN_CODES_3.get(reason_code) or NAMES.get(reason_code, 'unknown reason code')}"


def describe(reason_code: int) -> str:
    """The code and its name, such as ``0x87 not authorized``."""
    return f"0x{reason_code:02X} {NAMES.get(reason_code, 'unknown reason code')}"
