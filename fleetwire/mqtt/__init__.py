"""The MQTT 5 session that every part of storefleet stands on; see ``core`` for its guarantees, ``link`` for its use."""

from fleetwire.mqtt.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectRefused,
    InvalidEndpoint,
    MqttError,
    NotConnected,
    NotSupported,
    PacketTooLarge,
    ProtocolViolation,
    QueueFull,
)
from fleetwire.mqtt.link import Session, SessionGroup, SessionHandler
from fleetwire.mqtt.stage_client import StageClient
from fleetwire.mqtt.values import Endpoint, EveryQosFilter, Message, SessionOptions, TopicFilter, Will

__all__ = [
    "ConnectFailed",
    "ConnectRefused",
    "ConnectionLost",
    "Endpoint",
    "EveryQosFilter",
    "InvalidEndpoint",
    "Message",
    "MqttError",
    "NotConnected",
    "NotSupported",
    "PacketTooLarge",
    "ProtocolViolation",
    "QueueFull",
    "Session",
    "SessionGroup",
    "SessionHandler",
    "SessionOptions",
    "StageClient",
    "TopicFilter",
    "Will",
]
