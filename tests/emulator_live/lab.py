"""What the tests of the running emulator share: the stage on a broker, and somebody who answers."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from emulator.stage import Emulator
from fleetwire.intervals import IntervalSet
from fleetwire.mqtt import Endpoint, Message, SessionOptions, StageClient, TopicFilter
from fleetwire.outcomes import Outcome, Rejection, encode, read_ask
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics
from tests.broker import Broker

ROOT = "storefleet/live"
DEADLINE_S = 40.0


def settings_for(broker: Broker, folder: Path, **options: object) -> StageSettings:
    """Settings of an emulator with a small fleet; ``options`` go into STOREFLEET_OPTIONS."""
    values = {"fleet": {"stores": 2, "terminals_per_store": 2}, "rate_per_s": 0.0, **options}
    return StageSettings(
        stage="emulator",
        broker_url=broker.url,
        topic_root=ROOT,
        state_dir=str(folder),
        real_start_s=time.time(),
        business_start_s=1_767_600_000.0,
        time_scale=60.0,
        options=msgspec.json.encode(values).decode(),
    )


@asynccontextmanager
async def running(settings: StageSettings) -> AsyncIterator[Emulator]:
    """The started stage; it is stopped at the end."""
    emulator = Emulator(settings)
    await emulator.start()
    try:
        yield emulator
    finally:
        await emulator.stop()


async def call(emulator: Emulator, method: str, **params: object) -> dict[str, int]:
    """Call one of the stage's control methods."""
    result = await emulator.handlers()[method](params)
    assert isinstance(result, dict)
    return result


def troubles_of(emulator: Emulator) -> dict[str, str]:
    """What is wrong with it, as its next snapshot tells."""
    return emulator.witness.snapshot("emulator", 1, 1, full=False, loop_stall_ms=0.0).troubles


async def until(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds; fail by name after DEADLINE_S."""
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(0.01)


async def until_drained(emulator: Emulator) -> None:
    """Wait until every event has its outcome and no event waits to be traded."""

    def drained() -> bool:
        return emulator.running.trading.pacer.burst == 0 and emulator.running.unresolved == 0

    await until(drained, "every event has its outcome")


def rows(folder: Path, query: str) -> list[tuple[object, ...]]:
    """Read the ledger as the checker does: from another connection."""
    connection = sqlite3.connect(folder / "ledger.sqlite")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


class Answerer:
    """Stands for PARM and everything behind it: takes events, answers outcomes and asks, as far as it is let."""

    def __init__(self, broker: Broker) -> None:
        self.events: list[tuple[str, int, int, bytes]] = []
        """(source, sequence, attempt, payload), as they came."""
        self.asks: list[tuple[str, list[tuple[int, int]]]] = []
        self.heard: list[tuple[str, int]] = []
        """(source, attempt) of events and asks together, as they came; an ask has attempt 0."""
        self.applied: dict[str, IntervalSet] = {}
        self.takes_from_attempt = 1
        self.tells = True
        self.answers = True
        self.rejects: dict[tuple[str, int], str] = {}
        self._topics = Topics(ROOT)
        options = SessionOptions(client_id="answerer", session_expiry_s=60)
        self.client = StageClient(
            Endpoint.parse(broker.url),
            options,
            handlers=[
                (TopicFilter(pattern=self._topics.all_of("terminal", "transaction")), self._event),
                (TopicFilter(pattern=self._topics.all_of("terminal", "ask")), self._ask),
            ],
        )

    @property
    def keys(self) -> set[tuple[str, int]]:
        """Every event that came at least once."""
        return {(source, sequence) for source, sequence, _, _ in self.events}

    def tell_all(self) -> None:
        """Tell every terminal what is applied so far."""
        for source in self.applied:
            self._tell(source, answer=False)

    def _event(self, message: Message) -> None:
        source, sequence = message.user_property("source"), int(message.user_property("sequence") or 0)
        assert source is not None
        attempt = int(message.user_property("attempt") or 0)
        self.events.append((source, sequence, attempt, message.payload))
        self.heard.append((source, attempt))
        self.client.acknowledge(message)
        reason = self.rejects.get((source, sequence), "")
        if attempt >= self.takes_from_attempt and not reason:
            self.applied.setdefault(source, IntervalSet()).add(sequence)
        if self.tells:
            self._tell(source, answer=False, rejected=[Rejection(sequence, "parm", reason)] if reason else [])

    def _ask(self, message: Message) -> None:
        source = self._topics.source_of(message.topic)
        self.asks.append((source, read_ask(message.payload).unresolved))
        self.heard.append((source, 0))
        self.client.acknowledge(message)
        if self.answers:
            self._tell(source, answer=True)

    def _tell(self, source: str, *, answer: bool, rejected: list[Rejection] | None = None) -> None:
        applied = self.applied[source].to_list() if source in self.applied else []
        outcome = Outcome(by="poseidon", applied=applied, rejected=rejected or [], answer=answer)
        brand, region, store, _ = source.split(".")
        topic = f"{ROOT}/command/outcome/{brand}/{region}/{store}/{source}"
        self.client.publish_nowait(topic, encode(outcome))


@asynccontextmanager
async def answering(broker: Broker) -> AsyncIterator[Answerer]:
    """An answerer that is connected and subscribed."""
    answerer = Answerer(broker)
    async with answerer.client:
        await answerer.client.subscribed.wait()
        yield answerer
