"""What all terminals of one process share; a value that is built once, by the stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emulator.business_day import Business
from emulator.journal import Journal
from emulator.writing import EventWriter
from fleetwire.clock import BusinessClock
from fleetwire.mqtt import Session
from fleetwire.mqtt.contested_ids import ContestedIds
from fleetwire.mqtt.wheel import Wheel
from fleetwire.topics import Topics
from fleetwire.witness import Witness

if TYPE_CHECKING:
    from emulator.terminal import Terminal


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """``now_s`` is network time; ``jitter`` a factor from 0.8 to 1.2; ``heartbeat_interval_s`` in network seconds."""

    topics: Topics
    business: Business
    clock: BusinessClock
    writer: EventWriter
    journal: Journal
    witness: Witness
    wheel: Wheel[Terminal]
    now_s: Callable[[], float]
    jitter: Callable[[], float]
    open_session: Callable[[Terminal], Session]
    heartbeat_interval_s: float
    accept_puback: bool
    deaf: dict[int, str] = field(default_factory=dict)
    """Terminals by number whose subscription the broker refuses now -> their id: no outcome reaches them."""

    contested: ContestedIds = field(default_factory=ContestedIds)
    """Which terminals' client ids somebody else uses."""

    def count(self, name: str, by: int = 1) -> None:
        """Add to one of the stage's counters."""
        self.witness.counters[name] += by
