"""On somebody else's broker a lab works as on its own, stays below its topic root, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import aiomqtt

from tests.broker import Broker
from tests.external_broker.guarded_broker import (
    PASSWORD,
    USER,
    client_ids,
    guarded_broker,
    options_for,
    password_file,
    retained,
    with_password,
)
from tests.lab.command_line import CommandLine, until

MakeBroker = Callable[..., Broker]


async def topics_until(broker: Broker, *, enough: int) -> set[str]:
    """Topics of the next messages on the broker, whoever sends them."""
    topics: set[str] = set()
    seen = 0
    async with (
        asyncio.timeout(60),
        aiomqtt.Client("127.0.0.1", broker.port, username=USER, password=PASSWORD, identifier="watch") as client,
    ):
        await client.subscribe("#", qos=0)
        async for message in client.messages:
            topics.add(str(message.topic))
            seen += 1
            if seen >= enough:
                break
    return topics


def test_a_lab_stays_below_its_root_and_tidies_up(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """Every topic and client id carries the lab's name, and at the end none of its retained messages is left."""
    broker = guarded_broker(make_broker)
    lab = with_password(command_line).up(*options_for(broker), name="guest")
    lab.wait_for_trade()
    topics = asyncio.run(topics_until(broker, enough=300))
    assert {topic.split("/")[0:2] == ["storefleet", "guest"] for topic in topics} == {True}, topics
    assert retained(broker)
    ids = {client_id for client_id in client_ids(broker) if client_id not in ("watch", "wfb")}
    assert len(ids) > 9
    assert {client_id.startswith("guest.") for client_id in ids} == {True}, ids
    assert command_line.run("tail", "--count", 2).stdout.count("storefleet/guest/") == 2
    assert lab.down()["validity"] == "valid"
    assert retained(broker) == set()


def test_clean_clears_what_a_crash_left(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """After kill -9 of the lab its retained topics lie there until clean, given the password, clears them."""
    broker = guarded_broker(make_broker)
    file = password_file(command_line.folder)
    lab = command_line.up(*options_for(broker), "--broker-password-file", file, name="crashed")
    lab.wait_for_trade(total=10)
    refused = command_line.run("tail", "--count", 1, status=2).stderr.splitlines()
    assert "not authorized" in refused[-1]
    assert refused[-1].endswith("STOREFLEET_BROKER_PASSWORD or --broker-password-file")
    identity = lab.identities()["lab"]
    os.kill(identity.process_id, signal.SIGKILL)
    until(lambda: not identity.alive(), "the lab is gone")
    command_line.until_nothing_is_left(within_s=20.0)
    assert retained(broker)
    report = command_line.run("clean").stdout
    assert "not authorized" in report
    assert "--broker-password-file" in report
    assert "(one that has crashed: storefleet clean)" in command_line.run("up", "--name", "crashed", status=2).stderr
    assert (command_line.home / "labs" / "crashed").is_dir()
    report = command_line.run("clean", "--broker-password-file", file).stdout
    assert "cleared" in report
    assert retained(broker) == set()
    assert not (command_line.home / "labs" / "crashed").exists()


def test_two_labs_on_one_broker(command_line: CommandLine, make_broker: MakeBroker) -> None:
    """Two labs of one fleet share a broker: both are valid, and the end of one leaves the other as it is."""
    broker = guarded_broker(make_broker)
    with_password(command_line)
    labs = [command_line.up(*options_for(broker), name=name, stores=2, rate="20/s") for name in ("first", "second")]
    for lab in labs:
        lab.wait_for_trade(total=20)
    assert labs[0].down()["validity"] == "valid"
    left = retained(broker)
    assert left
    assert {topic.split("/")[1] for topic in left} == {"second"}
    assert labs[1].down()["validity"] == "valid"
    assert retained(broker) == set()
