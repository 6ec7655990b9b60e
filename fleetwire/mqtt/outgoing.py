"""The QoS 1 publishes of one session that are not acknowledged: in flight, or waiting for their turn.

It guarantees: they are sent in the order in which they were given, never more at once than the server's receive
maximum; what was in flight when the connection ended comes first on the next one, with DUP and its old packet id when
the server kept the session (MQTT 5, 4.4), without DUP when it did not. Containers exist only while they hold something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from typing import Final, TypeAlias

from fleetwire.mqtt import frames

_Waiting: TypeAlias = tuple[int, object, bytes]

_LARGEST_PACKET_ID: Final = 65_535
_KEPT_FREE: Final = 64
"""Packet ids that publishes leave to SUBSCRIBEs: a session whose publishes took all of them could not subscribe again."""


class OutgoingPublishes:
    """Frames by packet id with the token of their owner."""

    __slots__ = ("_last_packet_id", "_unacknowledged", "_waiting", "_window", "paused")

    def __init__(self) -> None:
        self._unacknowledged: dict[int, tuple[object, bytes]] | None = None
        self._waiting: deque[_Waiting] | None = None
        self._window = 0
        self._last_packet_id = 0
        self.paused = False

    @property
    def in_flight(self) -> int:
        """How many were sent and not acknowledged."""
        return len(self._unacknowledged) if self._unacknowledged else 0

    @property
    def queued(self) -> int:
        """How many wait for a connection or for the server's receive maximum."""
        return len(self._waiting) if self._waiting else 0

    def __len__(self) -> int:
        # Asked at every publish: no property calls.
        waiting = len(self._waiting) if self._waiting else 0
        return waiting + (len(self._unacknowledged) if self._unacknowledged else 0)

    @property
    def can_send(self) -> bool:
        """Whether a new one may be sent at once, ahead of nobody."""
        return self._window > 0 and not self._waiting and not self.paused

    def kept_packet_ids(self) -> set[int]:
        """Those of publishes that wait to be sent again under their old one."""
        return {packet_id for packet_id, _, _ in self._waiting or () if packet_id}

    def next_packet_id(self, also_taken: Container[int]) -> int | None:
        """A packet id that neither a publish in flight nor ``also_taken`` uses; None when there is none."""
        packet_id = self._last_packet_id
        taken: Container[int] = self._unacknowledged or ()
        for _ in range(_LARGEST_PACKET_ID):
            packet_id = packet_id % _LARGEST_PACKET_ID + 1
            if packet_id not in taken and packet_id not in also_taken:
                self._last_packet_id = packet_id
                return packet_id
        return None

    def sent(self, packet_id: int, token: object, frame: bytes) -> None:
        """One is in flight now."""
        if self._unacknowledged is None:
            self._unacknowledged = {packet_id: (token, frame)}
        else:
            self._unacknowledged[packet_id] = (token, frame)
        self._window -= 1

    def wait(self, token: object, frame: bytes) -> None:
        """One has to wait; its frame gets a packet id when its turn comes."""
        if self._waiting is None:
            self._waiting = deque(((0, token, frame),))
        else:
            self._waiting.append((0, token, frame))

    def settle(self, packet_id: int) -> tuple[object, bytes] | None:
        """Token and frame of the acknowledged one; None when no such packet id is in flight."""
        if self._unacknowledged is None:
            return None
        entry = self._unacknowledged.pop(packet_id, None)
        if entry is not None:
            self._window += 1
            if not self._unacknowledged:
                self._unacknowledged = None
        return entry

    def ready(self) -> Iterator[_Waiting]:
        """Take out what may be sent, as (packet id or 0, token, frame); call :meth:`sent` for each that is."""
        while self._waiting and self._window > 0 and not self.paused:
            yield self._waiting.popleft()
        if not self._waiting:
            self._waiting = None

    def connected(self, receive_maximum: int, *, session_present: bool) -> None:
        """A connection that takes ``receive_maximum`` at once; without the old session nothing is a duplicate."""
        self._window = min(receive_maximum, _LARGEST_PACKET_ID - _KEPT_FREE)
        if not session_present and self._waiting:
            self._waiting = deque(
                (packet_id, token, frames.with_duplicate_flag(frame, False))
                for packet_id, token, frame in self._waiting
            )

    def disconnected(self) -> None:
        """Nothing is in flight any more: all of it waits again, ahead of the rest."""
        self._window = 0
        self.paused = False
        if not self._unacknowledged:
            return
        again: deque[_Waiting] = deque(
            (packet_id, token, frames.with_duplicate_flag(frame, True))
            for packet_id, (token, frame) in self._unacknowledged.items()
        )
        again.extend(self._waiting or ())
        self._unacknowledged = None
        self._waiting = again

    def forget(self) -> None:
        """Drop all of them, as a process that loses its memory does."""
        self._unacknowledged = None
        self._waiting = None
