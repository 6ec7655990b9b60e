"""Birth, will, graceful close and heartbeat, as an independent client sees them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest

from emulator.ledger import Batch, Ledger
from emulator.life import LIVES, Happening, Life
from fleetwire.clock import now_ms
from fleetwire.errors import ControlError
from fleetwire.mqtt import QueueFull, Session
from tests.broker import Broker
from tests.emulator_live.lab import ROOT, answering, call, rows, running, settings_for, until, until_drained


class Observer:
    """What came on the topics of one kind, newest last, by terminal."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bool, dict[str, Any], Any]] = []

    def of(self, source: str) -> list[dict[str, Any]]:
        """Everything that one terminal said."""
        return [body for name, _, body, _ in self.messages if name == source]


@asynccontextmanager
async def observing(broker: Broker, kind: str) -> AsyncIterator[Observer]:
    """An aiomqtt client that is subscribed to one kind of all terminals."""
    observer = Observer()
    async with aiomqtt.Client(broker.host, broker.port, protocol=aiomqtt.ProtocolVersion.V5, timeout=40) as client:
        await client.subscribe(f"{ROOT}/terminal/{kind}/#", qos=1)

        async def listen() -> None:
            async for message in client.messages:
                assert isinstance(message.payload, bytes)
                source = message.topic.value.rpartition("/")[2]
                body = json.loads(message.payload)
                observer.messages.append((source, message.retain, body, message.properties))

        task = asyncio.create_task(listen(), name="observer")
        yield observer
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pairs(states: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """What each state said, in short."""
    return [(state["reason"], state["boot"], state["bd_seq"]) for state in states]


async def test_a_terminal_is_born_dies_and_closes(broker: Broker, tmp_path: Path) -> None:
    """A birth follows every CONNECT, the will every power cut, and a planned close every closing of the store."""
    async with observing(broker, "state") as observer, running(settings_for(broker, tmp_path)) as emulator:
        source = emulator.running.terminals[0].id
        await until(lambda: len(observer.messages) == 4, "4 births")
        assert await call(emulator, "power_cut", terminals=[source]) == {"terminals": 1}
        await until(lambda: pairs(observer.of(source))[-1] == ("lost", 1, 1), "the will")
        assert await call(emulator, "power_on", terminals=[source]) == {"terminals": 1}
        await until(lambda: pairs(observer.of(source))[-1] == ("birth", 2, 1), "the second birth")
        await call(emulator, "close_stores", store="s0001")
        await until(lambda: pairs(observer.of(source))[-1] == ("planned_close", 2, 1), "the planned close")
        closed = [terminal for terminal in emulator.running.terminals if ".s0001." in terminal.id]
        await until(lambda: all(terminal.life is Life.CLOSED for terminal in closed), "both know that they are closed")
        assert await call(emulator, "open_stores") == {"terminals": len(closed)}
        await until(lambda: pairs(observer.of(source))[-1] == ("birth", 2, 2), "the third birth")
        await until(lambda: all(terminal.online for terminal in emulator.running.terminals), "all are online")
        states = observer.of(source)
        assert [state["online"] for state in states] == [True, False, True, False, True]
        assert all(state["serial_number"] and state["model"] for state in states)
        assert not any(retained for _, retained, _, _ in observer.messages)
    assert rows(tmp_path, "SELECT online, reason, boot, bd_seq FROM register WHERE source = 1") == [
        (0, "planned_close", 2, 2)
    ]


async def test_the_newest_state_is_retained(broker: Broker, tmp_path: Path) -> None:
    """A client that comes later finds every terminal's last word, and it is what the ledger calls the truth."""
    async with running(settings_for(broker, tmp_path)) as emulator:
        sources = {terminal.id for terminal in emulator.running.terminals}
        await until(lambda: all(terminal.online for terminal in emulator.running.terminals), "all are online")
        async with observing(broker, "state") as observer:
            await until(lambda: len(observer.messages) == 4, "4 retained states")
            assert all(retained for _, retained, _, _ in observer.messages)
            assert {name for name, _, _, _ in observer.messages} == sources
            await call(emulator, "power_cut", terminals=[])
            truth = rows(tmp_path, "SELECT id, online, boot, bd_seq FROM register JOIN source ON number = source")
            seen = [(name, int(body["online"]), body["boot"], body["bd_seq"]) for name, _, body, _ in observer.messages]
            assert sorted(truth) == sorted(seen)
    async with observing(broker, "state") as observer:
        await until(lambda: len(observer.messages) == 4, "4 retained states")
        assert {body["reason"] for _, _, body, _ in observer.messages} == {"planned_close"}


async def test_a_new_connection_has_a_new_birth_number(broker: Broker, tmp_path: Path) -> None:
    """After the broker's death the next birth has the same boot and a greater bd_seq."""
    async with running(settings_for(broker, tmp_path)) as emulator:
        broker.kill()
        await until(lambda: not any(terminal.online for terminal in emulator.running.terminals), "all are offline")
        await until(lambda: rows(tmp_path, "SELECT DISTINCT online, reason FROM register") == [(0, "lost")], "lost")
        broker.restart()
        await until(lambda: all(terminal.online for terminal in emulator.running.terminals), "all are online")
        async with observing(broker, "state") as observer:
            await until(lambda: len(observer.messages) == 4, "4 retained states")
            assert all(body["boot"] == 1 and body["bd_seq"] >= 2 for _, _, body, _ in observer.messages)


async def test_heartbeats_carry_the_queue_and_expire(broker: Broker, tmp_path: Path) -> None:
    """A heartbeat says how many events wait and which number was last, and it expires after two intervals."""
    fleet = {"stores": 1, "terminals_per_store": 1, "heartbeat_interval_s": 60}
    async with observing(broker, "heartbeat") as observer:
        async with running(settings_for(broker, tmp_path, fleet=fleet)) as emulator:
            await call(emulator, "burst", events=3)
            await until(
                lambda: observer.messages and observer.messages[-1][2]["offline_queue_depth"] == 3,
                "a queue of 3 events",
            )
        _, retained, body, properties = observer.messages[-1]
        assert (body["offline_queue_depth"], body["last_sequence"], body["boot"]) == (3, 3, 1)
        assert not retained
        assert properties.MessageExpiryInterval == 2


async def test_a_closing_store_waits_for_its_outcomes(broker: Broker, tmp_path: Path) -> None:
    """Goodbye is said only once nothing is unresolved, and a closed store does not trade."""
    async with (
        observing(broker, "state") as observer,
        answering(broker) as answerer,
        running(settings_for(broker, tmp_path)) as emulator,
    ):
        answerer.tells = answerer.answers = False
        await call(emulator, "burst", events=8)
        await until(lambda: len(answerer.keys) == 8, "8 events came")
        assert await call(emulator, "close_stores", brand="*", region="*") == {"terminals": 4}
        assert {terminal.life for terminal in emulator.running.terminals} == {Life.CLOSING}
        answerer.tell_all()
        lives = [Life.CLOSED] * 4
        await until(lambda: [terminal.life for terminal in emulator.running.terminals] == lives, "all are closed")
        await until(lambda: len(observer.messages) == 8, "4 births and 4 planned closes")
        assert {body["reason"] for _, _, body, _ in observer.messages[4:]} == {"planned_close"}
        await call(emulator, "trade", rate_per_s=1000)
        await until(lambda: emulator.running.trading.pacer.skipped > 10, "no sales")
        assert emulator.witness.counters["committed_total"] == 8


REGISTERS = "SELECT online, reason, boot, bd_seq FROM register ORDER BY source"


async def test_a_store_that_closes_offline_is_closed_on_purpose(broker: Broker, tmp_path: Path) -> None:
    """Its register says so, of the session that it had last and not of one that the broker never acknowledged."""
    async with running(settings_for(broker, tmp_path)) as emulator:
        terminals = emulator.running.terminals
        await until(lambda: all(terminal.online for terminal in terminals), "all are online")
        broker.kill()
        await until(lambda: rows(tmp_path, REGISTERS) == [(0, "lost", 1, 1)] * 4, "all are lost")
        ((lost_ms,),) = rows(tmp_path, "SELECT max(at_ms) FROM register")
        await until(lambda: now_ms() > lost_ms, "the losses lie in the past")
        since_ms = now_ms()
        await call(emulator, "close_stores", store="s0001")
        closed = [terminal.life is Life.CLOSED for terminal in terminals]
        assert sorted(closed) == [False, False, True, True]
        words = [(0, "planned_close" if one else "lost", 1, 1) for one in closed]
        await until(lambda: rows(tmp_path, REGISTERS) == words, "two are closed")
        assert rows(tmp_path, f"SELECT count(*) FROM register WHERE at_ms >= {since_ms}") == [(2,)]
        await call(emulator, "power_cut", terminals=["*"])
        broker.restart()
        await call(emulator, "power_on", terminals=["*"])
        await until(lambda: rows(tmp_path, REGISTERS) == [(1, "birth", 2, 1)] * 4, "all are online")


async def test_a_store_that_is_cut_off_while_it_closes_is_closed_on_purpose(broker: Broker, tmp_path: Path) -> None:
    """It waits for outcomes and loses its connection instead."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        answerer.tells = answerer.answers = False
        terminals = emulator.running.terminals
        await until(lambda: all(terminal.online for terminal in terminals), "all are online")
        await call(emulator, "burst", events=8)
        await until(lambda: len(answerer.keys) == 8, "8 events came")
        await call(emulator, "close_stores")
        assert {terminal.life for terminal in terminals} == {Life.CLOSING}
        broker.kill()
        await until(lambda: rows(tmp_path, REGISTERS) == [(0, "planned_close", 1, 1)] * 4, "all are closed")
        assert {terminal.life for terminal in terminals} == {Life.CLOSED}


async def test_a_terminal_that_was_never_heard_of_has_no_register(broker: Broker, tmp_path: Path) -> None:
    """Neither before it closes nor after."""
    broker.kill()
    async with running(settings_for(broker, tmp_path)) as emulator:
        await call(emulator, "close_stores")
        assert {terminal.life for terminal in emulator.running.terminals} == {Life.CLOSED}
    assert rows(tmp_path, REGISTERS) == []


def test_the_newest_word_of_a_register_counts_within_a_batch(tmp_path: Path) -> None:
    """A till may close and open, or come and close, between two commits; while the disk is full that is long."""
    ledger, source = Ledger(tmp_path / "ledger.sqlite", seed=1, shard=0), "taco.west.s0001.r01"
    ledger.boot([source])
    batch = Batch()
    batch.close_register(1)
    batch.put_register((1, 1, "birth", 1, 2, 5))
    ledger.commit(batch)
    assert rows(tmp_path, REGISTERS) == [(1, "birth", 1, 2)]
    batch.close_register(1)
    ledger.commit(batch)
    assert rows(tmp_path, REGISTERS) == [(0, "planned_close", 1, 2)]
    ledger.close()


async def test_a_power_cut_forgets_nothing_that_was_committed(broker: Broker, tmp_path: Path) -> None:
    """Events unresolved at the power cut are asked for when the power is back, and the numbers go on."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        answerer.tells = answerer.answers = False
        await call(emulator, "burst", events=40)
        await until(lambda: len(answerer.keys) == 40, "40 events came")
        assert await call(emulator, "power_cut", terminals=["*"]) == {"terminals": 4}
        answerer.tells = answerer.answers = True
        answerer.asks.clear()
        assert await call(emulator, "power_on", terminals=["*"]) == {"terminals": 4}
        await until_drained(emulator)
        assert {source for source, _ in answerer.asks} == {terminal.id for terminal in emulator.running.terminals}
        await call(emulator, "burst", events=40)
        await until_drained(emulator)
    gaps = rows(tmp_path, "SELECT source FROM event GROUP BY source HAVING count(*) <> max(sequence)")
    assert gaps == []
    assert len(answerer.keys) == 80


async def test_a_foreign_prefix_goes_before_every_client_id(make_broker: Callable[..., Broker], tmp_path: Path) -> None:
    """On somebody else's broker the client ids begin with the lab's prefix; topics and sources do not."""
    broker = make_broker("log_type all").start()
    settings = settings_for(broker, tmp_path)
    async with running(msgspec.structs.replace(settings, client_id_prefix="lab7-")) as emulator:
        await until(lambda: all(terminal.online for terminal in emulator.running.terminals), "all are online")
        assert f"lab7-{emulator.running.terminals[0].id}" in broker.log


@pytest.mark.parametrize(
    ("method", "params"),
    [("trade", {}), ("trade", {"rate_per_s": -1}), ("burst", {"events": "many"}), ("power_cut", {"terminals": "all"})],
)
async def test_wrong_params_of_a_control_call_are_refused(
    broker: Broker, tmp_path: Path, method: str, params: dict[str, Any]
) -> None:
    """A control call with a wrong parameter says what is expected, and changes nothing."""
    async with running(settings_for(broker, tmp_path)) as emulator:
        with pytest.raises(ControlError, match="expected"):
            await call(emulator, method, **params)


def test_every_life_can_be_left() -> None:
    """No state of the table is a trap, and a power cut ends every one but off."""
    for life in Life:
        assert any(before is life for before, _ in LIVES)
        if life is not Life.OFF:
            assert LIVES[life, Happening.POWER_CUT] is Life.OFF


async def test_a_birth_that_a_full_queue_refuses_is_said_later(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first birth of a terminal finds no room; it is said with the next heartbeat, on the same connection."""
    publish, refused = Session.publish, []

    def full_once(self: Session, topic: str, *arguments: Any, **options: Any) -> Any:
        if "/state/" in topic and not refused:
            refused.append(topic)
            raise QueueFull("no room")
        return publish(self, topic, *arguments, **options)

    monkeypatch.setattr(Session, "publish", full_once)
    fleet = {"stores": 1, "terminals_per_store": 1, "heartbeat_interval_s": 60}
    async with observing(broker, "state") as observer, running(settings_for(broker, tmp_path, fleet=fleet)) as emulator:
        await until(lambda: observer.messages, "the birth")
        assert emulator.witness.counters["publish_failures_total"] == 1
    assert len(refused) == 1
