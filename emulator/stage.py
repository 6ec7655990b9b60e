"""Stage 1 as a process: N terminals, each with its own session, one ledger, one pacer.

It guarantees that a restart goes on where the last process ended, however that ended: next number, till, unresolved
events. The witness says ``taken`` for what is committed and ``handed_on`` for what the broker has acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Final

from emulator.business_day import Business
from emulator.descriptors import make_room
from emulator.fleet import Fleet
from emulator.floor import Floor
from emulator.journal import Journal
from emulator.ledger import Ledger
from emulator.options import read_options
from emulator.pacer import Pacer
from emulator.terminal import Life, Terminal
from emulator.trading import Trading
from emulator.writing import EventWriter
from fleetwire.control import Handler, Params
from fleetwire.errors import ControlError, SettingsError
from fleetwire.mqtt import Endpoint, Session, SessionGroup, SessionOptions, TopicFilter
from fleetwire.mqtt.wheel import Wheel
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics
from fleetwire.witness import Witness

SESSION_EXPIRY_S: Final = 60
START_WAIT_S: Final = 10.0
CLOSE_WAIT_S: Final = 4.0
STORE_CLOSING_GRACE_S: Final = 10.0
SHORTEST_HEARTBEAT_S: Final = 1.0
RATE_LIMIT_PER_S: Final = 1_000_000.0
_TICK_S: Final = 0.05
_OUTGOING_LIMIT: Final = 100
_RECEIVE_MAXIMUM: Final = 100
_COUNTERS: Final = (
    "committed_total", "resolved_total", "rejected_total", "resent_total", "asks_total", "connects_total",
    "connect_failures_total", "connections_lost_total", "pubacks_refused_total", "publish_failures_total",
    "bad_commands_total", "unknown_commands_total", "subscriptions_refused_total", "heartbeats_total",
    "heartbeats_skipped_total",
)  # fmt: skip

_log = logging.getLogger(__name__)


class Emulator:
    """The stage; see :class:`fleetwire.stage.Stage`."""

    def __init__(self, settings: StageSettings) -> None:
        self.witness = Witness()
        self.witness.counters.update(dict.fromkeys(_COUNTERS, 0))
        self._settings = settings
        self._options = read_options(settings.options)
        self._fleet = self._options.whole_fleet()
        self._topics = Topics(settings.topic_root)
        self._endpoint = _endpoint(settings)
        self._password = settings.password()
        self._terminals: list[Terminal] = []
        self._group: SessionGroup | None = None
        self._journal: Journal | None = None
        self._trading: Trading | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._measured = (0.0, 0.0)

    # Start and stop

    async def start(self) -> Mapping[str, str]:
        """Boot every terminal and begin to trade; returns when all are online, after START_WAIT_S in any case."""
        loop = asyncio.get_running_loop()
        options, fleet = self._options, self._fleet
        plans = fleet.terminals(shard=options.shard, shards=options.shards)
        if not plans:
            raise SettingsError(f"shard {options.shard} of {options.shards} has no store: use fewer shards")
        make_room(len(plans))
        ledger = Ledger(options.ledger_path(self._settings.state_dir), seed=fleet.seed, shard=options.shard)
        remembered = ledger.boot([plan.id for plan in plans])
        self._journal = Journal(ledger)
        self._group = SessionGroup(
            self._endpoint, connects_at_once=options.connects_at_once, random=random.Random(fleet.seed)
        )
        wheel: Wheel[Terminal] = Wheel(_TICK_S, loop.time())
        floor = self._floor(fleet, self._journal, wheel)
        self._terminals = [
            Terminal(floor, plan, number, known)
            for number, (plan, known) in enumerate(zip(plans, remembered, strict=True), start=1)
        ]
        pacer = Pacer(options.rate_per_s if options.trade_at_start else 0.0, loop.time())
        self._trading = Trading(self._terminals, self._journal, pacer, fleet.seed, loop.time)
        self._measured = (loop.time(), 0.0)
        for terminal in self._terminals:
            terminal.power_on()
        self._tasks = [asyncio.create_task(_turn(wheel), name="emulator.wheel")]
        await self._wait(lambda: all(terminal.online for terminal in self._terminals), START_WAIT_S)
        pacer.set_rate(pacer.rate_per_s, loop.time())
        self._tasks.append(asyncio.create_task(self._trading.run(), name="emulator.trading"))
        for task in self._tasks:
            task.add_done_callback(_report_end)
        return {}

    def _floor(self, fleet: Fleet, journal: Journal, wheel: Wheel[Terminal]) -> Floor:
        clock = self._settings.clock
        jitter = random.Random(fleet.seed)
        return Floor(
            topics=self._topics,
            business=Business(fleet),
            clock=clock,
            writer=EventWriter(self._topics, fleet),
            journal=journal,
            witness=self.witness,
            wheel=wheel,
            now_s=asyncio.get_running_loop().time,
            jitter=lambda: jitter.uniform(0.8, 1.2),
            open_session=self._open_session,
            heartbeat_interval_s=max(SHORTEST_HEARTBEAT_S, clock.real_seconds(fleet.heartbeat_interval_s)),
            accept_puback=self._options.accept_puback,
        )

    def _open_session(self, terminal: Terminal) -> Session:
        assert self._group is not None, "start() makes the group before the terminals"
        settings = self._settings
        options = SessionOptions(
            client_id=settings.client_id_prefix + terminal.id,
            username=settings.username or None,
            password=self._password,
            session_expiry_s=SESSION_EXPIRY_S,
            keep_alive_s=self._fleet.keep_alive_s,
            receive_maximum=_RECEIVE_MAXIMUM,
            subscriptions=(TopicFilter(pattern=self._topics.command("+", terminal.plan.terminal)),),
            outgoing_limit=_OUTGOING_LIMIT,
        )
        return self._group.open(options, terminal, terminal.will)

    async def stop(self) -> None:
        """Stop trading, commit, close every terminal gracefully (option ``close_at_stop``), release everything."""
        for task in self._tasks:
            task.remove_done_callback(_report_end)
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._journal is None or self._group is None:
            return
        self._journal.flush()
        if self._options.close_at_stop:
            for terminal in self._terminals:
                terminal.close_store(0.0)
            done = {Life.OFF, Life.CLOSED}
            await self._wait(lambda: all(terminal.life in done for terminal in self._terminals), CLOSE_WAIT_S)
            await self._group.close(timeout_s=1.0)
        else:
            for terminal in self._terminals:
                terminal.power_cut()
        self._journal.flush()
        self._journal.close()
        self._journal.ledger.close()

    async def _wait(self, condition: Callable[[], bool], timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition():  # noqa: ASYNC110 - thousands of terminals, one look at all of them
                    await asyncio.sleep(0.02)

    # What the lab sees

    def measure(self) -> None:
        """Bring the counters up to date."""
        if self._journal is None or self._trading is None:
            return
        counters, pacer = self.witness.counters, self._trading.pacer
        online = sum(terminal.online for terminal in self._terminals)
        counters["online"] = online
        counters["offline"] = len(self._terminals) - online
        counters["unresolved"] = sum(terminal.outbox.unresolved for terminal in self._terminals)
        counters["offline_queue"] = sum(
            terminal.outbox.unresolved for terminal in self._terminals if not terminal.online
        )
        counters["commit_failures_total"] = self._journal.commit_failures
        counters["skipped_total"] = pacer.skipped
        counters["offered_rate"] = pacer.rate_per_s
        self._measure_rate(counters)

    def _measure_rate(self, counters: dict[str, float]) -> None:
        now_s, committed = asyncio.get_running_loop().time(), counters["committed_total"]
        before_s, before = self._measured
        if now_s - before_s >= 0.5:
            counters["achieved_rate"] = round((committed - before) / (now_s - before_s), 1)
            self._measured = (now_s, committed)

    def handlers(self) -> Mapping[str, Handler]:
        """The control methods; selectors are ``brand``, ``region``, ``store`` (globs) and ``terminals`` (globs)."""
        return {
            "trade": self._on_trade,
            "pause_trading": self._on_pause_trading,
            "burst": self._on_burst,
            "close_stores": self._on_close_stores,
            "open_stores": self._on_open_stores,
            "drained": self._on_drained,
            "power_cut": self._on_power_cut,
            "power_on": self._on_power_on,
            "status": self._on_status,
        }

    # Control methods

    def _running(self) -> Trading:
        if self._trading is None:
            raise ControlError("the emulator has not started yet: wait until it is ready")
        return self._trading

    async def _on_trade(self, params: Params) -> object:
        trading = self._running()
        rate_per_s = _number(params, "rate_per_s", RATE_LIMIT_PER_S)
        trading.pacer.set_rate(rate_per_s, asyncio.get_running_loop().time())
        trading.wake()
        return {"rate_per_s": rate_per_s}

    async def _on_pause_trading(self, _: Params) -> object:
        return await self._on_trade({"rate_per_s": 0})

    async def _on_burst(self, params: Params) -> object:
        trading = self._running()
        taken = trading.pacer.add_burst(int(_number(params, "events", RATE_LIMIT_PER_S)))
        trading.wake()
        return {"events": taken}

    async def _on_close_stores(self, params: Params) -> object:
        chosen = self._chosen(params)
        return {"terminals": sum(terminal.close_store(STORE_CLOSING_GRACE_S) for terminal in chosen)}

    async def _on_open_stores(self, params: Params) -> object:
        return {"terminals": sum(terminal.open_store() for terminal in self._chosen(params))}

    async def _on_drained(self, _: Params) -> object:
        self._running()
        assert self._journal is not None
        unresolved = sum(terminal.outbox.unresolved for terminal in self._terminals)
        return {"unresolved": unresolved, "uncommitted": self._journal.uncommitted}

    async def _on_power_cut(self, params: Params) -> object:
        """Cut the power of the terminals named; what a till has sold is on disk before the light goes out."""
        self._flush()
        return {"terminals": sum(terminal.power_cut() for terminal in self._chosen(params, must_name=True))}

    async def _on_power_on(self, params: Params) -> object:
        self._flush()
        return {"terminals": sum(terminal.power_on() for terminal in self._chosen(params, must_name=True))}

    def _flush(self) -> None:
        self._running()
        if self._journal is not None and not self._journal.flush():
            raise ControlError("the ledger's disk is full: make room first")

    async def _on_status(self, _: Params) -> object:
        self.measure()
        lives = Counter(terminal.life.value for terminal in self._terminals)
        statistics = self._group.statistics if self._group is not None else None
        return {
            "terminals": len(self._terminals),
            "lives": dict(lives),
            "counters": dict(self.witness.counters),
            "connect_failures": dict(statistics.connect_failures) if statistics is not None else {},
        }

    def _chosen(self, params: Params, *, must_name: bool = False) -> Sequence[Terminal]:
        self._running()
        names = params.get("terminals", [] if must_name else ["*"])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ControlError("terminals: expected a list of terminal ids or globs")
        globs = [str(params.get(level, "*")) for level in ("brand", "region", "store")]
        return [terminal for terminal in self._terminals if _matches(terminal, globs, names)]


def _matches(terminal: Terminal, globs: Sequence[str], names: Iterable[str]) -> bool:
    words = terminal.plan.terminal[:3]
    return all(fnmatchcase(word, glob) for word, glob in zip(words, globs, strict=True)) and any(
        fnmatchcase(terminal.id, name) for name in names
    )


def _number(params: Params, name: str, most: float) -> float:
    value = params.get(name)
    if not isinstance(value, int | float) or not 0 <= value <= most:
        raise ControlError(f"{name}={value!r}: expected a number from 0 to {most:g}")
    return float(value)


def _endpoint(settings: StageSettings) -> Endpoint:
    authority = settings.broker_ca_file
    if not authority:
        return Endpoint.parse(settings.broker_url)
    try:
        return Endpoint.parse(settings.broker_url, tls=ssl.create_default_context(cafile=authority))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"STOREFLEET_BROKER_CA_FILE={authority}: {error}") from error


async def _turn(wheel: Wheel[Terminal]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(_TICK_S)
        now_s = loop.time()
        for terminal in wheel.due(now_s):
            terminal.due(now_s)


def _report_end(task: asyncio.Task[None]) -> None:
    """A background task never ends by itself: whatever ended it is a bug that must be seen."""
    if not task.cancelled():
        _log.critical("%s ended: the fleet stands still", task.get_name(), exc_info=task.exception())
