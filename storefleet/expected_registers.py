"""What the views of registers must show a client, from the ledger's registers and the fleet's own plan.

Not judged: ``flapping`` and ``revision`` count changes that PARM has seen, of which the ledger knows nothing; ``time`` is
a clock's. What the ledger cannot know for sure has several acceptable values, see :func:`_reasons`, :func:`_totals` and
:class:`LaterSession`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from emulator.fleet import Fleet
from fleetwire.errors import StorageError
from storefleet.ledger_rows import query_ledger

DEVICE_VIEWS: Final = ("device_inventory", "olympus_dgs")
BOARD_VIEW: Final = "store_board"
_NO_END: Final = 2**62
_BOOTS: Final = "SELECT id, boot FROM till JOIN source ON number = source"
"""Of the emulator's own table: which boot each terminal has come to."""
_REGISTERS: Final = "SELECT id, online, reason, boot, bd_seq, at_ms FROM register JOIN source ON number = source"
Hardware = tuple[str, str, str, str, str]
Acceptable = dict[str, list[object]]
"""Register -> the values that are right, the likeliest first; a value, or after it what is equal to several; None: that
there is no such register."""
Session = tuple[int, int]
"""Boot and bd_seq."""


class Truth(NamedTuple):
    """What registers must show, by view, and when a terminal behind each changed last, unix milliseconds."""

    registers: dict[str, Acceptable]
    changed_ms: dict[str, dict[str, int]]


@dataclass(frozen=True, slots=True, eq=False)
class LaterSession:
    """Equal to every register of an offline terminal that tells of a session later than the one that is named here, and
    not later than ``latest``, the last that the terminal has begun.

    Of a CONNECT that the broker took and whose answer was cut off, so that the terminal never had it acknowledged, the
    broker publishes the will; and a birth or a goodbye may have arrived without its PUBACK.
    """

    boot: int
    bd_seq: int
    hardware: Hardware
    latest: Session = (_NO_END, _NO_END)

    def __eq__(self, found: object) -> bool:
        match found:
            case LaterSession(boot, bd_seq, hardware, latest):
                return (boot, bd_seq, hardware, latest) == (self.boot, self.bd_seq, self.hardware, self.latest)
            case [False, "lost" | "planned_close", int(boot), int(bd_seq), *hardware]:
                is_later = (self.boot, self.bd_seq) < (boot, bd_seq) <= self.latest
                return is_later and hardware == [*self.hardware]
        return False

    def __hash__(self) -> int:
        return hash((self.boot, self.bd_seq, self.hardware))


class _Known(NamedTuple):
    online: bool
    reason: str


def hardware_of(fleet: Fleet) -> dict[str, Hardware]:
    """Terminal -> kind, serial number, model, application version, system version."""
    return {
        plan.id: (plan.kind, plan.serial_number, plan.model, plan.app_version, plan.os_version)
        for plan in fleet.terminals()
    }


def expected_registers(ledger: Path, hardware: Mapping[str, Hardware]) -> Truth:
    """Store -> [status, online, total], terminal -> [online, reason, boot, bd_seq, kind, serial number, model, application
    version, system version]; raises StorageError."""
    devices: Acceptable = {}
    changed_ms: dict[str, int] = {}
    stores: dict[str, list[_Known]] = defaultdict(list)
    stores_changed_ms: dict[str, int] = defaultdict(int)
    boots = _boots(ledger)
    for terminal, online, reason, boot, bd_seq, at_ms in query_ledger(ledger, _REGISTERS):
        store = terminal.rpartition(".")[0]
        known = _Known(bool(online), reason)
        fixed = hardware.get(terminal, ("", "", "", "", ""))
        devices[terminal] = [[known.online, word, boot, bd_seq, *fixed] for word in _reasons(known)]
        if not known.online:
            devices[terminal].append(LaterSession(boot, bd_seq, fixed, _latest(boots, terminal)))
        changed_ms[terminal] = at_ms
        stores[store].append(known)
        stores_changed_ms[store] = max(stores_changed_ms[store], at_ms)
    fleet_totals: dict[str, int] = defaultdict(int)
    for terminal, fixed in hardware.items():
        fleet_totals[terminal.rpartition(".")[0]] += 1
        if terminal not in devices:  # it was never acknowledged: the broker may have taken its CONNECT all the same
            devices[terminal] = [None, LaterSession(0, 0, fixed, _latest(boots, terminal))]
    board: Acceptable = {
        store: [value for total in _totals(len(states), fleet_totals[store]) for value in _store_values(states, total)]
        for store, states in stores.items()
    }
    for store in fleet_totals.keys() - stores.keys():
        values = (value for total in range(1, fleet_totals[store] + 1) for value in _store_values([], total))
        board[store] = [None, *values]
    return Truth(
        {BOARD_VIEW: board, **dict.fromkeys(DEVICE_VIEWS, devices)},
        {BOARD_VIEW: dict(stores_changed_ms), **dict.fromkeys(DEVICE_VIEWS, changed_ms)},
    )


def bounded(truth: Truth, sessions: Mapping[str, Session]) -> Truth:
    """The same where it is known which session these offline terminals have begun last."""
    devices: Acceptable = {}
    for terminal, acceptable in truth.registers[DEVICE_VIEWS[0]].items():
        latest = sessions.get(terminal)
        devices[terminal] = acceptable if latest is None else [_bounded(value, latest) for value in acceptable]
    return truth._replace(registers={**truth.registers, **dict.fromkeys(DEVICE_VIEWS, devices)})


def _bounded(value: object, latest: Session) -> object:
    return replace(value, latest=min(latest, value.latest)) if isinstance(value, LaterSession) else value


def _boots(ledger: Path) -> dict[str, int] | None:
    """Terminal -> its boot; None in a ledger of somebody else's emulator."""
    try:
        return dict(query_ledger(ledger, _BOOTS))
    except StorageError:
        return None


def _latest(boots: Mapping[str, int] | None, terminal: str) -> Session:
    """No session is later than this, by the ledger alone: of its boot it does not say how many there were."""
    return (_NO_END if boots is None else boots.get(terminal, 0), _NO_END)


def _reasons(known: _Known) -> list[str]:
    """A terminal that is cut off while it says goodbye does not hear whether its goodbye arrived before its will did."""
    if known.online:
        return [known.reason]
    return [known.reason, *({"lost", "planned_close"} - {known.reason})]


def _totals(known: int, planned: int) -> list[int]:
    """PARM counts who has ever spoken. A terminal whose birth arrived and was never acknowledged is not in the ledger."""
    return [known, *range(known + 1, planned + 1)]


def _store_values(states: list[_Known], total: int) -> list[object]:
    online = sum(state.online for state in states)
    return [[status, online, total] for status in _statuses(states, online, total)]


def _statuses(states: list[_Known], online: int, total: int) -> list[str]:
    """The statuses that a store's terminals make; the lab's own rule, beside PARM's."""
    if online == total:
        return ["OPEN"]
    if online:
        return ["DEGRADED"]
    planned = all(state.reason == "planned_close" for state in states)
    return ["PLANNED_CLOSED", "OFFLINE"] if planned else ["OFFLINE", "PLANNED_CLOSED"]
