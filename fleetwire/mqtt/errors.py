"""Errors of the MQTT session; each says what happened, where (broker and client id), and what to do next.

MqttError                 reason_code: the peer's or our MQTT reason code, if there is one
├── InvalidEndpoint       a broker URL that cannot be used
├── ConnectFailed         no MQTT connection came about: network, timeout, or the peer is no broker
├── ConnectRefused        the broker said no in its CONNACK
├── ConnectionLost        an established connection ended; what was in flight may have been taken
│   └── ConnectionClosed  the broker ended it without a word
├── ProtocolViolation     we ended the connection because the peer broke the standard
├── NotConnected          a QoS 0 publish without a connection: nothing was sent
├── NotSupported          the broker announced that it does not do this: nothing was sent
├── PacketTooLarge        beyond the broker's maximum packet size: nothing was sent
└── QueueFull             the bounded outgoing queue is full: nothing was sent
"""

from __future__ import annotations

from fleetwire.errors import FleetError


class MqttError(FleetError):
    """Root of the MQTT errors; ``final`` says that the session will not try again by itself."""

    definite = False

    def __init__(self, message: str, *, reason_code: int | None = None, final: bool = False) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.final = final


class InvalidEndpoint(MqttError):
    """A broker URL that cannot be used."""

    definite = True


class ConnectFailed(MqttError):
    """No MQTT connection came about: the network, a timeout, or a peer that is no broker."""

    definite = True


class ConnectRefused(MqttError):
    """The broker refused the CONNECT with a reason code."""

    definite = True


class ConnectionLost(MqttError):
    """An established connection ended; what was in flight may have been taken by the broker."""


class ConnectionClosed(ConnectionLost):
    """The broker ended an established connection, and said no DISCONNECT before."""


class ProtocolViolation(MqttError):
    """The peer broke the standard, and we ended the connection with ``reason_code``."""


class NotConnected(MqttError):
    """A QoS 0 publish without a connection, or with one that takes no more bytes; nothing was sent."""

    definite = True


class NotSupported(MqttError):
    """The broker announced in its CONNACK that it does not do this; nothing was sent."""

    definite = True


class PacketTooLarge(MqttError):
    """The packet exceeds what MQTT or the broker's maximum packet size allows; nothing was sent."""

    definite = True


class QueueFull(MqttError):
    """The bounded outgoing queue is full; nothing was queued."""

    definite = True
