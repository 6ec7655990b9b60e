"""The emulator's control methods: what the lab may ask of a running fleet.

Selectors: ``brand``, ``region``, ``store`` and ``terminals`` (a list of ids) are globs; what is not given selects all,
but power is cut only of terminals that are named. A wrong parameter is a ControlError that says what is expected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from emulator.life import SELLING
from emulator.running import RunningFleet
from emulator.terminal import Terminal
from fleetwire.control import Handler, Params
from fleetwire.errors import ControlError

RATE_LIMIT_PER_S: Final = 1_000_000.0
STORE_CLOSING_GRACE_S: Final = 10.0


class Commands:
    """``fleet`` gives what runs, or raises ControlError while nothing does."""

    def __init__(self, fleet: Callable[[], RunningFleet]) -> None:
        self._fleet = fleet

    def handlers(self) -> Mapping[str, Handler]:
        """Control method by name."""
        return {
            "trade": self._trade,
            "pause_trading": self._pause_trading,
            "burst": self._burst,
            "close_stores": self._close_stores,
            "open_stores": self._open_stores,
            "drained": self._drained,
            "traded": self._traded,
            "sessions": self._sessions,
            "power_cut": self._power_cut,
            "power_on": self._power_on,
            "status": self._status,
        }

    async def _trade(self, params: Params) -> object:
        fleet, rate_per_s = self._fleet(), _number(params, "rate_per_s")
        fleet.trading.require_left()
        fleet.trading.pacer.set_rate(rate_per_s, fleet.group.now_s())
        fleet.trading.wake()
        return {"rate_per_s": rate_per_s}

    async def _pause_trading(self, _: Params) -> object:
        fleet = self._fleet()
        fleet.trading.pacer.pause(fleet.group.now_s())
        return {"rate_per_s": 0.0}

    async def _burst(self, params: Params) -> object:
        trading = self._fleet().trading
        trading.require_left()
        taken = trading.pacer.add_burst(min(trading.left, int(_number(params, "events"))))
        trading.wake()
        return {"events": taken}

    async def _close_stores(self, params: Params) -> object:
        chosen = _chosen(self._fleet(), params)
        return {"terminals": sum(terminal.close_store(STORE_CLOSING_GRACE_S) for terminal in chosen)}

    async def _open_stores(self, params: Params) -> object:
        return {"terminals": sum(terminal.open_store() for terminal in _chosen(self._fleet(), params))}

    async def _drained(self, _: Params) -> object:
        fleet = self._fleet()
        return {"unresolved": fleet.unresolved, "uncommitted": fleet.journal.uncommitted}

    async def _traded(self, _: Params) -> object:
        """How many events are on disk, and whether more are coming: the rate, and how many terminals can trade."""
        fleet = self._fleet()
        pacer, selling = fleet.trading.pacer, sum(terminal.life in SELLING for terminal in fleet.terminals)
        return {"events": fleet.trading.committed, "offered": pacer.rate_per_s + pacer.burst, "selling": selling}

    async def _sessions(self, _: Params) -> object:
        """The last session that each terminal has begun which is not online, acknowledged or not: boot and bd_seq."""
        terminals = self._fleet().terminals
        return {"sessions": {one.id: (one.boot, one.bd_seq) for one in terminals if not one.online}}

    async def _power_cut(self, params: Params) -> object:
        """What a till has sold is on disk before the light goes out."""
        fleet = self._flushed()
        return {"terminals": sum(terminal.power_cut() for terminal in _chosen(fleet, params, must_name=True))}

    async def _power_on(self, params: Params) -> object:
        fleet = self._flushed()
        return {"terminals": sum(terminal.power_on() for terminal in _chosen(fleet, params, must_name=True))}

    def _flushed(self) -> RunningFleet:
        fleet = self._fleet()
        if not fleet.journal.flush():
            raise ControlError("the ledger's disk is full: make room first")
        return fleet

    async def _status(self, _: Params) -> object:
        fleet = self._fleet()
        fleet.measure()
        return {
            "terminals": len(fleet.terminals),
            "lives": dict(Counter(terminal.life.value for terminal in fleet.terminals)),
            "counters": dict(fleet.witness.counters),
            "connect_failures": dict(fleet.group.statistics.connect_failures),
        }


def _chosen(fleet: RunningFleet, params: Params, *, must_name: bool = False) -> Sequence[Terminal]:
    names = params.get("terminals", [] if must_name else ["*"])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ControlError("terminals: expected a list of terminal ids or globs")
    globs = [str(params.get(level, "*")) for level in ("brand", "region", "store")]
    return [terminal for terminal in fleet.terminals if _matches(terminal, globs, names)]


def _matches(terminal: Terminal, globs: Sequence[str], names: Iterable[str]) -> bool:
    words = terminal.plan.terminal[:3]
    return all(fnmatchcase(word, glob) for word, glob in zip(words, globs, strict=True)) and any(
        fnmatchcase(terminal.id, name) for name in names
    )


def _number(params: Params, name: str) -> float:
    value = params.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= RATE_LIMIT_PER_S:
        raise ControlError(f"{name}={value!r}: expected a number from 0 to {RATE_LIMIT_PER_S:g}")
    return float(value)
