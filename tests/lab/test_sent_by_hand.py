"""What a person sends by hand with Mosquitto's own clients: to the end of a live lab, or refused in words that say why."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt

from fleetwire.envelope import Envelope
from fleetwire.identity import Key
from tests.lab.command_line import DEADLINE_S, CommandLine, Lab, report_of, until
from tests.parm_live.running import UTC_TIME, raw_control

GUEST = "taco.west.s0901.r01"
LACKS_ALL = "user property 'source' is missing (so are sequence, specversion, id, type): add mosquitto_pub -V 5 -D "


def topic_of(lab: Lab, plane: str, kind: str, source: str) -> str:
    """Where messages of this kind lie for a terminal."""
    return f"{lab.description['topic_root']}/{plane}/{kind}/{'/'.join(source.split('.')[:3])}/{source}"


def options(lab: Lab) -> list[str]:
    """To the lab's broker, in MQTT 3.1.1."""
    host, _, port = lab.description["broker"]["address"].rpartition(":")
    return ["-V", "311", "-h", host, "-p", port, "-q", "1"]


def send(lab: Lab, topic: str, payload: bytes) -> None:
    """``mosquitto_pub -V 311``."""
    command = ["mosquitto_pub", *options(lab), "-t", topic, "-s"]
    subprocess.run(command, input=payload, check=True, timeout=DEADLINE_S)


@asynccontextmanager
async def listening(lab: Lab, source: str) -> AsyncIterator[aiomqtt.Client]:
    """A terminal of MQTT 3.1.1 that hears its outcomes."""
    host, _, port = lab.description["broker"]["address"].rpartition(":")
    async with aiomqtt.Client(host, int(port), protocol=aiomqtt.ProtocolVersion.V311) as client:
        await client.subscribe(topic_of(lab, "command", "outcome", source), qos=1)
        yield client


async def outcome(client: aiomqtt.Client) -> dict[str, Any]:
    """The next that it hears."""
    async with asyncio.timeout(DEADLINE_S):
        message = await anext(client.messages)
    assert isinstance(message.payload, bytes)
    heard: dict[str, Any] = json.loads(message.payload)
    return heard


def structured(source: str, sequence: int) -> bytes:
    """A sound event as a peer of MQTT 3.1.1 sends it."""
    envelope = Envelope(Key(source, sequence), "transaction.control", UTC_TIME)
    return envelope.structured(raw_control(sequence, source))


async def test_an_event_of_mqtt_311_goes_to_the_end_and_a_fault_is_told(command_line: CommandLine) -> None:
    """Applied by Poseidon, or rejected by PARM, on the terminal's own topic; trace and verdict say whose it is."""
    lab = command_line.up(stores=1, rate="2/s")
    topic = topic_of(lab, "terminal", "transaction", GUEST)
    async with listening(lab, GUEST) as terminal:
        await asyncio.to_thread(send, lab, topic, structured(GUEST, 1))
        applied = await outcome(terminal)
        faulty = structured(GUEST, 2).replace(b'"specversion":"1.0"', b'"specversion":"0.3"')
        await asyncio.to_thread(send, lab, topic, faulty)
        told = await outcome(terminal)
    assert (applied["by"], applied["applied"], applied["rejected"]) == ("poseidon", [[1, 1]], [])
    rejection = {"sequence": 2, "stage": "parm", "reason": "schema"}
    assert (told["by"], told["applied"], told["rejected"]) == ("parm", [], [rejection])
    rows = await asyncio.to_thread(command_line.json, "trace", f"{GUEST}.1")
    did = {row["stage"]: row["sighting"]["did"] for row in rows["rows"] if row["sighting"]}
    assert (did["parm"], did["sync_stage"], did["poseidon"]) == ("canonical", "stored", "applied")
    refused = await asyncio.to_thread(command_line.json, "trace", f"{GUEST}.2")
    words = "dead letter: schema: member specversion='0.3': only CloudEvents 1.0 is read"
    assert any(words in row["sighting"]["did"] for row in refused["rows"] if row["sighting"])
    await asyncio.to_thread(lab.down, status=1)
    report = " ".join(report_of(lab.run_folder).split())
    assert f"{GUEST}.1 not seen at emulator, first seen at parm" in report
    assert "; a guest's: no terminal of this fleet has that name" in report


def test_what_was_sent_by_hand_is_named_as_such(command_line: CommandLine) -> None:
    """In tail, log, status and verdict, by what it lacks; under a till's name, a guest's, and as a letter of nobody's."""
    lab = command_line.up(stores=1, rate="2/s")
    lab.wait_for_trade(total=4)
    ((till,),) = lab.ledger("SELECT id FROM source JOIN event ON source = number LIMIT 1")
    root = lab.description["topic_root"]
    with command_line.running("tail", f"{root}/terminal/transaction/taco/west/s0901/#", "--count", "1") as tail:

        def shown() -> bool:
            send(lab, topic_of(lab, "terminal", "transaction", GUEST), b'{"eventKind":"staffAction"}')
            return tail.poll() is not None

        until(shown, "tail has shown one")
    assert f"no event: {LACKS_ALL}" in command_line.output
    send(lab, topic_of(lab, "terminal", "transaction", till), b'{"eventKind":"staffAction"}')
    send(lab, f"{root}/dead-letter/mine/broken/unknown", b"hello")
    own = "broken: a message without sender and key: user property 'detail' is missing (so are stage, reason,"
    theirs = "no_key: a message of "
    said = until(
        lambda: next(
            (log for log in [command_line.run("log", lab.run_folder).stdout] if own in log and theirs in log), ""
        ),
        "the log tells both letters",
    )
    assert f" without a key: {LACKS_ALL[:60]}" in said
    verdict = lab.down(status=1)
    (letter,) = (one for one in verdict["letters"] if not one["explained_by"])
    assert (letter["key"].rpartition("/")[2], letter["by_hand"]) == (till, True)
    report = " ".join(report_of(lab.run_folder).split())
    assert LACKS_ALL[:60] in report
    assert "its terminal has sent no such event: it was sent by hand, or by a client of yours" in report
    assert "a guest's, or sent by hand" in report
    for shown_text in (report, said, command_line.output):
        assert "''" not in shown_text
