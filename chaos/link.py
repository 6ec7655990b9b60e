"""One client's connection, its connection to the upstream, and the two directions between them.

The upstream is connected at once on ``bytes`` and ``http`` hops; on ``mqtt`` hops when the CONNECT is let through, so
that a client that is cut off opens nothing there. When the upstream cannot be reached within ``UPSTREAM_TIMEOUT_S``,
the client's connection is closed. A half-close goes through as one, a reset as a reset. A client whose first bytes are
no CONNECT passes untouched (opaque); one that has not said who it is within ``GREETING_TIMEOUT_S`` is closed. Both
transports send without delay (TCP_NODELAY is uvloop's default).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, Final, cast

from chaos.active_fault import ActiveFault
from chaos.direction import Direction, LinkFacts
from chaos.fault import Client, End
from chaos.mqtt_frames import BadConnectError, read_connack, read_connect

if TYPE_CHECKING:
    from chaos.hop import Hop

UPSTREAM_TIMEOUT_S: Final = 5.0
GREETING_TIMEOUT_S: Final = 30.0
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds: closing sends a RST."""


class Side(asyncio.Protocol):
    """One of the two connections: the source of ``out`` and the sink of ``into``."""

    __slots__ = ("_link", "into", "out", "received_end", "sent_end", "transport")

    def __init__(self, link: Link, out: Direction, into: Direction) -> None:
        self._link = link
        self.out = out
        self.into = into
        self.transport: asyncio.Transport | None = None
        self.received_end = False
        self.sent_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: both directions may use it."""
        transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from asyncio's
        self.transport = transport
        self.out.source_opened(transport)
        self.into.sink_opened(transport)
        self._link.side_made(self)

    def data_received(self, data: bytes) -> None:
        """Into the chain."""
        self.out.receive(data)

    def eof_received(self) -> bool:
        """FIN: it goes through the chain like data; our half stays open."""
        self.received_end = True
        self.out.source_gone()
        self._link.side_finished(self)
        self.close_if_done()
        return True

    def pause_writing(self) -> None:
        """Its buffer is full: the other side is not read."""
        self.into.pause(self)

    def resume_writing(self) -> None:
        """Its buffer has room again."""
        self.into.resume(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, by us (None) or by the peer."""
        self.transport = None
        self.out.source_gone()
        self.into.sink_gone()
        self.into.resume(self)
        self._link.side_lost(self, reset=exc is not None)

    def deliver_end(self, end: End) -> None:
        """The other peer's close has come through the chain."""
        if self.transport is None or self.transport.is_closing():
            return
        if end is End.RESET:
            self.reset()
        elif not self.sent_end:
            self.sent_end = True
            self.transport.write_eof()
            self.close_if_done()

    def close_if_done(self) -> None:
        """Close when both halves are finished."""
        if self.received_end and self.sent_end and self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """End the connection with a RST."""
        if self.transport is not None:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self.transport.abort()


class Link:
    """Client, upstream and what lies between; ``begin`` accepts a socket, the hop's ``link_ended`` hears of the end."""

    __slots__ = (
        "_closing", "_connack", "_connecting", "_deadline", "_ended", "_greeting", "_hop", "_peer", "client_side",
        "downstream", "facts", "upstream", "upstream_side",
    )  # fmt: skip

    def __init__(self, hop: Hop, number: int) -> None:
        self._hop = hop
        self.facts = LinkFacts(Client("", known=False, number=number))
        self.upstream = Direction("upstream", self.facts, hop.upstream_flow, hop.noop)
        self.downstream = Direction("downstream", self.facts, hop.downstream_flow, hop.noop)
        self.client_side = Side(self, self.upstream, self.downstream)
        self.upstream_side = Side(self, self.downstream, self.upstream)
        self.upstream.on_end = self.upstream_side.deliver_end
        self.downstream.on_end = self.client_side.deliver_end
        self._greeting: bytearray | None = None
        self._connack = b""
        self._connecting: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._closing = False
        self._ended = False
        self._peer: tuple[Any, ...] | None = None
        """Which of the upstream's addresses took the connection, where it may have several."""

    @property
    def identified(self) -> bool:
        """Whether faults may sit on it: its client is known, or is known to be none."""
        return self._greeting is None

    def attach(self, active: ActiveFault) -> bool:
        """Put a fault on the directions it works on, when this link is its victim."""
        if not active.takes(self.facts.client):
            return False
        active.totals.links_selected_total += 1
        for direction in (self.upstream, self.downstream):
            if active.works_on(direction.name):
                direction.attach(active)
        return True

    async def begin(self, connection: socket.socket) -> None:
        """Take over an accepted, non-blocking socket."""
        loop = asyncio.get_running_loop()
        if self._hop.options.protocol == "mqtt":
            self._greeting = bytearray()
            self.upstream.receive = self._greet
            self._deadline = loop.call_later(GREETING_TIMEOUT_S, self._greeting_overdue)
        try:
            await loop.connect_accepted_socket(lambda: self.client_side, connection)
        except OSError:
            connection.close()
            self.close()

    def side_made(self, side: Side) -> None:
        """A connection stands."""
        if self._closing and side.transport is not None:
            side.transport.abort()
        elif side is self.client_side and self.identified:
            self.facts.admitted = True
            self._hop.attach_all(self)
            self._admit()

    def side_finished(self, side: Side) -> None:
        """A peer sent FIN."""
        if side is self.client_side and not self.facts.admitted and not self._greeting:
            self._forget()
            return
        if self._greeting is not None:
            self._hop.opaque(BadConnectError("it sent a part of a CONNECT and then FIN"))
            self._identify(Client("", known=False, number=self.facts.client.number))
        side.out.chain[0].end(End.FINISHED)

    def side_lost(self, side: Side, *, reset: bool) -> None:
        """A connection is gone."""
        if reset and not self._closing:
            if side is self.client_side and self.upstream_side.transport is None:
                self._forget()
            else:
                side.out.chain[0].end(End.RESET)
        self._end_if_over()

    def close(self) -> None:
        """End both connections with FIN, what is in their buffers first."""
        self._closing = True
        self._release()
        for side in (self.client_side, self.upstream_side):
            if side.transport is not None:
                side.transport.close()
        self._end_if_over()

    def abort(self) -> None:
        """End both connections at once."""
        self._closing = True
        self._release()
        for side in (self.client_side, self.upstream_side):
            if side.transport is not None:
                side.transport.abort()
        self._end_if_over()

    def _release(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        self.upstream.leave()
        self.downstream.leave()

    def _forget(self) -> None:
        if self.facts.client.known and not self.facts.admitted:
            self._hop.connects_abandoned_total += 1
        self.close()

    def _end_if_over(self) -> None:
        stands = self.client_side.transport or self.upstream_side.transport or self._connecting
        if stands or self._ended:
            return
        self._ended = True
        self._closing = True
        if self.downstream.on_first is not None and self.facts.client.known and self.facts.admitted:
            self._hop.connects_unanswered_total += 1
            if self._peer is not None:
                self._hop.upstream.avoid(self._peer)
        self._release()
        self._hop.link_ended(self)

    def _greet(self, chunk: bytes) -> None:
        assert self._greeting is not None
        self._greeting += chunk
        number = self.facts.client.number
        try:
            connect = read_connect(self._greeting)
        except BadConnectError as error:
            self._hop.opaque(error)
            self._identify(Client("", known=False, number=number))
            return
        if connect is None:
            return
        hop = self._hop
        self.upstream.scanner, self.downstream.scanner = (
            hop.scanner(hop.upstream_flow),
            hop.scanner(hop.downstream_flow),
        )
        self.downstream.on_first = self._watch_connack
        self._hop.connects_total += 1
        self._identify(Client(self._hop.bare_client_id(connect.client_id), known=True, number=number))

    def _identify(self, client: Client) -> None:
        assert self._greeting is not None
        greeting, self._greeting = bytes(self._greeting), None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        self.facts.client = client
        self._hop.attach_all(self)
        self.upstream.on_admit = self._admit
        self.upstream.begin()
        self.upstream.receive(greeting)

    def _greeting_overdue(self) -> None:
        self._hop.greetings_overdue_total += 1
        self.close()

    def _admit(self) -> None:
        self.facts.admitted = True
        self._connecting = self._hop.spawn(self._connect(), f"hop.{self._hop.options.name}.connect")

    async def _connect(self) -> None:
        try:
            async with asyncio.timeout(UPSTREAM_TIMEOUT_S):
                transport, _ = await self._hop.upstream.connection(lambda: self.upstream_side)
        except (OSError, TimeoutError, UnicodeError) as error:
            self._connecting = None
            self._hop.upstream_failed(error)
            self.close()
        else:
            self._connecting = None
            if not self._hop.upstream.is_literal:
                self._peer = transport.get_extra_info("peername")

    def _watch_connack(self, chunk: bytes) -> bool:
        self._connack += chunk
        reason = read_connack(self._connack)
        if reason is None:
            return False
        self._connack = b""
        self._hop.connacks[reason] += 1
        return True
