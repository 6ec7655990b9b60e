"""PARM's events on a real broker: canonical out, nothing acknowledged before the broker has it, nothing lost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import pytest

from fleetwire import witness
from fleetwire.envelope import STRUCTURED, Envelope
from fleetwire.identity import Key, Terminal
from fleetwire.outcomes import Ask, encode
from parm_stub.stage import BACKLOG_LIMIT, Parm
from tests.broker import Broker
from tests.parm_live.running import (
    SOURCE,
    TOPICS,
    UTC_TIME,
    Wire,
    process,
    raw_control,
    raw_sale,
    running,
    stage_settings,
    until,
    wire,
)

TERMINAL = Terminal.parse(SOURCE)


def keys(observer: Wire) -> list[str]:
    """Keys on the canonical topics, as they came."""
    return [message.json["key"] for message in observer.on("canonical/transaction")]


async def test_an_event_becomes_canonical_with_its_envelope(broker: Broker, tmp_path: Path) -> None:
    """A raw event arrives on the canonical topic as canonical JSON, with the same attributes and its attempt."""
    parm = Parm(stage_settings("parm", broker, tmp_path))
    async with wire(broker, "canonical/transaction/#") as observer, running(parm):
        await observer.send(raw_sale(7), 7, event_type="transaction.retail", attempt=3)
        await until(lambda: observer.seen, "the canonical event")
    event = observer.seen[0]
    assert event.topic == TOPICS.canonical("transaction", TERMINAL)
    assert event.json["key"] == f"{SOURCE}.7"
    assert event.json["time"] == UTC_TIME
    assert event.json["data"]["grand_cents"] == 1080
    assert event.properties == Envelope(Key(SOURCE, 7), "transaction.retail", UTC_TIME, 3).properties()
    assert parm.witness.first_taken_on_retry[SOURCE].to_list() == [(7, 7)]


async def test_a_structured_event_becomes_canonical(broker: Broker, tmp_path: Path) -> None:
    """A peer without user properties is understood by its structured CloudEvent, its attempt too."""
    payload = Envelope(Key(SOURCE, 5), "transaction.control", UTC_TIME, 2).structured(raw_control(5))
    async with (
        wire(broker, "canonical/transaction/#") as observer,
        running(Parm(stage_settings("parm", broker, tmp_path))),
    ):
        await observer.publish(TOPICS.terminal("transaction", TERMINAL), payload, content_type=STRUCTURED)
        await until(lambda: observer.seen, "the canonical event")
    assert observer.seen[0].user_property("sequence") == "5"
    assert observer.seen[0].user_property("attempt") == "2"


async def test_nothing_is_acknowledged_while_nobody_takes_the_canonical_event(broker: Broker, tmp_path: Path) -> None:
    """A PUBACK with 0x10 is no acceptance: the event stays in hand, and a new process gets it from the broker again."""
    settings = stage_settings("parm", broker, tmp_path)
    parm = Parm(settings)
    async with wire(broker, "dead-letter/#") as sender:
        async with running(parm):
            await sender.send(raw_control(1), 1)
            await until(lambda: parm._delivery.retries > 1, "two refused publishes")
            parm.measure()
            assert parm.witness.counters["in_hand"] == 1
            assert SOURCE not in parm.witness.handed_on
        async with wire(broker, "canonical/transaction/#", client_id="late") as observer, running(Parm(settings)):
            await until(lambda: observer.seen, "the event after the restart")
            await until(lambda: keys(observer) == [f"{SOURCE}.1"], "exactly that event")


async def test_an_acknowledged_event_does_not_come_again(broker: Broker, tmp_path: Path) -> None:
    """After the canonical PUBACK the broker lets go of the raw event: a new process starts with the next one."""
    settings = stage_settings("parm", broker, tmp_path)
    async with wire(broker, "canonical/transaction/#") as observer:
        first = Parm(settings)
        async with running(first):
            await observer.send(raw_control(1), 1)
            await until(lambda: first.witness.counters["handed_on_total"] == 1, "the first is handed on")
        second = Parm(settings)
        async with running(second):
            await observer.send(raw_control(2), 2)
            await until(lambda: second.witness.counters["handed_on_total"] == 1, "the second is handed on")
        assert second.witness.taken[SOURCE].to_list() == [(2, 2)]
        await until(lambda: len(observer.seen) >= 2, "both canonical events")
    assert keys(observer) == [f"{SOURCE}.1", f"{SOURCE}.2"]


async def test_a_killed_process_loses_no_event(broker: Broker, tmp_path: Path) -> None:
    """Two kills with SIGKILL while events flow; at the end every event is on the canonical topics."""
    settings = stage_settings("parm", broker, tmp_path)
    total = 600

    async def produce(observer: Wire) -> None:
        for sequence in range(1, total + 1):
            await observer.send(raw_control(sequence), sequence)

    async with wire(broker, "canonical/transaction/#", "host/#") as observer:
        async with process(settings, "-m", "parm_stub") as first:
            await until(lambda: observer.on("host/parm"), "PARM's birth")
            await observer.send(raw_control(1), 1)
            await until(lambda: keys(observer), "the first event")
            producing = asyncio.create_task(produce(observer))
            await until(lambda: len(keys(observer)) > 60, "events flow")
            first.kill()
        async with process(settings, "-m", "parm_stub") as second:
            await until(lambda: len(set(keys(observer))) > 200, "events flow again")
            second.kill()
        async with process(settings, "-m", "parm_stub"):
            await producing
            await until(lambda: len(set(keys(observer))) == total, "every event")


async def test_two_instances_share_the_events(broker: Broker, tmp_path: Path) -> None:
    """With two instances every event is handed on once, and both have worked."""
    pair = [
        Parm(stage_settings("parm", broker, tmp_path / str(number), instance=number, instances=2)) for number in (1, 2)
    ]
    async with wire(broker, "canonical/transaction/#") as observer, running(pair[0]), running(pair[1]):
        for sequence in range(1, 101):
            await observer.send(raw_control(sequence), sequence)
        await until(lambda: len(observer.seen) == 100, "all events")
    assert sorted(keys(observer)) == sorted(f"{SOURCE}.{sequence}" for sequence in range(1, 101))
    assert all(parm.witness.counters["handed_on_total"] >= 1 for parm in pair)


async def test_what_is_in_hand_is_bounded(broker: Broker, tmp_path: Path) -> None:
    """While nobody takes canonical events PARM stops reading at its limit; once somebody does, all of them come."""
    broker.stop()
    broker.add_line("max_queued_messages 0")
    broker.add_line("max_inflight_messages 0")
    broker.restart()
    parm = Parm(stage_settings("parm", broker, tmp_path))
    total = 3 * BACKLOG_LIMIT
    async with wire(broker, "none/#") as sender, running(parm):
        for batch in range(0, total, 500):
            await asyncio.gather(*(sender.send(raw_control(n), n) for n in range(batch + 1, batch + 501)))
        await until(lambda: len(parm._in_hand) >= BACKLOG_LIMIT, "a full backlog")
        assert len(parm._in_hand) < 2 * BACKLOG_LIMIT
        async with wire(broker, "canonical/transaction/#", client_id="late") as observer:
            await until(lambda: len(observer.seen) >= total and not len(parm._in_hand), "all events, nothing in hand")
        assert len(set(keys(observer))) == total


async def test_a_lost_connection_does_not_multiply_what_is_in_hand(broker: Broker, tmp_path: Path) -> None:
    """Messages that are delivered again after a reconnect join the work under way and are handed on once."""
    parm = Parm(stage_settings("parm", broker, tmp_path))
    async with wire(broker, "none/#") as sender, running(parm):
        await asyncio.gather(*(sender.send(raw_control(n), n) for n in range(1, 11)))
        await until(lambda: len(parm._in_hand) == 10, "ten in hand")
        parm._sessions.inbound.session.abort()
        parm._sessions.inbound.session.reopen()
        await until(lambda: parm.witness.duplicates_absorbed == 10, "all ten again")
        assert len(parm._in_hand) == 10
        async with wire(broker, "canonical/transaction/#", client_id="late") as observer:
            await until(lambda: len(observer.seen) == 10, "all ten")
            await until(lambda: parm._sessions.inbound.backlog == 0, "all acknowledged")
            assert sorted(keys(observer)) == sorted(f"{SOURCE}.{n}" for n in range(1, 11))


async def test_the_last_stage_tells_what_is_applied(broker: Broker, tmp_path: Path) -> None:
    """Without a stage behind it PARM needs no listener, tells terminals what is applied, and answers their asks."""
    parm = Parm(stage_settings("parm", broker, tmp_path, outcomes=True))
    async with wire(broker, "command/outcome/#") as terminal, running(parm):
        await terminal.send(raw_control(1), 1)
        await until(lambda: terminal.seen, "the outcome")
        assert terminal.seen[0].topic == TOPICS.command("outcome", TERMINAL)
        assert terminal.seen[0].json == {"by": "parm", "applied": [[1, 1]], "rejected": [], "answer": False}
        await terminal.publish(TOPICS.terminal("ask", TERMINAL), encode(Ask(unresolved=[(1, 3)])))
        await until(lambda: len(terminal.seen) == 2, "the answer")
    assert terminal.seen[1].json == {"by": "parm", "applied": [[1, 1]], "rejected": [], "answer": True}


async def test_a_full_witness_keeps_no_terminal_from_its_outcomes(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once strangers have filled the witness, a new till is still told what is applied."""
    monkeypatch.setattr(witness, "SOURCE_LIMIT", 1)
    parm = Parm(stage_settings("parm", broker, tmp_path, outcomes=True))
    async with wire(broker, "command/outcome/#") as terminal, running(parm):
        await terminal.send(raw_control(1, "taco.west.s0666.r01"), 1, "taco.west.s0666.r01")
        await until(lambda: terminal.seen, "the stranger's outcome")
        await terminal.send(raw_control(1), 1)
        await until(lambda: len(terminal.seen) == 2, "the till's outcome")
    assert terminal.seen[1].topic == TOPICS.command("outcome", TERMINAL)
    assert terminal.seen[1].json["applied"] == [[1, 1]]
    assert parm.witness.unnoted_total


async def test_an_ask_that_cannot_be_read_becomes_a_dead_letter(broker: Broker, tmp_path: Path) -> None:
    """Ranges that run backwards are no ask: a dead letter, and the next ask is answered."""
    parm = Parm(stage_settings("parm", broker, tmp_path, outcomes=True))
    topic = TOPICS.terminal("ask", TERMINAL)
    async with wire(broker, "command/outcome/#", "dead-letter/#") as terminal, running(parm):
        await terminal.publish(topic, b'{"unresolved": [[3, 1]]}')
        await terminal.publish(topic, encode(Ask(unresolved=[(1, 3)])))
        await until(lambda: len(terminal.seen) == 2, "letter and answer")
    assert [message.topic for message in terminal.on("dead-letter")] == [TOPICS.dead_letter("parm", "schema", SOURCE)]
    assert terminal.on("command")[0].json["applied"] == []


async def test_presence_is_retained_and_a_kill_is_seen(broker: Broker, tmp_path: Path) -> None:
    """The host register says online after the birth, offline after SIGKILL and after a graceful end."""
    host = TOPICS.host("parm", 1)
    async with wire(broker, "host/#") as observer:
        for number, end in enumerate((signal.SIGKILL, signal.SIGTERM), 1):
            settings = stage_settings("parm", broker, tmp_path, incarnation=number)
            async with process(settings, "-m", "parm_stub") as child:
                online = {"online": True, "incarnation": number}
                await until(lambda online=online: observer.retained(host) == online, "the birth")
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(end)
                offline = {"online": False, "incarnation": number}
                await until(lambda offline=offline: observer.retained(host) == offline, f"offline after {end.name}")
