"""Notices that another client uses a client id of ours: each of the two takes the session from the other, for ever.

A broker says so with 0x8E (session taken over), or closes the connection without a word, as Mosquitto 2.0 does; then
only the repetition tells it from anything else. Sans-io; what is remembered is a row a client id, for FORGOTTEN_S.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fleetwire.mqtt.errors import ConnectionClosed, MqttError
from fleetwire.mqtt.reason_codes import SESSION_TAKEN_OVER

FORGOTTEN_S: Final = 15.0
"""Longer than a turn of two clients that both back off."""
SUSPICIOUS_ENDS: Final = 3
"""So many connections that were closed without a word, none of them FORGOTTEN_S after the one before."""


class _Ends(msgspec.Struct):
    taken_over: int
    closed: int
    last_s: float


class ContestedIds:
    """Tell it of every lost connection; the client ids are those of one process."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[str, _Ends] = {}

    def lost(self, client_id: str, error: MqttError, now_s: float) -> None:
        """A connection of this client id ended so, at this monotonic time."""
        taken_over = error.reason_code == SESSION_TAKEN_OVER
        if not taken_over and not isinstance(error, ConnectionClosed):
            return
        known = self._by_id.get(client_id)
        if known is None or now_s - known.last_s > FORGOTTEN_S:
            known = self._by_id[client_id] = _Ends(0, 0, now_s)
        known.taken_over += taken_over
        known.closed += not taken_over
        known.last_s = now_s

    def words(self, now_s: float) -> str:
        """Which client ids others use now, in one line; empty: none, as far as is known."""
        if not self._by_id:
            return ""
        self._by_id = {name: ends for name, ends in self._by_id.items() if now_s - ends.last_s <= FORGOTTEN_S}
        contested = [
            (name, ends) for name, ends in self._by_id.items() if ends.taken_over or ends.closed >= SUSPICIOUS_ENDS
        ]
        if not contested:
            return ""
        name, ends = contested[0]
        others = f" (and {len(contested) - 1:,} more)" if len(contested) > 1 else ""
        if ends.taken_over:
            times = "once" if ends.taken_over == 1 else f"{ends.taken_over} times"
            return f"client id {name}{others} was taken over {times}: end the other client, or give it another id"
        return (
            f"client id {name}{others}: its connection was closed {ends.closed} times without a word: "
            "look whether another client uses this id"
        )
