"""Values of the MQTT session: where to connect, as whom, to what, and what a message is. They do nothing."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import ClassVar, Self
from urllib.parse import urlsplit

import msgspec

from fleetwire.host_port import host_in, host_port
from fleetwire.mqtt.errors import InvalidEndpoint

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Address of a broker; with ``tls`` the connection is TLS and the certificate is checked as the context says."""

    host: str
    port: int
    tls: ssl.SSLContext | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str, *, tls: ssl.SSLContext | None = None) -> Self:
        """Read ``mqtt://host[:port]`` or ``mqtts://host[:port]``.

        ``tls`` replaces the system's trust store for ``mqtts``. Raises :class:`InvalidEndpoint` with one line.
        """
        hint = "write mqtt://host:port or mqtts://host:port, an IPv6 address in brackets"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise InvalidEndpoint(f"the broker URL cannot be read ({error}): {hint}") from error
        if "@" in parts.netloc:
            raise InvalidEndpoint(f"the broker URL holds credentials: give them as user name and password, {hint}")
        if parts.scheme not in _DEFAULT_PORTS:
            raise InvalidEndpoint(f"broker URL {url!r}: the scheme is neither mqtt nor mqtts: {hint}")
        if not parts.hostname or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise InvalidEndpoint(f"broker URL {url!r} is not just a host and a port from 1 to 65535: {hint}")
        if parts.scheme == "mqtts":
            tls = tls or ssl.create_default_context()
        elif tls is not None:
            raise InvalidEndpoint(f"broker URL {url!r} asks for no TLS, but a TLS context was given: use mqtts://")
        return cls(host=host_in(parts), port=port or _DEFAULT_PORTS[parts.scheme], tls=tls)

    def __str__(self) -> str:
        return f"{'mqtts' if self.tls else 'mqtt'}://{host_port(self.host, self.port)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicFilter:
    """One subscription; ``qos`` is at most 1, so that the broker never sends QoS 2 (but see EveryQosFilter).

    ``retain_handling`` (MQTT 5, 3.8.3.1) is that of the first SUBSCRIBE; when a later connection repeats it, it is 1 at
    least, so that retained messages come again only where the server no longer had the subscription.
    """

    largest_qos: ClassVar[int] = 1

    pattern: str
    qos: int = 1
    no_local: bool = False
    retain_as_published: bool = True
    retain_handling: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.qos <= self.largest_qos or self.retain_handling not in (0, 1, 2):
            raise ValueError(f"filter {self.pattern!r}: QoS is 0 to {self.largest_qos}, retain handling 0, 1 or 2")


@dataclass(frozen=True, slots=True, kw_only=True)
class EveryQosFilter(TopicFilter):
    """One subscription of an observer, who is to see the QoS as it was sent.

    For sessions that end with their connection (no expiry): what a broker sends again after a reconnect is not told
    from what is new, so that exactly once becomes at least once.
    """

    largest_qos: ClassVar[int] = 2
    qos: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """What the broker publishes when the connection ends without a DISCONNECT, ``delay_s`` later."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    delay_s: int = 0
    properties: tuple[tuple[str, str], ...] = ()
    content_type: str | None = None
    message_expiry_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What a session is; immutable, so that thousands can share the common parts.

    ``clean_start`` holds for the first CONNECT of a session object only; its reconnects resume.
    ``outgoing_limit`` bounds the QoS 1 publishes that are not acknowledged yet, in flight and waiting together.
    ``receive_maximum`` and ``maximum_packet_size`` are what we announce to the broker (MQTT 5, 3.1.2.11).
    """

    client_id: str
    username: str | None = None
    password: bytes | None = field(default=None, repr=False)
    clean_start: bool = False
    session_expiry_s: int = 0
    keep_alive_s: int = 30
    receive_maximum: int = 1000
    maximum_packet_size: int = 262_144
    subscriptions: tuple[TopicFilter, ...] = ()
    user_properties: tuple[tuple[str, str], ...] = ()
    outgoing_limit: int = 10_000

    def __post_init__(self) -> None:
        if not 0 <= self.keep_alive_s <= 65_535 or not 1 <= self.receive_maximum <= 65_535:
            raise ValueError("keep_alive_s is 0 to 65535 and receive_maximum 1 to 65535")
        if not 1 <= self.outgoing_limit <= 1_000_000 or not 64 <= self.maximum_packet_size <= 268_435_455:
            raise ValueError("outgoing_limit is 1 to 1,000,000 and maximum_packet_size 64 to 268,435,455")


class Message(msgspec.Struct, eq=False, kw_only=True):
    """A PUBLISH from the broker; hand it back to ``acknowledge`` once it has been dealt with."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    properties: list[tuple[str, str]]
    content_type: str | None
    response_topic: str | None
    correlation_data: bytes | None
    message_expiry_s: int | None
    packet_id: int
    connection: int
    acknowledged: bool = False

    def user_property(self, name: str) -> str | None:
        """The first user property of this name, if there is one."""
        return next((value for key, value in self.properties if key == name), None)
