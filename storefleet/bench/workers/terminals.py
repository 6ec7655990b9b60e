"""Worker: so many real terminals of the emulator, each with its will, its subscription and its outbox, not trading.

It measures from the first plan to the last SUBACK, and what the process has grown by then.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from emulator.business_day import Business
from emulator.fleet import Fleet
from emulator.floor import Floor
from emulator.journal import Journal
from emulator.ledger import Ledger
from emulator.stage import SESSION_EXPIRY_S
from emulator.terminal import Terminal
from emulator.writing import EventWriter
from fleetwire.clock import BusinessClock
from fleetwire.ledger_format import LEDGER_FILE_NAME
from fleetwire.mqtt import Endpoint, Session, SessionGroup, SessionOptions, TopicFilter
from fleetwire.mqtt.wheel import Wheel
from fleetwire.topics import Topics
from fleetwire.witness import Witness
from storefleet.bench.process_usage import resident_bytes
from storefleet.bench.workers.task import serve

TERMINALS_PER_STORE: Final = 3
KEEP_ALIVE_S: Final = 60
HEARTBEAT_INTERVAL_S: Final = 300.0
OUTGOING_LIMIT: Final = 100
WHEEL_TICK_S: Final = 0.05


class Task(Struct, frozen=True):
    """``folder`` is where the ledger goes."""

    port: int
    terminals: int
    folder: str
    timeout_s: float


class Result(Struct, frozen=True):
    """``resident_kb`` and ``cpu_ms`` are for one terminal; ``connected`` and ``subscribed`` say how many got so far."""

    seconds: float
    connected: int
    subscribed: int
    resident_kb: float
    cpu_ms: float


class CountedTerminal(Terminal):
    """A terminal that counts its SUBACKs for all of them together."""

    __slots__ = ()
    subscribed = 0

    def on_subscribed(self, session: Session, reason_codes: tuple[int, ...]) -> None:
        """As every terminal, and counted."""
        super().on_subscribed(session, reason_codes)
        CountedTerminal.subscribed += all(code < 0x80 for code in reason_codes)


async def work(task: Task) -> Result:
    """Connect them all."""
    gc.collect()
    resident_before = resident_bytes(os.getpid()) or 0
    started_s, cpu_before_s = time.perf_counter(), time.process_time()
    terminals = _terminals(task)
    for terminal in terminals:
        terminal.power_on()
    deadline_s = started_s + task.timeout_s
    while CountedTerminal.subscribed < len(terminals) and time.perf_counter() < deadline_s:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    seconds, cpu_s = time.perf_counter() - started_s, time.process_time() - cpu_before_s
    gc.collect()
    grown = (resident_bytes(os.getpid()) or 0) - resident_before
    return Result(
        seconds=seconds,
        connected=sum(terminal.online for terminal in terminals),
        subscribed=CountedTerminal.subscribed,
        resident_kb=grown / 1024 / len(terminals),
        cpu_ms=cpu_s * 1000 / len(terminals),
    )


def _terminals(task: Task) -> list[CountedTerminal]:
    stores = -(-task.terminals // TERMINALS_PER_STORE)
    fleet = Fleet.from_options(stores=stores, terminals_per_store=TERMINALS_PER_STORE, keep_alive_s=KEEP_ALIVE_S)
    plans = fleet.terminals()[: task.terminals]
    ledger = Ledger(Path(task.folder) / LEDGER_FILE_NAME, seed=fleet.seed, shard=0)
    remembered = ledger.boot([plan.id for plan in plans])
    floor = _floor(task, fleet, ledger)
    return [
        CountedTerminal(floor, plan, number, known)
        for number, (plan, known) in enumerate(zip(plans, remembered, strict=True), start=1)
    ]


def _floor(task: Task, fleet: Fleet, ledger: Ledger) -> Floor:
    """The floor as the emulator lays it, with heartbeats too rare to come into the measurement."""
    loop = asyncio.get_running_loop()
    topics = Topics("storefleet/bench")
    group = SessionGroup(Endpoint(host="127.0.0.1", port=task.port), random=random.Random(fleet.seed))
    witness = Witness()
    witness.counters.update(connects_total=0, connect_failures_total=0, connections_lost_total=0)
    witness.counters.update(subscriptions_refused_total=0, publish_failures_total=0, pubacks_refused_total=0)
    now_s = time.time()

    def open_session(terminal: Terminal) -> Session:
        options = SessionOptions(
            client_id=terminal.id,
            session_expiry_s=SESSION_EXPIRY_S,
            keep_alive_s=fleet.keep_alive_s,
            receive_maximum=OUTGOING_LIMIT,
            subscriptions=(TopicFilter(pattern=topics.command("+", terminal.plan.terminal)),),
            outgoing_limit=OUTGOING_LIMIT,
        )
        return group.open(options, terminal, terminal.will)

    return Floor(
        topics=topics,
        business=Business(fleet),
        clock=BusinessClock(now_s, now_s, 1.0),
        writer=EventWriter(topics, fleet),
        journal=Journal(ledger),
        witness=witness,
        wheel=Wheel(WHEEL_TICK_S, loop.time()),
        now_s=loop.time,
        jitter=lambda: 1.0,
        open_session=open_session,
        heartbeat_interval_s=HEARTBEAT_INTERVAL_S,
        accept_puback=False,
    )


if __name__ == "__main__":
    serve(Task, work)
