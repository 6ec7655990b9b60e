"""One hop: a listener, the links through it, the faults on it, and the figures of both.

Every change of a fault is done when the call returns, on every live link. A fault ends by itself when its lease does.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any, Final, Literal

from msgspec import Struct, structs

from chaos import registry
from chaos.active_fault import ActiveFault, FaultSettings, FaultState
from chaos.descriptors import LinkBudget
from chaos.direction import Flow
from chaos.link import RESET_ON_CLOSE, Link
from chaos.listener import Listener
from chaos.mqtt_frames import FrameScanner, PublishCounter
from chaos.noop import Noop
from fleetwire.dialling import Dialler
from fleetwire.errors import ControlError, SettingsError
from fleetwire.host_port import host_port
from fleetwire.settings import read_address

FAULT_LIMIT: Final = 100
ENDED_KEPT: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_LOG_EVERY_S: Final = 10.0
_NOOP: Final = FaultSettings(name="noop", type="noop", attributes={}, stream="both", toxicity=1.0, lease_s=0.0)

_log = logging.getLogger(__name__)


class HopOptions(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One hop as the lab orders it; addresses are host:port, port 0 of ``listen`` picks a free one."""

    name: str
    upstream: str
    listen: str = "127.0.0.1:0"
    protocol: Literal["mqtt", "http", "bytes"] = "bytes"
    counts_publishes: bool = False
    """Of an mqtt hop: count the PUBLISH packets that it passes on, by direction."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"hop name {self.name[:80]!r}: 1 to 64 letters, digits and dashes")


class Hop:
    """Serves one hop in this process; ``open`` begins, ``close`` ends it."""

    def __init__(
        self, options: HopOptions, *, seed: int, reuse_port: bool, client_id_prefix: str, budget: LinkBudget
    ) -> None:
        self.options = options
        self.upstream = Dialler(*read_address(options.upstream, f"OPTIONS hop {options.name} upstream"))
        self.noop = ActiveFault(_NOOP, Noop(), seed=seed)
        self.upstream_flow = Flow()
        self.downstream_flow = Flow()
        self.connacks: Counter[int] = Counter()
        self.connections_total = 0
        self.connects_total = 0
        self.connects_refused_total = 0
        self.connects_unanswered_total = 0
        self.connects_abandoned_total = 0
        self.greetings_overdue_total = 0
        self.links_opaque_total = 0
        self.upstream_failures_total = 0
        self.leases_ended_total = 0
        self._seed = seed
        self._prefix = client_id_prefix
        self._budget = budget
        self._links: dict[Link, None] = {}
        self._faults: dict[str, ActiveFault] = {}
        self._ended: deque[FaultState] = deque(maxlen=ENDED_KEPT)
        self._leases: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._logged_s: dict[str, float] = {}
        self._listener = Listener(
            read_address(options.listen, f"OPTIONS hop {options.name} listen"),
            reuse_port=reuse_port,
            accepted=self._accept,
            exhausted=self._count_refusal,
        )

    # The life of a hop

    def open(self) -> str:
        """Listen; returns host:port. Raises SettingsError."""
        try:
            self._listener.open()
        except SettingsError as error:
            raise SettingsError(f"hop {self.options.name}: {error}") from error
        return host_port(*self._listener.address)

    async def close(self) -> None:
        """End the listener, every fault and every link."""
        self._listener.end()
        for lease in self._leases.values():
            lease.cancel()
        for link in list(self._links):
            link.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something that belongs to this hop."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # What links ask and tell

    def bare_client_id(self, client_id: str) -> str:
        """The client id without the lab's prefix."""
        return client_id.removeprefix(self._prefix)

    def scanner(self, flow: Flow) -> FrameScanner:
        """For one direction of a link that speaks MQTT."""
        return PublishCounter(flow.add_publishes) if self.options.counts_publishes else FrameScanner()

    def attach_all(self, link: Link) -> None:
        """Put every fault of the hop on a link that has just been identified."""
        for active in self._faults.values():
            link.attach(active)

    def link_ended(self, link: Link) -> None:
        """Both its connections are gone."""
        self._links.pop(link, None)
        self._budget.give_back()

    def upstream_failed(self, error: Exception) -> None:
        """The upstream could not be reached; the client's connection is being closed."""
        self.upstream_failures_total += 1
        self._log_seldom("upstream", f"upstream {self.options.upstream} not reachable: {error or 'no answer in time'}")

    def opaque(self, error: Exception) -> None:
        """A client does not speak MQTT as we know it; its bytes pass untouched."""
        self.links_opaque_total += 1
        self._log_seldom("opaque", f"a client's bytes pass untouched: {error}")

    def _accept(self, connection: socket.socket) -> None:
        if not self._budget.take():
            self._count_refusal()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            connection.close()
            return
        self.connections_total += 1
        link = Link(self, self.connections_total)
        self._links[link] = None
        self.spawn(link.begin(connection), f"hop.{self.options.name}.accept")

    def _count_refusal(self) -> None:
        self.connects_refused_total += 1
        self._log_seldom(
            "refused",
            f"connection refused: {self._budget.links} of {self._budget.limit} links are open in this process, 2"
            " descriptors each; raise ulimit -n or serve the hop by more processes (reuse_port)",
        )

    def _log_seldom(self, kind: str, text: str) -> None:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._logged_s.get(kind, -_LOG_EVERY_S) >= _LOG_EVERY_S:
            self._logged_s[kind] = now_s
            _log.warning("hop %s: %s", self.options.name, text)

    # Faults

    def add_fault(self, settings: FaultSettings) -> FaultState:
        """Put a fault on every link, present and to come; raises ControlError."""
        if settings.name in self._faults:
            raise ControlError(f"hop {self.options.name} has a fault {settings.name!r} already: change or remove it")
        if len(self._faults) >= FAULT_LIMIT:
            raise ControlError(f"hop {self.options.name} has {FAULT_LIMIT} faults, the most there may be")
        active = ActiveFault(settings, registry.make(settings.type, settings.attributes), seed=self._seed)
        if active.packets is not None and self.options.protocol != "mqtt":
            raise ControlError(f"fault type {settings.type} needs MQTT packets; hop {self.options.name} is no mqtt hop")
        self._faults[settings.name] = active
        self._start_lease(active)
        for link in self._links:
            if link.identified:
                link.attach(active)
        self._follow_hop_faults()
        return self._state(active)

    def change_fault(self, name: str, attributes: dict[str, object], toxicity: float | None) -> FaultState:
        """Merge attributes into a fault's own, at work at once; raises ControlError and changes nothing then."""
        active = self._find(name)
        old = active.settings
        settings = FaultSettings(
            name=name,
            type=old.type,
            attributes={**old.attributes, **attributes},
            stream=old.stream,
            toxicity=old.toxicity if toxicity is None else toxicity,
            lease_s=old.lease_s,
        )
        active.edit(settings, registry.make(old.type, settings.attributes))
        kept = {passage.link_number for passage in active.passages}
        for passage in list(active.passages):
            if passage not in active.passages:
                continue
            if active.takes(passage.client):
                passage.reconsider()
            else:
                passage.detach()
        for link in list(self._links):
            if link.identified and link.facts.client.number not in kept:
                link.attach(active)
        return self._state(active)

    def remove_fault(self, name: str, ended: str = "removed") -> FaultState:
        """Lift a fault; what it held goes on. Raises ControlError."""
        active = self._find(name)
        del self._faults[name]
        lease = self._leases.pop(name)
        state = self._state(active, lease)
        state.ended = ended
        lease.cancel()
        self._ended.append(state)
        for passage in list(active.passages):
            if passage in active.passages:
                passage.detach()
        self._follow_hop_faults()
        return state

    def renew_fault(self, name: str, lease_s: float | None) -> FaultState:
        """Begin the lease anew; raises ControlError when the fault has ended already."""
        active = self._find(name)
        self._leases.pop(name).cancel()
        if lease_s is not None:
            active.settings = structs.replace(active.settings, lease_s=lease_s)
        self._start_lease(active)
        return self._state(active)

    def faults(self) -> list[FaultState]:
        """Those at work, then the last hundred that ended."""
        return [self._state(active) for active in self._faults.values()] + list(self._ended)

    def _find(self, name: str) -> ActiveFault:
        active = self._faults.get(name)
        if active is None:
            known = ", ".join(self._faults) or "none"
            raise ControlError(f"hop {self.options.name} has no fault {name[:60]!r} (at work: {known})")
        return active

    def _start_lease(self, active: ActiveFault) -> None:
        name, lease_s = active.settings.name, active.settings.lease_s
        self._leases[name] = asyncio.get_running_loop().call_later(lease_s, self._end_lease, name)

    def _end_lease(self, name: str) -> None:
        self.leases_ended_total += 1
        _log.warning("hop %s: the lease of fault %s ended; it is lifted", self.options.name, name)
        self.remove_fault(name, ended="lease")

    def _follow_hop_faults(self) -> None:
        closing = [active for active in self._faults.values() if active.closes_hop]
        if not closing:
            if not self._listener.is_open:
                self._listener.open()
            return
        self._listener.close()
        for link in list(self._links):
            link.close()
            closing[-1].totals.links_closed_total += 1

    def _state(self, active: ActiveFault, lease: asyncio.TimerHandle | None = None) -> FaultState:
        settings = active.settings
        handle = lease or self._leases[settings.name]
        return FaultState(
            hop=self.options.name,
            name=settings.name,
            type=settings.type,
            attributes=settings.attributes,
            stream=settings.stream,
            toxicity=settings.toxicity,
            lease_s=settings.lease_s,
            ends_in_s=round(max(0.0, handle.when() - asyncio.get_running_loop().time()), 3),
            ended="",
            evidence=active.evidence(self._clients()),
        )

    def _clients(self) -> int:
        return sum(link.identified for link in self._links)

    # Figures

    def counters(self) -> dict[str, float]:
        """All figures of the hop by name, without the hop's name; live, not only when a link ends."""
        held = {passage.link_number for fault in self._faults.values() for passage in fault.passages if passage.holds}
        figures: dict[str, float] = {
            "links_open": len(self._links),
            "held_links": len(held),
            "faults": len(self._faults),
            "bytes_upstream_total": self.upstream_flow.bytes_total,
            "bytes_downstream_total": self.downstream_flow.bytes_total,
            "connections_total": self.connections_total,
            "connects_total": self.connects_total,
            "connects_refused_total": self.connects_refused_total,
            "connects_unanswered_total": self.connects_unanswered_total,
            "connects_abandoned_total": self.connects_abandoned_total,
            "greetings_overdue_total": self.greetings_overdue_total,
            "links_opaque_total": self.links_opaque_total,
            "upstream_failures_total": self.upstream_failures_total,
            "leases_ended_total": self.leases_ended_total,
        }
        if self.options.counts_publishes and not self.links_opaque_total:  # else nobody could count all
            figures["publishes_upstream_total"] = self.upstream_flow.publishes_total
            figures["publishes_downstream_total"] = self.downstream_flow.publishes_total
        for reason, count in self.connacks.items():
            figures[f"connack_0x{reason:02x}_total" if reason >= 0 else "connack_missing_total"] = count
        return figures
