"""Durable events on a real broker: commit, window, outcome, ask, re-send."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from emulator import outbox
from fleetwire.outcomes import WINDOW
from tests.broker import Broker
from tests.emulator_live.lab import answering, call, rows, running, settings_for, troubles_of, until, until_drained


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Terminals ask after tenths of a second, so that a test need not wait; for the answer they have time."""
    monkeypatch.setattr(outbox, "OVERDUE_S", 0.3)
    monkeypatch.setattr(outbox, "ANSWER_S", 600.0)


async def test_outcomes_empty_the_outbox_and_are_entered_in_the_ledger(broker: Broker, tmp_path: Path) -> None:
    """An applied event leaves the outbox, and the ledger keeps event and outcome."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        await call(emulator, "burst", events=100)
        await until(lambda: len(answerer.keys) == 100, "100 events came")
        await until_drained(emulator)
        assert await call(emulator, "drained") == {"unresolved": 0, "uncommitted": 0}
        assert emulator.witness.counters["committed_total"] == 100
        assert emulator.witness.counters["resolved_total"] == 100
    assert rows(tmp_path, "SELECT count(*) FROM outbox") == [(0,)]
    assert rows(tmp_path, "SELECT count(*), count(DISTINCT source || ' ' || sequence) FROM event") == [(100, 100)]
    resolved = rows(tmp_path, "SELECT source, max(last) FROM outcome WHERE verdict = 'applied' GROUP BY source")
    assert resolved == rows(tmp_path, "SELECT source, max(sequence) FROM event GROUP BY source")
    assert rows(tmp_path, "SELECT count(*) FROM attempt") == [(0,)]


async def test_at_most_a_window_of_unresolved_events_is_on_the_wire(broker: Broker, tmp_path: Path) -> None:
    """Without outcomes a terminal sends WINDOW events, the rest waits on disk until there is room."""
    settings = settings_for(broker, tmp_path, fleet={"stores": 1, "terminals_per_store": 1})
    async with answering(broker) as answerer, running(settings) as emulator:
        answerer.tells = answerer.answers = False
        await call(emulator, "burst", events=100)
        await until(lambda: emulator.witness.counters["committed_total"] == 100, "100 events are committed")
        await until(lambda: len(answerer.keys) == WINDOW, "a window of events came")
        terminal = emulator.running.terminals[0]
        assert (terminal.outbox.backlog, terminal.outbox.room) == (100 - WINDOW, 0)
        answerer.tells = True
        answerer.tell_all()
        await until_drained(emulator)
        assert [sequence for _, sequence, _, _ in answerer.events] == list(range(1, 101))
        assert {attempt for _, _, attempt, _ in answerer.events} == {1}


@pytest.mark.usefixtures("impatient")
async def test_a_lost_outcome_is_healed_by_asking(broker: Broker, tmp_path: Path) -> None:
    """When the outcome is lost the terminal asks, and what the answer covers is not sent again."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        answerer.tells = False
        await call(emulator, "burst", events=20)
        await until_drained(emulator)
        assert {attempt for _, _, attempt, _ in answerer.events} == {1}
        assert {source for source, _ in answerer.asks} == {terminal.id for terminal in emulator.running.terminals}
    assert rows(tmp_path, "SELECT count(*) FROM attempt") == [(0,)]


@pytest.mark.usefixtures("impatient")
async def test_an_event_that_the_answer_does_not_cover_is_sent_again(broker: Broker, tmp_path: Path) -> None:
    """What was asked and is not covered goes out once more with attempt 2, which the ledger knows."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        answerer.takes_from_attempt = 2
        await call(emulator, "burst", events=4)
        await until_drained(emulator)
        first = {(source, sequence): body for source, sequence, attempt, body in answerer.events if attempt == 1}
        second = {(source, sequence): body for source, sequence, attempt, body in answerer.events if attempt == 2}
        assert len(first) == 4
        assert second == first
    assert rows(tmp_path, "SELECT attempt, count(*) FROM attempt GROUP BY attempt") == [(2, 4)]


@pytest.mark.usefixtures("impatient")
async def test_without_an_answerer_everything_asked_is_sent_again(
    broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three unanswered asks the terminal sends again all the same."""
    monkeypatch.setattr(outbox, "ANSWER_S", 0.2)
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        answerer.tells = answerer.answers = False
        await call(emulator, "burst", events=4)
        await until(lambda: len(answerer.keys) == 4, "4 events came")
        await until(lambda: Counter(event[2] for event in answerer.events)[2] == 4, "4 events came again")
        for terminal in emulator.running.terminals:
            heard = [attempt for source, attempt in answerer.heard if source == terminal.id]
            assert heard[: heard.index(2)] == [1, *[0] * outbox.UNANSWERED_LIMIT]
        answerer.tell_all()
        await until_drained(emulator)


async def test_a_rejection_resolves_the_event_and_is_entered_as_told(broker: Broker, tmp_path: Path) -> None:
    """A rejected event leaves the outbox; the ledger says by which stage and for which reason."""
    settings = settings_for(broker, tmp_path, fleet={"stores": 1, "terminals_per_store": 1})
    async with answering(broker) as answerer, running(settings) as emulator:
        source = emulator.running.terminals[0].id
        answerer.rejects[source, 3] = "totals"
        await call(emulator, "burst", events=5)
        await until_drained(emulator)
        assert emulator.witness.counters["rejected_total"] == 1
    told = rows(tmp_path, "SELECT first, last, stage, reason FROM outcome WHERE verdict = 'rejected'")
    assert told == [(3, 3, "parm", "totals")]


async def test_a_puback_without_subscribers_is_not_acceptance(broker: Broker, tmp_path: Path) -> None:
    """PUBACK 0x10 leaves an event unresolved; it reaches the subscriber that comes later."""
    async with running(settings_for(broker, tmp_path)) as emulator:
        await call(emulator, "burst", events=4)
        await until(lambda: emulator.witness.counters["pubacks_refused_total"] >= 4, "4 PUBACKs with 0x10")
        assert emulator.witness.handed_on == {}
        assert (await call(emulator, "drained"))["unresolved"] == 4
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        await until_drained(emulator)
        assert {attempt for _, _, attempt, _ in answerer.events} == {2}


async def test_the_broker_is_the_last_stage_when_it_is_told_to_be(broker: Broker, tmp_path: Path) -> None:
    """With accept_puback the broker's PUBACK is the outcome, and nobody is asked."""
    async with running(settings_for(broker, tmp_path, accept_puback=True)) as emulator:
        await call(emulator, "burst", events=50)
        await until_drained(emulator)
        assert emulator.witness.counters["asks_total"] == 0
    assert rows(tmp_path, "SELECT DISTINCT verdict, stage FROM outcome") == [("applied", "broker")]


async def test_an_event_beyond_the_brokers_packet_size_is_rejected_by_the_terminal(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    """What the broker would never take is refused locally, under the reason oversized, and the rest goes on."""
    broker = make_broker("max_packet_size 2048").start()
    options = {"fleet": {"stores": 1, "terminals_per_store": 1}, "malformed_share": 0.5, "seed": 3}
    async with answering(broker), running(settings_for(broker, tmp_path, **options)) as emulator:
        await call(emulator, "burst", events=60)
        await until_drained(emulator)
    refused = rows(tmp_path, "SELECT first FROM outcome WHERE stage = 'terminal' AND reason = 'oversized' ORDER BY 1")
    planned = rows(tmp_path, "SELECT sequence FROM event WHERE expected_reason = 'oversized' ORDER BY 1")
    assert planned
    assert set(planned) <= set(refused)
    assert len(refused) < 60


async def test_terminals_trade_on_while_the_broker_is_gone(broker: Broker, tmp_path: Path) -> None:
    """Business never waits for the network: events are committed offline and arrive once the broker is back."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        broker.kill()
        await until(lambda: not any(terminal.online for terminal in emulator.running.terminals), "all are offline")
        await call(emulator, "burst", events=200)
        await until(lambda: emulator.witness.counters["committed_total"] == 200, "200 events are committed")
        emulator.measure()
        assert emulator.witness.counters["offline_queue"] == 200
        broker.restart()
        await until_drained(emulator)
        assert len(answerer.keys) == 200


async def test_hostile_outcomes_are_counted_and_change_nothing(broker: Broker, tmp_path: Path) -> None:
    """Junk, numbers that were never sent and giant ranges neither end the session nor poison the ledger."""
    settings = settings_for(broker, tmp_path, fleet={"stores": 1, "terminals_per_store": 1})
    async with answering(broker) as answerer, running(settings) as emulator:
        answerer.tells = answerer.answers = False
        terminal = emulator.running.terminals[0]
        await call(emulator, "burst", events=2)
        await until(lambda: len(answerer.keys) == 2, "2 events came")
        topic = emulator._topics.command("outcome", terminal.plan.terminal)
        for payload in (
            b"\xff\x00",
            b"[]",
            b'{"by":"x","applied":[[9,1],[-5,0]]}',
            b'{"by":"x","rejected":[{"sequence":77,"stage":"x","reason":"y"}]}',
        ):
            await answerer.client.publish(topic, payload)
        await until(lambda: emulator.witness.counters["bad_commands_total"] == 3, "3 bad commands are counted")
        assert terminal.outbox.unresolved == 2
        await answerer.client.publish(topic, b'{"by":"\\u0000x","applied":[[-9,%d]]}' % 10**30)
        await until_drained(emulator)
        await asyncio.wait_for(answerer.client.connected.wait(), 40)
    assert rows(tmp_path, "SELECT first, last FROM outcome") == [(1, 2**53 - 1)]


async def test_a_full_disk_stops_sales_and_nothing_else(broker: Broker, tmp_path: Path) -> None:
    """While the disk is full nothing is committed nor published; with room again the fleet goes on by itself."""
    async with answering(broker) as answerer, running(settings_for(broker, tmp_path)) as emulator:
        await call(emulator, "burst", events=10)
        await until_drained(emulator)
        connection = emulator.running.journal.ledger._connection
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
        await call(emulator, "trade", rate_per_s=500)
        await until(lambda: emulator.running.journal.full, "the disk is full")
        emulator.measure()
        assert emulator.witness.counters["commit_failures_total"] >= 1
        assert "database or disk is full" in troubles_of(emulator)["disk_full"]
        committed = emulator.witness.counters["committed_total"]
        assert len(answerer.keys) <= committed
        connection.execute("PRAGMA max_page_count = 1000000")
        await until(lambda: emulator.witness.counters["committed_total"] > committed + 100, "sales go on")
        emulator.measure()
        assert troubles_of(emulator) == {}
        await call(emulator, "pause_trading")
        await until_drained(emulator)
    assert rows(tmp_path, "SELECT source FROM event GROUP BY source HAVING count(*) <> max(sequence)") == []
    assert rows(tmp_path, "SELECT count(*) FROM event") == [(len(answerer.keys),)]
