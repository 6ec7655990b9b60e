"""What to do when somebody else's broker does not let us in: one table from its reason code to a piece of advice."""

from __future__ import annotations

import ssl
from typing import Final

from fleetwire.mqtt import ConnectRefused, MqttError, ProtocolViolation

ADDRESS: Final = "check --broker"
AUTHORITY: Final = "check --broker, or name its certificate authority by --broker-ca-file"
BANNED: Final = "it has banned this client or its address: ask whoever runs the broker"
BUSY: Final = "it takes no more clients now: try again later, or raise its limits"
CLIENT_ID: Final = "it takes no such client id: give the lab another name by --name, or allow its ids there"
CREDENTIALS: Final = "check the user name in --broker, and STOREFLEET_BROKER_PASSWORD or --broker-password-file"
LOG: Final = "look into the broker's log"
METHOD: Final = "it asks for enhanced authentication, and a lab gives user name and password only: allow these there"
MOVED: Final = "name the server that it points to by --broker"
SHAPE: Final = "it does not take what every client of a lab sends: raise its limits, or name another broker by --broker"
VERSION: Final = "this is no MQTT 5 broker: name one by --broker"

BY_REASON_CODE: Final[dict[int, str]] = {
    0x01: VERSION,
    0x02: CLIENT_ID,
    0x03: BUSY,
    0x04: CREDENTIALS,
    0x05: CREDENTIALS,
    0x80: LOG,
    0x81: LOG,
    0x82: LOG,
    0x83: LOG,
    0x84: VERSION,
    0x85: CLIENT_ID,
    0x86: CREDENTIALS,
    0x87: CREDENTIALS,
    0x88: BUSY,
    0x89: BUSY,
    0x8A: BANNED,
    0x8C: METHOD,
    0x90: SHAPE,
    0x95: SHAPE,
    0x97: BUSY,
    0x99: SHAPE,
    0x9A: SHAPE,
    0x9B: SHAPE,
    0x9C: MOVED,
    0x9D: MOVED,
    0x9F: BUSY,
}
"""Every code with which a CONNACK may refuse: of MQTT 5 (table 3-1, from 0x80 on) and of 3.1.1 (table 3.1, 1 to 5)."""


def advice_on(error: MqttError) -> str:
    """What to do about a session that did not come about."""
    if isinstance(error, ConnectRefused) and error.reason_code is not None:
        return BY_REASON_CODE.get(error.reason_code, LOG)
    if isinstance(error, ProtocolViolation):
        return VERSION
    if isinstance(error.__cause__, ssl.SSLCertVerificationError):
        return AUTHORITY
    return ADDRESS
