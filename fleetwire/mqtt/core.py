"""The MQTT 5 client session, sans-io: bytes and the monotonic time go in, events and bytes to send come out.

It guarantees: QoS 1 publishes are sent in order, never more at once than the server takes, kept until acknowledged, and
sent again after a reconnect, with DUP in the original order when the server kept the session, as new ones when it did
not. PUBACKs go out in the order of arrival, whatever the order of the calls. Nothing larger than the server takes is
sent. A peer that breaks the standard is told so and left; a reason code that nobody knows is passed on as a number.
Every connection says all subscriptions, also where the server has kept the session: it may be another one under our id.

Queues exist only while something is in them: ten thousand idle sessions stay small.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Sequence
from typing import Final, TypeAlias

import mqtt5

from fleetwire.mqtt import frames
from fleetwire.mqtt.errors import (
    ConnectFailed,
    ConnectionLost,
    ConnectRefused,
    MqttError,
    NotConnected,
    PacketTooLarge,
    ProtocolViolation,
    QueueFull,
)
from fleetwire.mqtt.events import TRANSITIONS, Connected, Ended, Event, Published, State, Step, Subscribed
from fleetwire.mqtt.frames import Violation
from fleetwire.mqtt.limits import NO_LIMITS, read_limits
from fleetwire.mqtt.outgoing import OutgoingPublishes
from fleetwire.mqtt.reason_codes import (
    DISCONNECT_WITH_WILL,
    MALFORMED_PACKET,
    PACKET_TOO_LARGE,
    PROTOCOL_ERROR,
    SESSION_TAKEN_OVER,
    SUCCESS,
    TOPIC_ALIAS_INVALID,
    describe,
    describe_refusal,
)
from fleetwire.mqtt.statistics import Statistics
from fleetwire.mqtt.values import Message, SessionOptions, TopicFilter, Will

_Reader: TypeAlias = Callable[["SessionCore", bytes, list[Event]], None]

_PUBACK: Final = 0x40
_PLACEHOLDER_ID: Final = 1
UNANSWERED_SHARE: Final = 0.5
"""A PINGREQ that stays unanswered for so much of the keep-alive ends the connection."""
SUBACK_LIMIT_S: Final = 10.0
"""So long, and until the keep-alive's next turn, a SUBSCRIBE may stay without its SUBACK."""


class SessionCore:
    """One session over any number of connections; ``options`` and ``statistics`` are shared, never changed here."""

    __slots__ = (
        "_added_filters", "_arrived", "_last_received_s", "_last_sent_s", "_needed", "_outgoing", "_partial",
        "_ping_sent_s", "_readers", "_server_limits", "_subscribe_due", "_subscribing", "_taken_over", "_unanswered",
        "connection", "keep_alive_s", "options", "publishes", "state", "statistics",
    )  # fmt: skip

    def __init__(self, options: SessionOptions, statistics: Statistics) -> None:
        self.options = options
        self.statistics = statistics
        self.state = State.DISCONNECTED
        self.connection = 0
        self.keep_alive_s = options.keep_alive_s
        self._readers = _READERS[State.DISCONNECTED]
        self._outgoing: list[bytes] | None = None
        self._partial: bytearray | None = None
        self._needed = 0
        self.publishes = OutgoingPublishes()
        self._arrived: deque[Message] | None = None
        self._subscribing: dict[int, int] | None = None
        self._taken_over = False
        self._unanswered: tuple[int, float] | None = None
        """Packet id of a SUBSCRIBE without its SUBACK, and when that was noticed."""
        self._added_filters: tuple[TopicFilter, ...] = ()
        self._subscribe_due = bool(options.subscriptions)
        self._server_limits = NO_LIMITS
        self._last_sent_s = 0.0
        self._last_received_s = 0.0
        self._ping_sent_s: float | None = None

    # What the owner may ask

    @property
    def unacknowledged_messages(self) -> int:
        """Messages of this connection whose PUBACK has not been sent, acknowledged out of order or not at all."""
        return len(self._arrived) if self._arrived else 0

    @property
    def has_outgoing(self) -> bool:
        """Whether :meth:`take` has something to send."""
        return self._outgoing is not None

    # Connection

    def open(self, will: Will | None, now_s: float) -> None:
        """Begin on a fresh byte stream: a CONNECT goes out first."""
        self._step(Step.OPEN)
        clean_start = self.options.clean_start and self.connection == 0
        self.connection += 1
        self._last_sent_s = self._last_received_s = now_s
        self._send(frames.encode_connect(self.options, will, clean_start=clean_start))

    def close(self, *, with_will: bool = False) -> None:
        """Say DISCONNECT; what comes in afterwards is ignored."""
        if self.state is State.CONNECTED:
            self._send(frames.encode_disconnect(DISCONNECT_WITH_WILL if with_will else SUCCESS))
        if self.state in (State.CONNECTING, State.CONNECTED):
            self._step(Step.END)

    def drop(self) -> None:
        """Nothing more can be sent on this byte stream; :meth:`lost` follows."""
        self._outgoing = None
        if self.state in (State.CONNECTING, State.CONNECTED):
            self._step(Step.END)

    def lost(self, *, closed_by_peer: bool = False) -> None:
        """The byte stream is gone; what was in flight is kept for the next one. ``closed_by_peer``: without a word."""
        if closed_by_peer or self._taken_over:
            # Perhaps another client has our id now. It may hold the same subscriptions, and then it hears in our place
            # what is retained: so that is asked for as at first.
            self._subscribe_due, self._taken_over = True, False
        self._step(Step.LOST)
        self._outgoing = None
        self._partial = None
        self._arrived = None
        self._subscribing = None
        self._unanswered = None
        self._ping_sent_s = None
        self.publishes.disconnected()

    def _step(self, step: Step) -> None:
        self.state = TRANSITIONS[self.state, step]
        if step is Step.END:
            # What is published after our DISCONNECT waits for the next connection.
            self.publishes.paused = True
        self._readers = _READERS[self.state]

    # Bytes out

    def _send(self, frame: bytes) -> None:
        if self._outgoing is None:
            self._outgoing = [frame]
        else:
            self._outgoing.append(frame)

    def take(self, now_s: float) -> bytes:
        """All bytes that wait to be sent; they count as sent at ``now_s``."""
        outgoing = self._outgoing
        if outgoing is None:
            return b""
        self._outgoing = None
        self._last_sent_s = now_s
        data = outgoing[0] if len(outgoing) == 1 else b"".join(outgoing)
        self.statistics.bytes_sent += len(data)
        return data

    def resume_sending(self) -> list[Event]:
        """The transport takes bytes again, after ``publishes.paused`` was set; publishes waited meanwhile."""
        if self.state is State.CLOSING:
            return []
        self.publishes.paused = False
        events: list[Event] = []
        self._drain(events)
        return events

    # Publish

    def publish(  # noqa: PLR0917 - the hot path: passing by name costs a tenth of a publish
        self,
        topic: str,
        payload: bytes,
        qos: int = 1,
        retain: bool = False,
        properties: Sequence[tuple[str, str]] = (),
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        message_expiry_s: int | None = None,
        token: object = None,
    ) -> None:
        """Send or queue one PUBLISH; at QoS 1 an event :class:`Published` with ``token`` follows.

        Raises QueueFull, PacketTooLarge, NotSupported, NotConnected (QoS 0 only) or ValueError; then nothing was sent.
        """
        if qos != 1:
            self._check_unqueued(qos)
        elif len(self.publishes) >= self.options.outgoing_limit:
            raise QueueFull(
                f"{self.options.client_id}: {self.options.outgoing_limit} publishes are not acknowledged yet: "
                "wait for on_published, or raise outgoing_limit"
            )
        if self._server_limits is not NO_LIMITS:
            self._server_limits.check(qos, retain, self.options.client_id)
        if len(payload) > frames.LARGEST_PAYLOAD:
            raise PacketTooLarge(f"{topic}: a payload of {len(payload)} bytes: send {frames.LARGEST_PAYLOAD} at most")
        at_once = qos == 0 or self.publishes.can_send
        packet_id = (self._next_packet_id() if at_once else _PLACEHOLDER_ID) if qos else 0
        frame = frames.encode_publish(
            topic, payload, qos, retain, packet_id, properties,
            content_type, response_topic, correlation_data, message_expiry_s,
        )  # fmt: skip
        if len(frame) > self._server_limits.packet_size:
            self.statistics.publishes_refused_locally += 1
            raise PacketTooLarge(
                f"{self.options.client_id}: a packet of {len(frame)} bytes to {topic} exceeds the broker's maximum of "
                f"{self._server_limits.packet_size}: send less, or raise max_packet_size there",
                reason_code=PACKET_TOO_LARGE,
            )
        if qos == 0:
            self.statistics.publishes += 1
            self._send(frame)
        elif at_once:
            self._send_publish(packet_id, token, frame)
        else:
            self.publishes.wait(token, frame)

    def _check_unqueued(self, qos: int) -> None:
        if qos != 0:
            raise ValueError(f"QoS {qos}: this session publishes at QoS 0 and 1")
        if self.state is not State.CONNECTED or self.publishes.paused:
            raise NotConnected(
                f"{self.options.client_id}: no connection that takes a QoS 0 publish: use QoS 1, which waits"
            )

    def _send_publish(self, packet_id: int, token: object, frame: bytes) -> None:
        self.publishes.sent(packet_id, token, frame)
        self.statistics.publishes += 1
        if self._outgoing is None:
            self._outgoing = [frame]
        else:
            self._outgoing.append(frame)

    def _next_packet_id(self, also_taken: Container[int] = ()) -> int:
        packet_id = self.publishes.next_packet_id(also_taken or self._subscribing or ())
        if packet_id is None:
            raise QueueFull(f"{self.options.client_id}: all packet ids are in use: wait for acknowledgements")
        return packet_id

    def _drain(self, events: list[Event]) -> None:
        if self.state is not State.CONNECTED:
            return
        for packet_id, token, frame in self.publishes.ready():
            if len(frame) > self._server_limits.packet_size:
                self.statistics.publishes_refused_locally += 1
                events.append(Published(token, PACKET_TOO_LARGE))
            elif packet_id:
                self.statistics.publishes_resent += 1
                self._send_publish(packet_id, token, frame)
            else:
                fresh_id = self._next_packet_id()
                self._send_publish(fresh_id, token, frames.with_packet_id(frame, fresh_id))

    def _settle(self, packet_id: int, reason_code: int, events: list[Event]) -> None:
        entry = self.publishes.settle(packet_id)
        if entry is None:
            self.statistics.unknown_acknowledgements += 1
            return
        self.statistics.puback_reasons[reason_code] += 1
        events.append(Published(entry[0], reason_code))

    # Subscribe and acknowledge

    def subscribe(self, filters: Sequence[TopicFilter]) -> None:
        """Add subscriptions to those of the options; they are made at once, or as soon as there is a connection."""
        added = {one.pattern: one for one in (*self._added_filters, *filters)}
        self._added_filters = tuple(added.values())
        self._subscribe_due = True
        if self.state is State.CONNECTED:
            self._subscribe(filters)

    def _subscribe(self, filters: Sequence[TopicFilter], *, repeated: bool = False) -> None:
        packet_id = self._next_packet_id(self.publishes.kept_packet_ids().union(self._subscribing or ()))
        frame = frames.encode_subscribe(packet_id, filters, repeated=repeated)
        if len(frame) > self._server_limits.packet_size:
            raise PacketTooLarge(f"{self.options.client_id}: {len(filters)} filters in one SUBSCRIBE: give fewer")
        if self._subscribing is None:
            self._subscribing = {}
        self._subscribing[packet_id] = len(filters)
        self._send(frame)

    def acknowledge(self, message: Message) -> None:
        """Acknowledge a QoS 1 message; its PUBACK goes out once all that arrived before it are acknowledged.

        A message of an earlier connection cannot be acknowledged any more (the server sends it again); that is counted.
        """
        if message.qos == 0 or message.acknowledged:
            return
        arrived = self._arrived
        if message.connection != self.connection or arrived is None or self.state is not State.CONNECTED:
            self.statistics.stale_acknowledgements += 1
            return
        message.acknowledged = True
        while arrived and arrived[0].acknowledged:
            first = arrived.popleft()
            encode = frames.encode_puback if first.qos == 1 else frames.encode_pubrec
            self._send(encode(first.packet_id))
        if not arrived:
            self._arrived = None

    # Time

    def next_deadline_s(self) -> float | None:
        """When :meth:`tick` has something to do at the earliest; None without keep-alive."""
        if not self.keep_alive_s or self.state is not State.CONNECTED:
            return None
        if self._ping_sent_s is not None:
            return self._ping_sent_s + self.keep_alive_s * UNANSWERED_SHARE
        return min(self._last_sent_s, self._last_received_s) + self.keep_alive_s

    def resumed_reading(self, now_s: float) -> None:
        """The owner reads again: an answer to our PINGREQ may lie unread, so its time begins anew."""
        self._last_received_s = now_s
        if self._ping_sent_s is not None:
            self._ping_sent_s = now_s

    def tick(self, now_s: float, *, reading: bool = True) -> list[Event]:
        """Keep the connection alive. A PINGREQ goes out when for one keep-alive nothing was sent or nothing came; the
        connection is given up when half a keep-alive later nothing came still: after the 1.5 that the broker grants us. It
        is given up, too, when a SUBSCRIBE has had no answer for SUBACK_LIMIT_S: nobody knows then whether we hear.

        ``reading`` is false while the owner does not read: then silence proves nothing.
        """
        if self._is_deaf(now_s, reading):
            detail = "no answer to a SUBSCRIBE: look whether something on the way drops packets"
            return [self._end(ConnectionLost, detail)]
        deadline_s = self.next_deadline_s()
        if deadline_s is None or now_s < deadline_s:
            return []
        if self._ping_sent_s is not None and reading:
            silent_s = self.keep_alive_s * UNANSWERED_SHARE
            detail = f"no answer to a PINGREQ for {silent_s:g} s: look whether the broker or the network hangs"
            return [self._end(ConnectionLost, detail)]
        self._ping_sent_s = now_s
        self.statistics.pings += 1
        self._send(frames.PINGREQ_FRAME)
        return []

    def _is_deaf(self, now_s: float, reading: bool) -> bool:
        if not self._subscribing or not reading or self.state is not State.CONNECTED:
            self._unanswered = None
            return False
        oldest = next(iter(self._subscribing))
        if self._unanswered is None or self._unanswered[0] != oldest:
            self._unanswered = (oldest, now_s)
        return now_s - self._unanswered[1] >= SUBACK_LIMIT_S

    # Bytes in

    def receive(self, data: bytes, now_s: float) -> list[Event]:
        """Take bytes as they arrive, in pieces of any size; what arrives after the end means nothing."""
        if not self._readers:
            return []
        self.statistics.bytes_received += len(data)
        self._ping_sent_s = None
        self._last_received_s = now_s
        if self._partial is not None:
            self._partial += data
            if len(self._partial) < self._needed:
                return []
            data = bytes(self._partial)
            self._partial = None
        events: list[Event] = []
        try:
            self._read_frames(data, events)
        except Violation as violation:
            events.append(self._violated(violation))
        self._drain(events)
        return events

    def _read_frames(self, data: bytes, events: list[Event]) -> None:
        position, end = 0, len(data)
        while position < end and self._readers:
            if data[position] == _PUBACK and end - position >= 4 and self.state is State.CONNECTED:
                # Most of what a publishing session reads is a PUBACK without properties: no object for it.
                length = data[position + 1]
                if length == 2 or (length == 3 and end - position >= 5):
                    reason_code = data[position + 4] if length == 3 else SUCCESS
                    self._settle(data[position + 2] << 8 | data[position + 3], reason_code, events)
                    position += 2 + length
                    continue
            frame_end = self._frame_end(data, position)
            if frame_end is None or frame_end > end:
                self._partial = bytearray(data[position:] if position else data)
                self._needed = frame_end - position if frame_end else end - position + 1
                return
            frame = data if frame_end - position == end else data[position:frame_end]
            self._readers[data[position] >> 4](self, frame, events)
            position = frame_end

    def _frame_end(self, data: bytes, position: int) -> int | None:
        """Judge a frame by its first bytes, before it takes memory."""
        packet_type = data[position] >> 4
        if packet_type not in self._readers:
            if self.state is State.CONNECTING:
                raise Violation(_NO_BROKER, "the peer is no MQTT broker, its answer is no CONNACK: check the address")
            raise Violation(PROTOCOL_ERROR, f"a packet of type {packet_type}, which has no place here")
        frame_end = frames.frame_end(data, position)
        if frame_end is not None and frame_end - position > self.options.maximum_packet_size:
            raise Violation(
                PACKET_TOO_LARGE,
                f"a packet of {frame_end - position} bytes, beyond our maximum of {self.options.maximum_packet_size}",
            )
        return frame_end

    def _violated(self, violation: Violation) -> Ended:
        self.statistics.protocol_errors += 1
        if self.state is State.CONNECTING and violation.reason_code == _NO_BROKER:
            return self._end(ConnectFailed, violation.detail)
        if self.state is State.CONNECTED:
            self._send(frames.encode_disconnect(violation.reason_code))
        return self._end(
            ProtocolViolation,
            f"the broker sent {violation.detail} ({describe(violation.reason_code)}): check what stands in between",
            violation.reason_code,
        )

    def _end(self, error: type[MqttError], detail: str, reason_code: int | None = None) -> Ended:
        self._step(Step.END)
        return Ended(error, detail, reason_code)

    # One method for each packet that may come

    def _read_connack(self, frame: bytes, events: list[Event]) -> None:
        reason_code = frames.read_connack_reason(frame)
        if reason_code != SUCCESS:
            detail = f"the broker refused the connection: {describe_refusal(reason_code)}"
            events.append(self._end(ConnectRefused, detail, reason_code))
            return
        packet = frames.decode(frame)
        assert isinstance(packet, mqtt5.ConnAckPacket)
        self._step(Step.ACCEPTED)
        self._server_limits = read_limits(packet)
        self.publishes.connected(packet.receive_max, session_present=packet.session_present)
        self.keep_alive_s = self.options.keep_alive_s if packet.server_keep_alive is None else packet.server_keep_alive
        events.append(Connected(packet.session_present))
        filters = (*self.options.subscriptions, *self._added_filters)
        if filters:
            try:
                self._subscribe(filters, repeated=not self._subscribe_due)
            except PacketTooLarge as error:
                events.append(self._end(ConnectionLost, f"it takes no packet as long as our SUBSCRIBE: {error}"))

    def _read_publish(self, frame: bytes, events: list[Event]) -> None:
        packet = frames.decode(frame)
        assert isinstance(packet, mqtt5.PublishPacket)
        topic, packet_id = packet.topic, packet.packet_id
        if packet.topic_alias is not None:
            raise Violation(TOPIC_ALIAS_INVALID, "a topic alias, though we allow none")
        if "+" in topic or "#" in topic or "\0" in topic:
            raise Violation(MALFORMED_PACKET, "a PUBLISH to a topic with a wildcard or NUL")
        exactly_once = packet.qos == mqtt5.QoS.EXACTLY_ONCE
        if packet_id == 0 or (exactly_once and not self._takes_exactly_once):
            raise Violation(PROTOCOL_ERROR, "a PUBLISH of QoS 2, which no subscription asks for, or with packet id 0")
        message = Message(
            topic=topic,
            payload=packet.payload,
            qos=0 if packet_id is None else 2 if exactly_once else 1,
            retain=packet.retain,
            duplicate=packet.duplicate,
            properties=packet.user_properties,
            content_type=packet.content_type,
            response_topic=packet.response_topic,
            correlation_data=packet.correlation_data,
            message_expiry_s=packet.message_expiry_interval,
            packet_id=packet_id or 0,
            connection=self.connection,
        )
        self.statistics.messages += 1
        if packet_id is not None:
            self._arrive(message)
        events.append(message)

    def _arrive(self, message: Message) -> None:
        if self._arrived is None:
            self._arrived = deque((message,))
        else:
            self._arrived.append(message)
        if len(self._arrived) > self.options.receive_maximum:
            self.statistics.receive_maximum_exceeded += 1

    def _read_puback(self, frame: bytes, events: list[Event]) -> None:
        self._settle(*frames.read_puback(frame), events)

    def _read_pubrel(self, frame: bytes, events: list[Event]) -> None:  # noqa: ARG002 - a reader
        if not self._takes_exactly_once:
            raise Violation(PROTOCOL_ERROR, "a PUBREL, though no subscription asks for QoS 2")
        self._send(frames.encode_pubcomp(frames.read_pubrel(frame)))

    @property
    def _takes_exactly_once(self) -> bool:
        return any(one.qos > 1 for one in (*self.options.subscriptions, *self._added_filters))

    def _read_suback(self, frame: bytes, events: list[Event]) -> None:
        packet_id, reason_codes = frames.read_suback(frame)
        count = self._subscribing.pop(packet_id, None) if self._subscribing is not None else None
        if count is None:
            self.statistics.unknown_acknowledgements += 1
            return
        if count != len(reason_codes):
            raise Violation(PROTOCOL_ERROR, f"a SUBACK with {len(reason_codes)} reason codes for {count} filters")
        if not self._subscribing:
            self._subscribing = None
            self._subscribe_due = False
        events.append(Subscribed(reason_codes))

    def _read_pingresp(self, frame: bytes, events: list[Event]) -> None:  # noqa: ARG002 - a reader
        frames.decode(frame)

    def _read_disconnect(self, frame: bytes, events: list[Event]) -> None:
        reason_code = frames.read_disconnect_reason(frame)
        self._taken_over = reason_code == SESSION_TAKEN_OVER
        detail = f"the broker ended the connection: {describe(reason_code)}"
        events.append(self._end(ConnectionLost, detail, reason_code))


#: Not an MQTT reason code: the first bytes of a peer that is no broker deserve no DISCONNECT.
_NO_BROKER: Final = -1


_READERS: Final[dict[State, dict[int, _Reader]]] = {
    State.DISCONNECTED: {},
    State.CONNECTING: {frames.CONNACK: SessionCore._read_connack},
    State.CONNECTED: {
        frames.PUBLISH: SessionCore._read_publish,
        frames.PUBACK: SessionCore._read_puback,
        frames.PUBREL: SessionCore._read_pubrel,
        frames.SUBACK: SessionCore._read_suback,
        frames.PINGRESP: SessionCore._read_pingresp,
        frames.DISCONNECT: SessionCore._read_disconnect,
    },
    State.CLOSING: {},
}
