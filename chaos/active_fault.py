"""A fault at work on a hop: its lease, its victims, and the evidence that it took effect.

Victims are drawn by a keyed hash of (seed, fault name, client id), so they stay the same when the fault is edited, when
a client reconnects, and in every process that serves the hop. A link without a client id is drawn by its number.

    evidence      when
    confirmed     bytes, a close or a CONNECT of a victim were held, delayed or dropped, or links were closed
    inconclusive  there are victims, or no clients at all, but nothing has come by to act on
    mismatch      the hop has clients and none of them is a victim: the attributes fit nobody
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from chaos.fault import Client, EndFault, Fault, HopFault, PacketFault, SelectiveFault

if TYPE_CHECKING:
    from chaos.direction import FaultPassage

LEASE_LIMIT_S: Final = 3600.0


class FaultSettings(Struct, frozen=True, kw_only=True):
    """What the owner of a fault said; ``attributes`` as given, ``stream`` is upstream, downstream or both."""

    name: str
    type: str
    attributes: dict[str, object]
    stream: str
    toxicity: float
    lease_s: float


class Evidence(Struct, kw_only=True):
    """What a fault did, in numbers; those without ``total`` are of this moment."""

    found: str = "inconclusive"
    """One of the first column of the module's table."""
    links_selected: int = 0
    links_held: int = 0
    bytes_held: int = 0
    connects_held: int = 0
    links_selected_total: int = 0
    links_affected_total: int = 0
    bytes_affected_total: int = 0
    connects_held_total: int = 0
    links_closed_total: int = 0


class FaultState(Struct, kw_only=True):
    """A fault as the control plane shows it; ``ended`` is empty, ``removed`` or ``lease``."""

    hop: str
    name: str
    type: str
    attributes: dict[str, object]
    stream: str
    toxicity: float
    lease_s: float
    ends_in_s: float
    ended: str
    evidence: Evidence


class ActiveFault:
    """One fault on one hop; passages enter and leave ``passages`` as links come and go, in that order."""

    def __init__(self, settings: FaultSettings, fault: Fault, *, seed: int) -> None:
        self._key = blake2b(f"{seed}:{settings.name}".encode(), digest_size=32).digest()
        self.passages: dict[FaultPassage, None] = {}
        self.totals = Evidence()
        self.edit(settings, fault)

    def edit(self, settings: FaultSettings, fault: Fault) -> None:
        """Go on with these settings; the passages are the hop's to bring up to date."""
        self.settings = settings
        self.fault = fault
        self.packets = fault.apply_packet if isinstance(fault, PacketFault) else None
        self.ends = fault.apply_end if isinstance(fault, EndFault) else None
        self.closes_hop = isinstance(fault, HopFault) and fault.closes_hop
        self._selects = fault.selects if isinstance(fault, SelectiveFault) else None

    def works_on(self, direction: str) -> bool:
        """Whether it sits on ``upstream`` or ``downstream``."""
        return self.settings.stream in (direction, "both")

    def takes(self, client: Client) -> bool:
        """Whether this client is a victim."""
        if self._selects is not None and not self._selects(client):
            return False
        toxicity = self.settings.toxicity
        return toxicity >= 1 or self.draw(client, "victim") < toxicity * 2**64

    def draw(self, client: Client, purpose: str) -> int:
        """64 bits that depend on seed, fault name, client and purpose only."""
        who = client.client_id if client.known else f"#{client.number}"
        return int.from_bytes(blake2b(f"{purpose}:{who}".encode(), key=self._key, digest_size=8).digest(), "big")

    def evidence(self, clients: int) -> Evidence:
        """What can be said now, on a hop that has this many clients; O(victims)."""
        holding = [passage for passage in self.passages if passage.holds]
        result = Evidence(
            links_selected=len({passage.link_number for passage in self.passages}),
            links_held=len({passage.link_number for passage in holding}),
            bytes_held=sum(passage.held_bytes for passage in holding),
            connects_held=sum(passage.holds_connect for passage in holding),
            links_selected_total=self.totals.links_selected_total,
            links_affected_total=self.totals.links_affected_total,
            bytes_affected_total=self.totals.bytes_affected_total,
            connects_held_total=self.totals.connects_held_total,
            links_closed_total=self.totals.links_closed_total,
        )
        result.found = _find(result, clients)
        return result


def _find(evidence: Evidence, clients: int) -> str:
    if evidence.links_affected_total or evidence.links_closed_total:
        return "confirmed"
    if clients and not evidence.links_selected_total:
        return "mismatch"
    return "inconclusive"
