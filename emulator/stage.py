"""Stage 1 as a process: N terminals, each with its own session, one ledger, one pacer.

It guarantees that a restart goes on where the last process ended, however that ended: next number, till, unresolved
events. The witness says ``taken`` for what is committed and ``handed_on`` for what the broker has acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final

from emulator.business_day import Business
from emulator.commands import Commands
from emulator.descriptors import make_room
from emulator.fleet import TerminalPlan
from emulator.floor import Floor
from emulator.journal import Journal
from emulator.ledger import Ledger
from emulator.life import Life
from emulator.options import read_options
from emulator.pacer import Pacer
from emulator.running import RunningFleet
from emulator.terminal import Terminal
from emulator.trading import Trading
from emulator.writing import EventWriter
from fleetwire.broker_endpoint import endpoint_of
from fleetwire.clock import heartbeat_interval_s
from fleetwire.control import Handler
from fleetwire.errors import ControlError, SettingsError
from fleetwire.intervals import IntervalSet
from fleetwire.mqtt import SessionGroup, SessionOptions, TopicFilter
from fleetwire.mqtt.wheel import Wheel
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics
from fleetwire.witness import Witness

SESSION_EXPIRY_S: Final = 60
START_WAIT_S: Final = 10.0
CLOSE_WAIT_S: Final = 4.0
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
        self._endpoint = endpoint_of(settings)
        self._password = settings.password()
        self._running: RunningFleet | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def running(self) -> RunningFleet:
        """What runs; raises ControlError while nothing does."""
        if self._running is None:
            raise ControlError("the emulator has not started yet: wait until it is ready")
        return self._running

    def handlers(self) -> Mapping[str, Handler]:
        """The control methods; see :mod:`emulator.commands`."""
        return Commands(lambda: self.running).handlers()

    def measure(self) -> None:
        """Bring the counters up to date."""
        if self._running is not None:
            self._running.measure()

    # Start

    async def start(self) -> Mapping[str, str]:
        """Boot every terminal and begin to trade; returns when all are online, after START_WAIT_S in any case."""
        options = self._options
        plans = self._fleet.terminals(shard=options.shard, shards=options.shards)
        if not plans:
            raise SettingsError(f"shard {options.shard} of {options.shards} has no store: use fewer shards")
        make_room(len(plans))
        now_s = asyncio.get_running_loop().time
        wheel: Wheel[Terminal] = Wheel(_TICK_S, now_s())
        running = self._running = self._build(plans, wheel)
        for terminal in running.terminals:
            terminal.power_on()
        self._own(_turn(wheel), "emulator.wheel")
        await _wait(lambda: running.online == len(running.terminals), START_WAIT_S)
        running.trading.pacer.set_rate(options.rate_per_s if options.trade_at_start else 0.0, now_s())
        self._own(running.trading.run(), "emulator.trading")
        return {}

    def _build(self, plans: Sequence[TerminalPlan], wheel: Wheel[Terminal]) -> RunningFleet:
        options, seed = self._options, self._fleet.seed
        ledger = Ledger(options.ledger_path(self._settings.state_dir), seed=seed, shard=options.shard)
        remembered = ledger.boot([plan.id for plan in plans])
        journal = Journal(ledger)
        group = SessionGroup(self._endpoint, connects_at_once=options.connects_at_once, random=random.Random(seed))
        floor = self._floor(journal, group, wheel)
        terminals = [
            Terminal(floor, plan, number, known)
            for number, (plan, known) in enumerate(zip(plans, remembered, strict=True), start=1)
        ]
        committed = {
            one.id: IntervalSet([(1, one.outbox.last_sequence)]) for one in terminals if one.outbox.last_sequence
        }
        self.witness.resume(committed, handed_on=False)
        return RunningFleet(
            terminals=terminals,
            group=group,
            journal=journal,
            trading=Trading(terminals, journal, Pacer(0.0, group.now_s()), seed, group.now_s, limit=options.events),
            witness=self.witness,
            deaf=floor.deaf,
            contested=floor.contested,
            measured_s=group.now_s(),
        )

    def _floor(self, journal: Journal, group: SessionGroup, wheel: Wheel[Terminal]) -> Floor:
        clock, fleet = self._settings.clock, self._fleet
        jitter = random.Random(fleet.seed)
        return Floor(
            topics=self._topics,
            business=Business(fleet),
            clock=clock,
            writer=EventWriter(self._topics, fleet),
            journal=journal,
            witness=self.witness,
            wheel=wheel,
            now_s=group.now_s,
            jitter=lambda: jitter.uniform(0.8, 1.2),
            open_session=lambda terminal: group.open(self._session_options(terminal), terminal, terminal.will),
            heartbeat_interval_s=heartbeat_interval_s(fleet.heartbeat_interval_s, clock.time_scale),
            accept_puback=self._options.accept_puback,
        )

    def _session_options(self, terminal: Terminal) -> SessionOptions:
        settings = self._settings
        return SessionOptions(
            client_id=settings.client_id_prefix + terminal.id,
            username=settings.username or None,
            password=self._password,
            clean_start=terminal.boot == 1,  # what another run left under this id is none of ours
            session_expiry_s=SESSION_EXPIRY_S,
            keep_alive_s=self._fleet.keep_alive_s,
            receive_maximum=_RECEIVE_MAXIMUM,
            subscriptions=(TopicFilter(pattern=self._topics.command("+", terminal.plan.terminal)),),
            outgoing_limit=_OUTGOING_LIMIT,
        )

    def _own(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_report_end)
        self._tasks.append(task)

    # Stop

    async def stop(self) -> None:
        """Stop trading, commit, close every terminal gracefully (option ``close_at_stop``), release everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        running = self._running
        if running is None:
            return
        running.journal.flush()
        if self._options.close_at_stop:
            await self._close_all(running)
        else:
            for terminal in running.terminals:
                terminal.power_cut()
        await running.group.close(timeout_s=1.0)
        running.journal.flush()
        running.measure()
        running.journal.close()

    async def _close_all(self, running: RunningFleet) -> None:
        for terminal in running.terminals:
            terminal.close_store(0.0)
        at_rest = {Life.OFF, Life.CLOSED}
        await _wait(lambda: all(terminal.life in at_rest for terminal in running.terminals), CLOSE_WAIT_S)


async def _turn(wheel: Wheel[Terminal]) -> None:
    now_s = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(_TICK_S)
        for terminal in wheel.due(now_s()):
            terminal.due(now_s())


async def _wait(condition: Callable[[], bool], timeout_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - thousands of terminals, one look at all of them
                await asyncio.sleep(0.02)


def _report_end(task: asyncio.Task[None]) -> None:
    """A background task never ends by itself: whatever ended it is a bug that must be seen."""
    if not task.cancelled():
        _log.critical("%s ended: the fleet stands still", task.get_name(), exc_info=task.exception())
