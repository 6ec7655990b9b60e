"""One MQTT session on one socket after the other: bytes to the core, its events to the owner's callbacks.

It guarantees: what the owner is told is in the order of the wire; it hears of every connection that is lost or does not
come about, and of nothing that it asked for itself. A session has no task and no timer; its group drives it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, cast

from fleetwire.mqtt.core import SessionCore
from fleetwire.mqtt.errors import ConnectFailed, ConnectionClosed, ConnectionLost, ConnectRefused, MqttError
from fleetwire.mqtt.events import Connected, Ended, Event, Published, Subscribed
from fleetwire.mqtt.reason_codes import FINAL_REFUSALS
from fleetwire.mqtt.values import Message, SessionOptions, TopicFilter, Will

if TYPE_CHECKING:
    from fleetwire.mqtt.link import SessionGroup

#: A DISCONNECT that the peer does not take within this time is not waited for.
_CLOSING_S: Final = 1.0
#: A connection that stood this long was a good one: the back-off begins anew.
_STEADY_S: Final = 5.0
_WRITE_BUFFER_BYTES: Final = 1 << 18


class SessionHandler(Protocol):
    """What a session tells its owner; plain methods, called in the loop."""

    def on_connected(self, session: Session, session_present: bool, /) -> None:
        """The broker accepted the session; subscriptions are already on their way."""

    def on_message(self, session: Session, message: Message, /) -> None:
        """A message arrived; QoS 1 wants ``session.acknowledge(message)`` sooner or later."""

    def on_published(self, session: Session, token: object, reason_code: int, /) -> None:
        """A QoS 1 publish ended: its PUBACK arrived (0x80 and above: not accepted), or 0x95 from ourselves."""

    def on_subscribed(self, session: Session, reason_codes: tuple[int, ...], /) -> None:
        """A SUBACK arrived."""

    def on_disconnected(self, session: Session, error: MqttError, /) -> None:
        """The connection was lost or did not come about; not called for a disconnect or abort that was asked for."""


class Phase(enum.IntEnum):
    """Where a session stands between two connections."""

    IDLE = 0
    WAITING = 1
    QUEUED = 2
    DIALLING = 3
    OPENING = 4
    OPEN = 5
    CLOSING = 6


class Session(asyncio.Protocol):
    """One MQTT session; :meth:`SessionGroup.open` makes it."""

    __slots__ = (
        "_attempt", "_closed", "_connected_at_s", "_core", "_dirty", "_ending", "_group", "_handler",
        "_reading", "_transport", "_wanted", "_will", "due_tick", "phase",
    )  # fmt: skip

    def __init__(
        self,
        group: SessionGroup,
        options: SessionOptions,
        handler: SessionHandler,
        will: Callable[[], Will | None] | None,
    ) -> None:
        self._group = group
        self._handler = handler
        self._will = will
        self._core = SessionCore(options, group.statistics)
        self._transport: asyncio.Transport | None = None
        self.phase = Phase.IDLE
        self._attempt = 0
        self._connected_at_s: float | None = None
        self._ending: MqttError | None = None
        self._closed: asyncio.Future[None] | None = None
        self._wanted = True
        self._dirty = False
        self._reading = True
        self.due_tick = 0

    # What an owner calls

    @property
    def client_id(self) -> str:
        """The MQTT client id."""
        return self._core.options.client_id

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and nothing has ended that."""
        return self.phase is Phase.OPEN

    @property
    def in_flight(self) -> int:
        """QoS 1 publishes that were sent and not acknowledged."""
        return self._core.publishes.in_flight

    @property
    def queued(self) -> int:
        """QoS 1 publishes that wait for a connection or for the broker's receive maximum."""
        return self._core.publishes.queued

    @property
    def unacknowledged_messages(self) -> int:
        """Messages of this connection that we hold without a PUBACK."""
        return self._core.unacknowledged_messages

    def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Sequence[tuple[str, str]] = (),
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        message_expiry_s: int | None = None,
        token: object = None,
    ) -> None:
        """Publish; at QoS 1 ``on_published`` follows with ``token``, and a publish without a connection waits for one.

        Raises QueueFull, PacketTooLarge, NotSupported, NotConnected (QoS 0 only) or ValueError; then nothing was sent.
        """
        self._core.publish(
            topic, payload, qos, retain, properties,
            content_type, response_topic, correlation_data, message_expiry_s, token,
        )  # fmt: skip
        if not self._dirty:
            self._mark()

    def acknowledge(self, message: Message) -> None:
        """Acknowledge a message; the PUBACKs go out in the order of arrival. At QoS 0 it does nothing."""
        self._core.acknowledge(message)
        if not self._dirty:
            self._mark()

    def subscribe(self, *filters: TopicFilter) -> None:
        """Add subscriptions; they are made again at every connect."""
        self._core.subscribe(filters)
        self._mark()

    def pause_reading(self) -> None:
        """Stop reading the socket, until :meth:`resume_reading` or the end of this connection."""
        transport = self._transport
        if self.phase is Phase.OPEN and self._reading and transport is not None and not transport.is_closing():
            self._reading = False
            transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        transport = self._transport
        if self.phase is Phase.OPEN and not self._reading and transport is not None and not transport.is_closing():
            self._reading = True
            self._core.resumed_reading(self._group.now_s())
            transport.resume_reading()

    def disconnect(self, *, with_will: bool = False) -> None:
        """End the session with a DISCONNECT and do not come back; ``with_will`` asks the broker for the will."""
        self._wanted = False
        if self.phase is Phase.OPEN:
            self._core.close(with_will=with_will)
            self._hang_up()
        elif self.phase is not Phase.CLOSING:
            self._give_up()

    def abort(self, *, forget: bool = False) -> None:
        """Drop the connection without a DISCONNECT, as a power cut does; only :meth:`reopen` brings the session back.

        ``forget`` drops the unacknowledged publishes too, as the loss of a process's memory does.
        """
        self._wanted = False
        if forget:
            self._core.publishes.forget()
        if self.phase is Phase.CLOSING and self._transport is not None:
            self._transport.abort()
        elif self.phase is not Phase.CLOSING:
            self._give_up()

    def reopen(self) -> None:
        """Connect again after :meth:`abort` or :meth:`disconnect`, at once."""
        if self._wanted:
            return
        self._wanted = True
        self._attempt = 0
        if self.phase is Phase.IDLE:
            self._group.enqueue(self)

    async def closed(self) -> None:
        """Wait until the session has no connection and will not make one by itself."""
        if self.phase is not Phase.IDLE:
            if self._closed is None:
                self._closed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._closed)

    # Connection, as the group drives it

    def enter(self, phase: Phase) -> None:
        """Go to another phase; the slot for dialling is given back when the session no longer needs it."""
        left, self.phase = self.phase, phase
        if left in _HOLDS_A_SLOT and phase not in _HOLDS_A_SLOT:
            self._group.free_slot(self, accepted=phase is Phase.OPEN)

    def attach(self, transport: asyncio.Transport) -> None:
        """Take a fresh connection from the group and say CONNECT."""
        group = self._group
        self._transport = transport
        self.enter(Phase.OPENING)
        transport.set_write_buffer_limits(_WRITE_BUFFER_BYTES)
        transport.set_protocol(self)
        group.wheel.set(self, group.now_s() + group.connect_timeout_s)
        try:
            self._core.open(self._will() if self._will is not None else None, group.now_s())
        except Exception as error:  # noqa: BLE001 - a will that cannot be encoded must not end the dialling task
            group.report(self, error)
            self._drop(ConnectFailed(f"{group.where(self)}: the CONNECT cannot be encoded: {error}", final=True))
        self._mark()

    def dial_failed(self, error: MqttError) -> None:
        """Take the news that no connection came about."""
        self._ended(error)

    def _drop(self, error: MqttError | None) -> None:
        """End the connection without another byte; ``connection_lost`` follows."""
        self._ending = error
        self.enter(Phase.CLOSING)
        self._core.drop()
        if self._transport is not None:
            self._transport.abort()

    def _hang_up(self) -> None:
        """End the connection once what is to be sent has left, or after a while."""
        self.enter(Phase.CLOSING)
        self.flush(self._group.now_s())
        self._group.wheel.set(self, self._group.now_s() + _CLOSING_S)
        if self._transport is not None:
            self._transport.close()

    def _give_up(self) -> None:
        """Stop whatever phase it is, without a DISCONNECT."""
        if self.phase in (Phase.OPENING, Phase.OPEN):
            self._drop(None)
            return
        self._group.withdraw(self)
        self._rest()

    def _rest(self) -> None:
        self.enter(Phase.IDLE)
        self._group.wheel.clear(self)
        self._group.forget(self)
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self._closed = None

    def _ended(self, error: MqttError | None) -> None:
        """No connection any more: tell the owner, then wait, start anew, or rest."""
        group = self._group
        was_open_s = 0.0 if self._connected_at_s is None else group.now_s() - self._connected_at_s
        self._attempt = 0 if was_open_s >= _STEADY_S else self._attempt
        group.count_end(error, was_connected=self._connected_at_s is not None)
        self._connected_at_s = None
        told_to_stop = not self._wanted
        if error is not None and error.final:
            self._wanted = False
        self.enter(Phase.WAITING)
        if error is not None and not told_to_stop:
            self._call(self._handler.on_disconnected, error)
        if self.phase is not Phase.WAITING:
            return
        if not self._wanted:
            self._rest()
        elif error is None:
            group.enqueue(self)
        else:
            group.wheel.set(self, group.now_s() + group.backoff_s(self._attempt))
            self._attempt += 1

    def due(self, now_s: float) -> None:
        """The deadline of the present phase has come."""
        if self.phase is Phase.WAITING:
            self._group.enqueue(self)
        elif self.phase is Phase.OPENING:
            limit_s = self._group.connect_timeout_s
            detail = f"no CONNACK within {limit_s:g} s: the peer is no MQTT broker, or it hangs"
            self._drop(ConnectFailed(f"{self._group.where(self)}: {detail}"))
        elif self.phase is Phase.OPEN:
            self._dispatch(self._core.tick(now_s, reading=self._reading))
            self._keep_alive()
            self._mark()
        elif self.phase is Phase.CLOSING and self._transport is not None:
            self._transport.abort()

    def _keep_alive(self) -> None:
        deadline_s = self._core.next_deadline_s()
        if deadline_s is not None and self.phase is Phase.OPEN:
            self._group.wheel.set(self, deadline_s)

    # Bytes

    def _mark(self) -> None:
        if not self._dirty and self._core.has_outgoing:
            self._dirty = True
            self._group.mark(self)

    def flush(self, now_s: float) -> None:
        """Write what has gathered in this loop iteration."""
        self._dirty = False
        transport = self._transport
        if transport is not None and not transport.is_closing() and (data := self._core.take(now_s)):
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        """Protocol callback of asyncio."""
        self._dispatch(self._core.receive(data, self._group.now_s()))
        if not self._dirty:
            self._mark()

    def pause_writing(self) -> None:
        """Protocol callback of asyncio."""
        self._core.publishes.paused = True

    def resume_writing(self) -> None:
        """Protocol callback of asyncio."""
        self._dispatch(self._core.resume_sending())
        self._mark()

    def connection_lost(self, exc: Exception | None) -> None:
        """Protocol callback of asyncio."""
        error, self._ending = self._ending, None
        if error is None and self.phase is not Phase.CLOSING:
            reason = "was closed by the peer" if exc is None else f"broke: {exc}"
            where = self._group.where(self)
            if self.phase is Phase.OPEN:
                kind = ConnectionClosed if exc is None else ConnectionLost
                error = kind(f"{where}: the connection {reason}; it is made again")
            else:
                hint = "it has a connection limit, wants TLS (mqtts://), or is no MQTT 5 broker"
                error = ConnectFailed(f"{where}: the connection {reason} before a CONNACK: {hint}")
        self._transport = None
        self._reading = True
        self._core.lost(closed_by_peer=isinstance(error, ConnectionClosed))
        self._group.wheel.clear(self)
        self._ended(error)

    # Events

    def _dispatch(self, events: list[Event]) -> None:
        for event in events:
            try:
                _DELIVER[type(event)](self, event)
            except Exception as error:  # noqa: BLE001 - the owner's bug is reported, and must not lose the other events
                self._group.report(self, error)

    def _call(self, callback: Callable[[Session, MqttError], None], error: MqttError) -> None:
        try:
            callback(self, error)
        except Exception as failure:  # noqa: BLE001 - as in _dispatch
            self._group.report(self, failure)

    def _deliver_published(self, event: Event) -> None:
        event = cast(Published, event)
        self._handler.on_published(self, event.token, event.reason_code)

    def _deliver_message(self, event: Event) -> None:
        self._handler.on_message(self, cast(Message, event))

    def _deliver_subscribed(self, event: Event) -> None:
        self._handler.on_subscribed(self, cast(Subscribed, event).reason_codes)

    def _deliver_connected(self, event: Event) -> None:
        statistics = self._group.statistics
        statistics.connects += 1
        statistics.reconnects += self._core.connection > 1
        self._connected_at_s = self._group.now_s()
        self.enter(Phase.OPEN)
        self._group.wheel.clear(self)
        self._keep_alive()
        self._handler.on_connected(self, cast(Connected, event).session_present)

    def _deliver_ended(self, event: Event) -> None:
        event = cast(Ended, event)
        self._ending = event.error(
            f"{self._group.where(self)}: {event.detail}",
            reason_code=event.reason_code,
            final=event.error is ConnectRefused and event.reason_code in FINAL_REFUSALS,
        )
        self._hang_up()


_HOLDS_A_SLOT: Final = frozenset({Phase.DIALLING, Phase.OPENING})

_DELIVER: Final[dict[type, Callable[[Session, Event], None]]] = {
    Published: Session._deliver_published,
    Message: Session._deliver_message,
    Subscribed: Session._deliver_subscribed,
    Connected: Session._deliver_connected,
    Ended: Session._deliver_ended,
}
