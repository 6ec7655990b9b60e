"""Poseidon as a process, between a real gateway and a real broker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import msgspec

from fleetwire.identity import Terminal
from fleetwire.outcomes import Ask, Outcome, encode, read_outcome
from fleetwire.topics import Topics
from tests.broker import Broker
from tests.feed.events import sale, void
from tests.feed.laboratory import DEADLINE_S, Laboratory, RunningStage, held, truth, until

ROOT = "storefleet/test"
TOPICS = Topics(ROOT)
TILL = Terminal("taco", "west", "s0001", "r01")
MODULE = "consumers.poseidon"


def client_of(broker: Broker) -> aiomqtt.Client:
    """An independent client that waits as long as the tests do."""
    return aiomqtt.Client(broker.host, broker.port, timeout=DEADLINE_S)


async def start(lab: Laboratory) -> RunningStage:
    """Poseidon in this laboratory."""
    return await lab.start(MODULE, "poseidon", topic_root=ROOT, outcomes=True)


async def applied(poseidon: RunningStage, count: int) -> None:
    """Wait until so many events are applied."""

    async def reached() -> bool:
        read = await poseidon.call("final_read")
        return len(held(read["views"]["orders"])) >= count

    await until(reached, f"{count} events applied")


async def next_outcome(client: aiomqtt.Client, wanted: Callable[[Outcome], bool]) -> Outcome:
    """The next outcome on which ``wanted`` agrees."""
    async with asyncio.timeout(DEADLINE_S):
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            outcome = read_outcome(message.payload)
            if wanted(outcome):
                return outcome
    raise AssertionError("the connection ended")


async def asked(client: aiomqtt.Client, ask: Ask, wanted: Callable[[Outcome], bool]) -> Outcome:
    """The first outcome on which ``wanted`` agrees; asked for again and again, for Poseidon may not be connected yet."""
    found: list[Outcome] = []

    async def answered() -> bool:
        await client.publish(TOPICS.terminal("ask", TILL), encode(ask), qos=1)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                found.append(await next_outcome(client, wanted))
        return bool(found)

    await until(answered, "an outcome for what was asked")
    return found[0]


async def test_an_event_in_the_gateway_becomes_an_outcome_a_register_and_an_order(
    tmp_path: Path, broker: Broker
) -> None:
    """From the feed to the terminal's command topic, to HTTP, and to the final read, value by value."""
    events = [sale(TILL.id, 1, 700), sale(TILL.id, 2, 300), void(TILL.id, 3, 300, f"{TILL.id}.2")]
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as observer:
        await observer.subscribe(TOPICS.command("outcome", TILL), qos=1)
        await lab.start_gateway()
        poseidon = await start(lab)
        await lab.write(events)
        outcome = await next_outcome(observer, lambda outcome: outcome.applied == [(1, 3)])
        assert (outcome.by, outcome.answer) == ("poseidon", False)
        final = await poseidon.call("final_read")
        assert held(final["views"]["orders"]) == truth(events)
        times = await poseidon.call("applied_times", {"source": TILL.id})
        assert set(times) == {"1", "2", "3"}
        arrays = await poseidon.call("applied_times")
        assert arrays["sources"][TILL.id] == {"intervals": [[1, 3]], "applied_at_ms": list(times.values())}
        snapshot = await poseidon.call("full_snapshot")
        assert snapshot["handed_on"] == {TILL.id: [[1, 3]]}
        await check_http(poseidon.endpoints["http"])
        assert await poseidon.stop() == 0


async def check_http(url: str) -> None:
    """What Poseidon serves after two sales and a void."""
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=DEADLINE_S) as http:
        register = (await http.get(f"/registers/{TILL.id}")).json()
        cents = [register[name] for name in ("gross_cents", "voided_cents", "expected_cash_cents")]
        assert cents == [1_000, -300, 700]
        assert (await http.get("/registers", params={"store": TILL.store_id})).json() == [register]
        order = (await http.get(f"/orders/{TILL.id}.2")).json()
        assert order["voided_by"] == [f"{TILL.id}.3"]
        assert (await http.get("/health")).json()["feed_connected"] is True
        assert (await http.get("/registers/nobody")).status_code == 404
        assert (await http.get("/orders/nonsense")).status_code == 400
        assert (await http.get("/registers", params={"store": "%"})).status_code == 400
        assert (await http.get("/registers")).status_code == 400


async def test_an_ask_is_answered_from_what_is_durable(tmp_path: Path, broker: Broker) -> None:
    """Also by a new incarnation that has applied nothing itself; what it does not have it does not promise."""
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as terminal:
        await terminal.subscribe(TOPICS.command("outcome", TILL), qos=1)
        await lab.start_gateway()
        first = await start(lab)
        await lab.write([sale(TILL.id, number) for number in (1, 2, 4)])
        await applied(first, 3)
        await first.kill()
        await start(lab)
        answer = await asked(terminal, Ask(unresolved=[(2, 9)]), lambda outcome: outcome.answer)
        assert answer.applied == [(2, 2), (4, 4)]


async def test_the_feed_goes_on_while_the_broker_is_away(tmp_path: Path, make_broker: Callable[..., Broker]) -> None:
    """What is applied meanwhile is told when the broker is there, on asking at the latest."""
    broker = make_broker()
    async with Laboratory(tmp_path, broker.url) as lab:
        await lab.start_gateway()
        poseidon = await start(lab)
        await lab.write([sale(TILL.id, number) for number in range(1, 50)])
        await applied(poseidon, 49)
        broker.restart()
        async with client_of(broker) as terminal:
            await terminal.subscribe(TOPICS.command("outcome", TILL), qos=1)
            await asked(terminal, Ask(unresolved=[(1, 49)]), lambda outcome: outcome.applied == [(1, 49)])


async def test_it_says_that_it_is_there_and_that_it_is_gone(tmp_path: Path, broker: Broker) -> None:
    """Birth, will after a crash, birth again: retained, under its instance's host topic."""
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as observer:
        await observer.subscribe(TOPICS.host("poseidon", 1), qos=1)
        states: list[Any] = []
        await lab.start_gateway()
        poseidon = await start(lab)
        async with asyncio.timeout(DEADLINE_S):
            async for message in observer.messages:
                assert isinstance(message.payload, bytes)
                states.append(msgspec.json.decode(message.payload)["online"])
                if states == [True]:
                    await poseidon.kill()
                elif states[-2:] == [True, False]:
                    break
    assert states == [True, False]


async def test_killed_under_load_it_loses_nothing_and_doubles_nothing(tmp_path: Path, broker: Broker) -> None:
    """kill -9 at any moment of the stream, twice: in the end every event is applied once, with its value."""
    sources = [f"taco.west.s{store:04d}.r01" for store in range(20)]
    events = [sale(source, number, 100 + number) for number in range(1, 151) for source in sources]
    async with Laboratory(tmp_path, broker.url) as lab:
        await lab.start_gateway()
        poseidon = await start(lab)
        writing = asyncio.create_task(lab.write(events))
        for part in (500, 1_500):
            await applied(poseidon, part)
            await poseidon.kill()
            poseidon = await start(lab)
        await writing
        await applied(poseidon, len(events))
        final = await poseidon.call("final_read")
        assert held(final["views"]["orders"]) == truth(events)
        async with httpx.AsyncClient(base_url=poseidon.endpoints["http"], trust_env=False, timeout=DEADLINE_S) as http:
            register = (await http.get(f"/registers/{sources[3]}")).json()
        assert register["sales_count"] == 150
        assert register["gross_cents"] == sum(100 + number for number in range(1, 151))
