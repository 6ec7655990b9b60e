"""What a fault is: one method over the chunks of one direction of one link. Everything else is an optional power.

A fault is an immutable msgspec Struct whose fields are its Toxiproxy attributes (integers, milliseconds unless their
name says otherwise), in a file of its own, with one row in :mod:`chaos.registry`. It never sees a socket: it is handed
a chunk and a ``Passage``, its own place on that direction, and says there what becomes of the chunk.

    Fault          apply(chunk, passage)          required
    PacketFault    apply_packet(packet, passage)  whole MQTT packets; ``apply`` then gets what cannot be seen as packets
    EndFault       apply_end(end, passage)        also decides when the peer's close goes on; default: behind the data
    SelectiveFault selects(client)                which clients are its victims; default: all
    HopFault       closes_hop                     the hop stops listening and closes every link while the fault lasts
"""

from __future__ import annotations

import random
from enum import Enum
from typing import NamedTuple, Protocol, runtime_checkable


class End(Enum):
    """How a peer ended its half of a connection."""

    FINISHED = "finished"
    """FIN: it has no more to send, and may still read."""
    RESET = "reset"
    """RST or a broken connection: it neither sends nor reads any more."""


class Client(NamedTuple):
    """Who is at the client's end of a link.

    ``client_id`` is the MQTT client id without the lab's prefix; empty on links that speak no MQTT. ``known`` says
    whether a CONNECT was understood. ``number`` counts the hop's connections from 1.
    """

    client_id: str
    known: bool
    number: int


class Passage(Protocol):
    """A fault's place on one direction of one link; order is kept whatever is said here."""

    @property
    def client(self) -> Client:
        """Whose link this is."""

    @property
    def random(self) -> random.Random:
        """A generator of this passage's own, drawn from the run's seed, the fault's name and the client."""

    def forward(self, chunk: bytes, after_s: float = 0.0) -> None:
        """The chunk goes on, ``after_s`` seconds from now, behind everything that came before it."""

    def hold(self, chunk: bytes) -> None:
        """The chunk goes on when the fault is lifted; the sender is not read meanwhile."""

    def drop(self, chunk: bytes) -> None:
        """The chunk never goes on."""

    def forward_end(self, end: End, after_s: float = 0.0) -> None:
        """The close goes on, behind everything that came before it."""

    def hold_end(self, end: End) -> None:
        """The close goes on when the fault is lifted."""


class Fault(Protocol):
    """The one thing that every fault can do."""

    def apply(self, chunk: bytes, passage: Passage) -> None:
        """Say what becomes of this chunk; saying nothing loses it without evidence."""


@runtime_checkable
class PacketFault(Fault, Protocol):
    """Works on whole MQTT packets."""

    def apply_packet(self, packet: bytes, passage: Passage) -> None:
        """Say what becomes of this packet (fixed header included)."""


@runtime_checkable
class EndFault(Fault, Protocol):
    """Also decides when a close goes on."""

    def apply_end(self, end: End, passage: Passage) -> None:
        """Say when it goes on."""


@runtime_checkable
class SelectiveFault(Fault, Protocol):
    """Has victims of its own choice."""

    def selects(self, client: Client) -> bool:
        """Whether this client's link is a victim; must not depend on anything but the client."""


@runtime_checkable
class HopFault(Fault, Protocol):
    """Takes the whole hop down."""

    @property
    def closes_hop(self) -> bool:
        """Whether the hop is down while the fault lasts."""
