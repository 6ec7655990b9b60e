"""What the session core tells its owner, and the table of the states that a connection goes through."""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

import msgspec

from fleetwire.mqtt.errors import MqttError
from fleetwire.mqtt.values import Message


class Connected(msgspec.Struct):
    """The server accepted us; ``session_present`` says whether it kept our session."""

    session_present: bool


class Published(msgspec.Struct):
    """A QoS 1 publish came to its end: its PUBACK arrived, or it was refused here with 0x95."""

    token: object
    reason_code: int


class Subscribed(msgspec.Struct):
    """One SUBACK."""

    reason_codes: tuple[int, ...]


class Ended(msgspec.Struct):
    """The connection is over: send what is left to send, close it, then call :meth:`SessionCore.lost`."""

    error: type[MqttError]
    detail: str
    reason_code: int | None = None


Event: TypeAlias = Connected | Message | Published | Subscribed | Ended


class State(enum.Enum):
    """Where the connection stands, as far as MQTT is concerned."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    CLOSING = "closing"


class Step(enum.Enum):
    """What moves a connection from one state to the next."""

    OPEN = "open"
    ACCEPTED = "accepted"
    END = "end"
    LOST = "lost"


TRANSITIONS: Final[dict[tuple[State, Step], State]] = {
    (State.DISCONNECTED, Step.OPEN): State.CONNECTING,
    (State.CONNECTING, Step.ACCEPTED): State.CONNECTED,
    (State.CONNECTING, Step.END): State.CLOSING,
    (State.CONNECTED, Step.END): State.CLOSING,
    (State.DISCONNECTED, Step.LOST): State.DISCONNECTED,
    (State.CONNECTING, Step.LOST): State.DISCONNECTED,
    (State.CONNECTED, Step.LOST): State.DISCONNECTED,
    (State.CLOSING, Step.LOST): State.DISCONNECTED,
}
