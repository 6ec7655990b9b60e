"""Bad input at PARM, each kind once: a dead letter with the original bytes, a word to the terminal, and on it goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetwire.dead_letters import printable
from fleetwire.envelope import Properties
from fleetwire.events import CanonicalEvent
from fleetwire.identity import Terminal
from parm_stub.stage import Parm
from parm_stub.transform import Transformer
from tests.broker import Broker
from tests.parm_live.running import (
    ROOT,
    SOURCE,
    TOPICS,
    Wire,
    envelope,
    process,
    raw_control,
    raw_sale,
    running,
    stage_settings,
    until,
    wire,
)

TOPIC = TOPICS.terminal("transaction", Terminal.parse(SOURCE))
GOOD = raw_control(3)
UNKNOWN_BRAND = "sushi.west.s0001.r01"

#: reason -> topic, payload, user properties, and whether the message has a usable key
BAD_INPUT = {
    "not_utf8": (TOPIC, GOOD.replace(b"op7", b"\xff\xfe"), envelope(3), True),
    "malformed_json": (TOPIC, GOOD[:-1], envelope(3), True),
    "schema": (TOPIC, raw_control(3, action={"name": "DANCE", "cashier": "a", "drawer": "b"}), envelope(3), True),
    "unknown_brand": (
        TOPICS.terminal("transaction", Terminal.parse(UNKNOWN_BRAND)),
        raw_control(3, UNKNOWN_BRAND),
        envelope(3, UNKNOWN_BRAND),
        True,
    ),
    "unknown_type": (TOPIC, raw_control(3, eventKind="poem"), envelope(3), True),
    "totals": (TOPIC, raw_sale(3, total="10.81"), envelope(3, event_type="transaction.retail"), True),
    "topic_mismatch": (TOPIC, raw_control(3, "taco.west.s0002.r01"), envelope(3), True),
    "no_key": (TOPIC, GOOD, [], False),
    "oversized": (TOPIC, b" " * 10_001, envelope(3), True),
}


@pytest.mark.parametrize("reason", BAD_INPUT)
async def test_bad_input_becomes_a_dead_letter(broker: Broker, tmp_path: Path, reason: str) -> None:
    """The letter has the original bytes and says why; the terminal is told if there is a key; the next event passes."""
    topic, payload, properties, has_key = BAD_INPUT[reason]
    source = TOPICS.source_of(topic)
    parm = Parm(stage_settings("parm", broker, tmp_path, options='{"maximum_payload_bytes": 10000}'))
    async with wire(broker, "dead-letter/#", "command/outcome/#", "canonical/transaction/#") as observer, running(parm):
        await observer.publish(topic, payload, properties)
        await observer.send(raw_control(4), 4)
        await until(lambda: observer.on("canonical/transaction"), "the next event")
        await until(lambda: not len(parm._in_hand), "nothing in hand")
        await until(lambda: len(observer.seen) == 2 + has_key, "letter, outcome and next event")
    (letter,) = observer.on("dead-letter")
    assert letter.topic == f"{ROOT}/dead-letter/parm/{reason}/{source}"
    assert letter.payload == payload
    assert letter.user_property("stage") == "parm"
    assert letter.user_property("reason") == reason
    assert letter.user_property("original_topic") == topic
    assert letter.user_property("detail")
    assert letter.user_property("key") == (f"{source}.3" if has_key else None)
    told = [message.json for message in observer.on("command/outcome")]
    rejection = {"sequence": 3, "stage": "parm", "reason": reason}
    assert told == ([{"by": "parm", "applied": [], "rejected": [rejection], "answer": False}] if has_key else [])
    assert parm.witness.rejects == {reason: 1}
    assert 3 not in parm.witness.handed_on.get(source, [])
    assert (3 in parm.witness.taken.get(source, [])) == has_key


async def test_an_unforeseen_exception_becomes_a_dead_letter(broker: Broker, tmp_path: Path) -> None:
    """A transformation that raises something else than BadPayload costs this one event, not the stage."""
    good = Transformer(TOPICS, {"taco": "taco"}).transform

    def broken(topic: str, properties: Properties, payload: bytes, content_type: str | None) -> CanonicalEvent:
        if b'"eventNumber": 1,' in payload:
            raise ZeroDivisionError("a till\x00 without drawers\n" + "x" * 1000)
        return good(topic, properties, payload, content_type)

    parm = Parm(stage_settings("parm", broker, tmp_path), broken)
    async with wire(broker, "dead-letter/#", "canonical/transaction/#") as observer, running(parm):
        await observer.send(raw_control(1), 1)
        await observer.send(raw_control(2), 2)
        await until(lambda: len(observer.seen) == 2, "letter and event")
    (letter,) = observer.on("dead-letter/parm/stage_error")
    detail = letter.user_property("detail")
    assert detail is not None
    assert detail.startswith("ZeroDivisionError: a till? without drawers?xxx")
    assert len(detail) == 500
    assert observer.on("canonical/transaction")[0].json["key"] == f"{SOURCE}.2"


def test_a_detail_holds_only_what_mqtt_can_carry() -> None:
    """Control characters and lone surrogates, which an MQTT string may not hold, become question marks."""
    assert printable("Käse \ud800\x00\n\x7f 1") == "Käse ???? 1"


async def test_a_letter_that_the_broker_finds_too_large_is_cut(
    make_broker: Callable[..., Broker], tmp_path: Path
) -> None:
    """Original bytes near the broker's own limit do not fit with the reasons: the letter is cut and says so."""
    broker = make_broker("max_packet_size 20000").start()
    payload = b"[" + b" " * 19_880
    parm = Parm(stage_settings("parm", broker, tmp_path, options='{"maximum_payload_bytes": 10000}'))
    async with wire(broker, "dead-letter/#") as observer, running(parm):
        await observer.publish(TOPIC, payload, [("sequence", "3")])
        await until(lambda: observer.seen, "the letter")
        await until(lambda: not len(parm._in_hand), "nothing in hand")
    assert observer.seen[0].payload == payload[:4096]
    assert observer.seen[0].user_property("payload_bytes") == str(len(payload))


async def test_an_event_that_kills_the_process_is_given_up_after_three_deaths(broker: Broker, tmp_path: Path) -> None:
    """The events around a poison message pass; it is a dead letter ``crash`` once three repeats have killed PARM."""
    settings = stage_settings("parm", broker, tmp_path)
    script = str(Path(__file__).with_name("poisonous_parm.py"))
    deaths = 0
    async with wire(broker, "dead-letter/#", "canonical/transaction/#", "host/#") as observer:
        async with process(settings, script) as child:
            await until(lambda: observer.on("host/parm"), "PARM's birth")
            await observer.send(raw_control(1), 1)
            await until(lambda: observer.on("canonical"), "the first event")
            await observer.send(raw_control(2, poison="yes"), 2)
            await observer.send(raw_control(3), 3)
            assert await child.wait() == 9
        while deaths < 5 and not observer.on("dead-letter"):
            async with process(settings, script) as child:
                await until(lambda child=child: child.returncode or observer.on("dead-letter"), "death or letter")
                if child.returncode is not None:
                    deaths += 1
                else:
                    await until(
                        lambda: any(message.json["sequence"] == 3 for message in observer.on("canonical")),
                        "the event behind it",
                    )
    assert deaths == 3
    (letter,) = observer.on("dead-letter/parm/crash")
    assert json.loads(letter.payload)["poison"] == "yes"
    assert {message.json["sequence"] for message in observer.on("canonical")} == {1, 3}


async def test_poison_in_one_read_costs_three_deaths_each(broker: Broker, tmp_path: Path) -> None:
    """While the letter of the first is not at the broker, its deaths are remembered when the next one kills PARM."""
    settings = stage_settings("parm", broker, tmp_path)
    script = str(Path(__file__).with_name("poisonous_parm.py"))
    poisons, deaths = 3, 0
    async with wire(broker, "dead-letter/#", "host/#") as observer:
        async with process(settings, script) as child:
            await until(lambda: observer.on("host/parm"), "PARM's birth")
            topic = TOPICS.terminal("transaction", Terminal.parse(SOURCE))
            events = [(raw_control(n, poison="yes"), envelope(n)) for n in range(1, poisons + 1)]
            await asyncio.gather(*(observer.publish(topic, *event) for event in events))
            assert await child.wait() == 9
        crashed: set[bytes] = set()
        while deaths <= 3 * poisons and len(crashed) < poisons:
            async with process(settings, script) as child:
                await until(lambda child=child: child.returncode or letters(observer) == poisons, "death or letters")
                deaths += child.returncode is not None
            crashed = {message.payload for message in observer.on("dead-letter/parm/crash")}
    assert len(crashed) == poisons
    assert deaths == 3 * poisons


def letters(observer: Wire) -> int:
    """How many messages were given up."""
    return len({message.payload for message in observer.on("dead-letter/parm/crash")})
