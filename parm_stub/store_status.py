"""A store's status, derived from what its terminals say: registers, heartbeats, and their silence. No clock, no socket.

Registers are ordered by (boot, bd_seq). Of two that carry the same pair the end is the later one, and of two ends
the first stays; one with a smaller pair is a ghost (the will of a connection that was replaced long ago) and changes
nothing. A will may never come at all, so a terminal whose last sign of life is older than ``silence_limit_s`` counts
as offline until it speaks again; ``take_turned`` says whose silence began or ended.

| online of those ever seen | status |
|---|---|
| all | OPEN |
| some | DEGRADED |
| none, and every one said goodbye (planned_close) | PLANNED_CLOSED |
| none, otherwise | OFFLINE |

A store is flapping while its status changed at least six times within the last ten minutes. All times are business
seconds that the caller gives, and never run backwards; every call returns the registers that changed, each with a
revision larger than the one before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from fleetwire.clock import utc_text
from fleetwire.events import Heartbeat, StoreStatus, TerminalState
from fleetwire.identity import Terminal

Status = Literal["OPEN", "DEGRADED", "OFFLINE", "PLANNED_CLOSED"]

FLAPPING_TRANSITIONS: Final = 6
FLAPPING_WINDOW_S: Final = 600.0
MAXIMUM_TERMINALS: Final = 200_000


class _Member(msgspec.Struct):
    """One terminal as the board knows it."""

    store: _Store
    session: tuple[int, int]
    online: bool
    planned: bool
    silent: bool
    seen_s: float


class _Store(msgspec.Struct):
    """One store: counts kept as its members change, so that no call walks over them."""

    terminal: Terminal
    total: int = 0
    online: int = 0
    planned: int = 0
    revision: int = 0
    status: Status | None = None
    flapping: bool = False
    said: tuple[Status, bool, int, int] | None = None
    changes_s: deque[float] = msgspec.field(default_factory=lambda: deque(maxlen=FLAPPING_TRANSITIONS))


class StoreBoard:
    """The status of every store; ``ghosts`` and ``refused`` count what was ignored.

    ``silence_limit_s`` is how old a terminal's last sign of life may be, two heartbeat intervals or more. At most
    ``maximum_terminals`` are kept; what a further one says is refused. Revisions are greater than ``revision_floor``.
    """

    def __init__(
        self, *, silence_limit_s: float, maximum_terminals: int = MAXIMUM_TERMINALS, revision_floor: int = 0
    ) -> None:
        self._revision_floor = revision_floor
        self.ghosts = 0
        self.refused = 0
        self._silence_limit_s = silence_limit_s
        self._maximum_terminals = maximum_terminals
        self._members: dict[str, _Member] = {}
        self._stores: dict[str, _Store] = {}
        self._by_age: dict[str, None] = {}  # online terminals, the longest silent first
        self._flapping: dict[str, None] = {}
        self._turned: dict[str, bool] = {}

    def register(self, terminal: Terminal, state: TerminalState, now_s: float) -> list[StoreStatus]:
        """A terminal's retained register arrived."""
        session = (state.boot, state.bd_seq)
        member = self._members.get(terminal.id) or self._admit(terminal)
        if member is None:
            return []
        if _is_ghost(member, session):
            self.ghosts += 1
            return []
        self._set(terminal.id, member, session, state.online, state.reason == "planned_close")
        self._saw(terminal.id, member, now_s)
        return self._changes([member.store], now_s)

    def heartbeat(self, terminal: Terminal, heartbeat: Heartbeat, now_s: float) -> list[StoreStatus]:
        """A sign of life; it also brings back a terminal that was only silent, or whose birth is still on its way."""
        session = (heartbeat.boot, heartbeat.bd_seq)
        member = self._members.get(terminal.id) or self._admit(terminal)
        if member is None:
            return []
        if _is_ghost(member, session):
            self.ghosts += 1
            return []
        if member.silent:
            self._turned[terminal.id] = True
        self._set(terminal.id, member, session, True, False)
        self._saw(terminal.id, member, now_s)
        return self._changes([member.store], now_s)

    def expire(self, now_s: float) -> list[StoreStatus]:
        """Count terminals that were silent too long as offline, and end flapping that has calmed down."""
        touched: dict[int, _Store] = {}
        while self._by_age:
            oldest = next(iter(self._by_age))
            member = self._members[oldest]
            if now_s - member.seen_s <= self._silence_limit_s:
                break
            self._set(oldest, member, member.session, False, False)
            member.silent = True
            self._turned[oldest] = False
            touched[id(member.store)] = member.store
        for store_id in self._flapping:
            touched[id(self._stores[store_id])] = self._stores[store_id]
        return self._changes(list(touched.values()), now_s)

    def take_turned(self) -> dict[str, bool]:
        """Terminals that fell silent (False) or spoke again without a birth (True) since the last call, by id."""
        turned, self._turned = self._turned, {}
        return turned

    def learn(self, status: StoreStatus) -> None:
        """A retained status was read back: continue after its revision, whoever wrote it."""
        store = self._stores.get(f"{status.brand}.{status.region}.{status.store}")
        if store is not None or len(self._stores) < self._maximum_terminals:
            store = store or self._store(Terminal(status.brand, status.region, status.store, "any"))
            store.revision = max(store.revision, status.revision)

    def statuses(self, now_s: float) -> list[StoreStatus]:
        """Every store that has a status, for a first or a final read."""
        return [_statement(store, now_s) for store in self._stores.values() if store.status is not None]

    def _admit(self, terminal: Terminal) -> _Member | None:
        if len(self._members) >= self._maximum_terminals:
            self.refused += 1
            return None
        store = self._stores.get(terminal.store_id) or self._store(terminal)
        store.total += 1
        member = _Member(store, (0, -1), online=False, planned=False, silent=False, seen_s=0.0)
        self._members[terminal.id] = member
        return member

    def _store(self, terminal: Terminal) -> _Store:
        store = _Store(terminal, revision=self._revision_floor)
        self._stores[terminal.store_id] = store
        return store

    def _set(self, name: str, member: _Member, session: tuple[int, int], online: bool, planned: bool) -> None:
        member.store.online += online - member.online
        member.store.planned += planned - member.planned
        member.session, member.online, member.planned, member.silent = session, online, planned, False
        if not online:
            self._by_age.pop(name, None)

    def _saw(self, name: str, member: _Member, now_s: float) -> None:
        member.seen_s = now_s
        if member.online:
            self._by_age.pop(name, None)
            self._by_age[name] = None

    def _changes(self, stores: Iterable[_Store], now_s: float) -> list[StoreStatus]:
        changed = []
        for store in stores:
            status = _status(store)
            if store.status not in (None, status):
                store.changes_s.append(now_s)
            store.status = status
            store.flapping = _is_flapping(store, now_s)
            if store.flapping:
                self._flapping[store.terminal.store_id] = None
            else:
                self._flapping.pop(store.terminal.store_id, None)
            says = (status, store.flapping, store.online, store.total)
            if says != store.said:
                store.said = says
                store.revision += 1
                changed.append(_statement(store, now_s))
        return changed


def _is_ghost(member: _Member, session: tuple[int, int]) -> bool:
    """An older register; or anything after the end of the same connection: its first end, goodbye or will, stays."""
    if session != member.session:
        return session < member.session
    return not member.online and not member.silent


def _status(store: _Store) -> Status:
    if store.online == store.total:
        return "OPEN"
    if store.online:
        return "DEGRADED"
    return "PLANNED_CLOSED" if store.planned == store.total else "OFFLINE"


def _is_flapping(store: _Store, now_s: float) -> bool:
    changes_s = store.changes_s
    return len(changes_s) == FLAPPING_TRANSITIONS and now_s - changes_s[0] <= FLAPPING_WINDOW_S


def _statement(store: _Store, now_s: float) -> StoreStatus:
    brand, region, name, _ = store.terminal
    return StoreStatus(
        brand=brand,
        region=region,
        store=name,
        status=_status(store),
        flapping=store.flapping,
        terminals_online=store.online,
        terminals_total=store.total,
        revision=store.revision,
        time=utc_text(now_s),
    )
