"""Counters of all sessions of one group; plain numbers that only grow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Statistics:
    """What the sessions of a group have done since the group exists.

    ``connect_failures`` counts by reason: the name of an operating system error, ``timeout``, ``no broker``, or the
    reason code of a refusal such as ``0x87``. ``puback_reasons`` holds every PUBACK by reason code, success too.
    ``receive_maximum_exceeded`` counts messages beyond what we announced: Mosquitto 2.0.11 sends them, so that is
    never a reason to disconnect.
    """

    connects: int = 0
    reconnects: int = 0
    connections_lost: int = 0
    connect_failures: Counter[str] = field(default_factory=Counter)
    bytes_sent: int = 0
    bytes_received: int = 0
    publishes: int = 0
    publishes_resent: int = 0
    publishes_refused_locally: int = 0
    puback_reasons: Counter[int] = field(default_factory=Counter)
    messages: int = 0
    pings: int = 0
    receive_maximum_exceeded: int = 0
    unknown_acknowledgements: int = 0
    stale_acknowledgements: int = 0
    protocol_errors: int = 0
    handler_errors: int = 0
