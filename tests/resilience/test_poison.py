"""Poison never stops what is behind it: a dead letter at once for an exception, after three deaths for a crash."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from consumers.sync_stage.canonical_documents import Prepared
from consumers.sync_stage.document_writer import DocumentWriter
from consumers.sync_stage.suspects import Suspects, Task
from fleetwire.attempt_record import DEATHS_ALLOWED, FILE_NAME, AttemptRecord
from fleetwire.errors import GatewayError
from fleetwire.gateway_client import BulkRow, GatewayClient, GatewayDocument
from fleetwire.identity import Key, Terminal
from fleetwire.mqtt import Message
from fleetwire.outcomes import Ask, encode
from tests.broker import Broker
from tests.feed.events import Written, control, sale
from tests.feed.laboratory import Laboratory, RunningStage, held, running, truth
from tests.parm_live.running import ROOT, SOURCE, TOPICS, Wire, envelope, process, stage_settings, until, wire
from tests.resilience.poisonous import POISON, SURPRISE
from tests.sync_stage.test_events import TOPIC, canonical

MODULE = "tests.resilience.poisonous"
TILL = Terminal.parse(SOURCE)
OUTCOME = TOPICS.command("outcome", TILL)
LAST_LINE = "ZeroDivisionError: nobody foresaw this"
MOST_DEATHS = DEATHS_ALLOWED + 1
"""The first death is only noticed at the next start; three more are counted."""


def rejections(seen: Wire) -> list[dict[str, Any]]:
    """What the terminal was told that is rejected."""
    return [one for message in seen.seen if message.topic == OUTCOME for one in message.json["rejected"]]


def rejection(sequence: int, reason: str) -> dict[str, Any]:
    """The same of one event, as Poseidon says it."""
    return {"sequence": sequence, "stage": "poseidon", "reason": reason}


def is_told(file: Path) -> bool:
    """Whether the one document that was skipped is marked as told."""
    connection = sqlite3.connect(file)
    rows = connection.execute("SELECT told FROM skipped").fetchall()
    connection.close()
    return bool(rows == [(1,)])


async def deaths_until(
    start: Callable[[], Awaitable[RunningStage]], done: Callable[[RunningStage], Awaitable[bool]]
) -> tuple[int, RunningStage]:
    """Start the stage again whenever it dies, until it has done what is asked; returns how often it died."""
    for deaths in range(MOST_DEATHS + 2):
        stage = await start()
        while stage.process.returncode is None:
            if await done(stage):
                return deaths, stage
    raise AssertionError("it dies again and again")


@pytest.mark.parametrize(
    ("poison", "reason", "detail"),
    [
        pytest.param(sale(SOURCE, 3, 2**63), "schema", "at most 1,000,000,000", id="data that breaks the shape"),
        pytest.param(control(SOURCE, 3, "SIGN_ON", SURPRISE), "stage_error", LAST_LINE, id="raises"),
    ],
)
async def test_a_document_that_poseidon_cannot_apply_is_a_dead_letter_at_once(
    tmp_path: Path, broker: Broker, poison: Written, reason: str, detail: str
) -> None:
    """Those behind it are applied, the terminal is told that it is rejected, and told again when it asks."""
    good = [sale(SOURCE, 1), sale(SOURCE, 2), sale(SOURCE, 4), control(SOURCE, 5, "SIGN_ON")]
    events = sorted([*good, poison], key=lambda event: event.sequence)
    async with (
        wire(broker, "dead-letter/#", OUTCOME.removeprefix(f"{ROOT}/")) as seen,
        Laboratory(tmp_path, broker.url) as lab,
    ):
        await lab.start_gateway()
        poseidon = await lab.start(MODULE, "poseidon", topic_root=ROOT, outcomes=True)
        await lab.write(events)
        await until(lambda: seen.on("dead-letter"), "the dead letter")
        await until(lambda: rejections(seen), "the terminal is told")
        assert rejections(seen) == [rejection(3, reason)]
        (letter,) = seen.on(f"dead-letter/poseidon/{reason}")
        assert detail in str(letter.user_property("detail"))
        await until(lambda: is_told(tmp_path / "poseidon" / "poseidon.sqlite"), "Poseidon remembers that it has told")
        await poseidon.kill()
        poseidon = await lab.start(MODULE, "poseidon", topic_root=ROOT, outcomes=True)
        seen.seen.clear()
        await seen.publish(TOPICS.terminal("ask", TILL), encode(Ask(unresolved=[(2, 3)])))
        await until(lambda: any(m.topic == OUTCOME and m.json.get("answer") for m in seen.seen), "the answer")
        answer = next(m.json for m in seen.seen if m.topic == OUTCOME and m.json.get("answer"))
        read = await poseidon.call("final_read")
    assert (answer["applied"], answer["rejected"]) == ([[2, 2]], [rejection(3, reason)])
    assert held(read["views"]["orders"]) == truth(good)
    assert seen.on("dead-letter") == []  # it was told once, and that is remembered


async def test_a_document_that_kills_poseidon_is_given_up(tmp_path: Path, broker: Broker) -> None:
    """After three counted deaths it is a dead letter ``crash``; everything before and behind it is applied."""
    good = [sale(SOURCE, number) for number in range(1, 40) if number != 20]
    events: list[Written] = sorted([*good, control(SOURCE, 20, "SIGN_ON", POISON)], key=lambda event: event.sequence)
    async with (
        wire(broker, "dead-letter/#", OUTCOME.removeprefix(f"{ROOT}/")) as seen,
        Laboratory(tmp_path, broker.url) as lab,
    ):
        await lab.start_gateway()
        await lab.write(events)

        async def done(poseidon: RunningStage) -> bool:
            await until(
                lambda: poseidon.process.returncode is not None or seen.on("dead-letter"), "a death or a dead letter"
            )
            return bool(seen.on("dead-letter"))

        deaths, poseidon = await deaths_until(
            lambda: lab.start(MODULE, "poseidon", topic_root=ROOT, outcomes=True), done
        )
        await until(lambda: rejections(seen), "the terminal is told")
        read = await poseidon.call("final_read")
    (letter,) = seen.on("dead-letter/poseidon/crash")
    assert f"{SOURCE}.20" in str(letter.user_property("detail"))
    assert deaths == MOST_DEATHS
    assert held(read["views"]["orders"]) == truth(good)
    assert rejections(seen) == [rejection(20, "crash")]


async def test_a_document_that_kills_the_views_is_given_up_by_the_view_that_dies_of_it(tmp_path: Path) -> None:
    """The sales view skips it after three counted deaths and says so; every other event is counted."""
    good = [sale(SOURCE, number) for number in range(1, 30) if number != 7]
    events = sorted([*good, control(SOURCE, 7, "SIGN_ON", POISON)], key=lambda event: event.sequence)
    async with Laboratory(tmp_path) as lab, httpx.AsyncClient(trust_env=False, timeout=None) as http:
        await lab.start_gateway()
        await lab.write(events)

        async def done(views: RunningStage) -> bool:
            try:
                answer = await http.get(f"{views.endpoints['http']}/views")
            except httpx.HTTPError:
                await views.process.wait()
                return False
            sales = answer.json()["sales"]
            return bool(sales["skipped"] == {"crash": 1} and sales["applied_total"] >= 22)

        deaths, views = await deaths_until(lambda: lab.start(MODULE, "views"), done)
        read = await views.call("final_read")
    assert deaths == MOST_DEATHS
    assert held(read["views"]["sales"]) == truth(good)
    assert set(read["views"]) == {"sales", "store_board", "device_inventory"}


async def test_a_message_that_kills_the_sync_stage_is_given_up(tmp_path: Path, broker: Broker) -> None:
    """After three counted deaths it is a dead letter ``crash``; the messages around it are stored."""
    async with wire(broker, "dead-letter/#", "host/#") as seen, Laboratory(tmp_path, broker.url) as lab:
        await lab.start_gateway()

        async def send(sequence: int, operator: str) -> None:
            event = canonical(sequence)
            event["data"]["operator_id"] = operator
            await seen.publish(TOPIC, json.dumps(event).encode(), envelope(sequence))

        settings = stage_settings("sync_stage", broker, tmp_path / "sync", gateway_url=lab.gateway_url)
        deaths = -1
        async with process(settings, "-m", MODULE):
            await until(lambda: seen.on("host/sync_stage"), "the birth of the sync stage")
            for sequence, operator in enumerate(("op-1", POISON, "op-2", "op-3"), start=1):
                await send(sequence, operator)
            await until(lambda: not seen.on("host/sync_stage")[-1].json["online"], "its death")
        while deaths < MOST_DEATHS and not seen.on("dead-letter"):
            async with process(settings, "-m", MODULE) as child:
                await until(
                    lambda child=child: child.returncode is not None or seen.on("dead-letter"), "a death or a letter"
                )
                deaths += 1
                if child.returncode is None:
                    await until_stored(lab, (1, 3, 4))
        assert await lab.client.get(f"{SOURCE}.2") is None
    (letter,) = seen.on("dead-letter/sync_stage/crash")
    assert POISON in letter.payload.decode()
    assert deaths == DEATHS_ALLOWED


async def until_stored(lab: Laboratory, sequences: tuple[int, ...]) -> None:
    """Wait until the gateway holds these events."""
    for sequence in sequences:
        while await lab.client.get(f"{SOURCE}.{sequence}") is None:
            pass


async def test_a_canonical_message_on_which_the_sync_stage_raises_is_a_dead_letter_at_once(
    tmp_path: Path, broker: Broker
) -> None:
    """The ones behind it are stored, and the letter has the last line of the traceback."""
    async with wire(broker, "dead-letter/#") as seen, Laboratory(tmp_path, broker.url) as lab:
        await lab.start_gateway()
        await lab.start(MODULE, "sync_stage", topic_root=ROOT)
        event = canonical(1)
        event["data"]["operator_id"] = SURPRISE
        await seen.publish(TOPIC, json.dumps(event).encode(), envelope(1))
        await seen.publish(TOPIC, json.dumps(canonical(2)).encode(), envelope(2))
        await until(lambda: seen.on("dead-letter"), "the dead letter")
        await until_stored(lab, (2,))
    (letter,) = seen.on("dead-letter/sync_stage/stage_error")
    assert letter.user_property("detail") == LAST_LINE


class IllGateway(GatewayClient):
    """Answers 500 for whatever holds the document of event 2, and calls ``failed``; stores everything else."""

    def __init__(self) -> None:
        self.failed: Callable[[], None] = lambda: None
        self.stored: list[bytes] = []

    async def opened_us(self) -> int:
        """It lives, and goes on living."""
        return 1

    async def get(self, document_id: str) -> GatewayDocument | None:
        """It holds what it has stored, and nothing of event 2."""
        return GatewayDocument(document_id, "1-a", b"") if document_id.encode() in self.stored else None

    async def bulk_docs(self, docs: Sequence[bytes], *, new_edits: bool) -> list[BulkRow]:
        """One answer for all of them."""
        if any(doc.endswith(b".2") for doc in docs):
            self.failed()
            raise GatewayError("500 Internal error: KeyError", status=500, definite=False)
        self.stored += docs
        return [BulkRow(id=doc.decode(), rev="1-a") for doc in docs]


async def test_a_document_on_which_the_gateway_fails_is_a_dead_letter_and_those_behind_it_are_stored(
    tmp_path: Path,
) -> None:
    """It is tried alone, behind the others, and given up once others were stored meanwhile."""
    gateway, refused = IllGateway(), dict[int, str]()
    writer = writer_of(gateway, refused, tmp_path)
    for sequence in (1, 2, 3, 4):
        writer.add(writer_task(sequence))
    later = itertools.count(5)
    gateway.failed = lambda: writer.add(writer_task(next(later)))
    async with running(writer.run()):
        await until(lambda: refused, "the poison is given up")
        await until(lambda: not len(writer), "the others are stored")
    assert {f"{SOURCE}.{sequence}".encode() for sequence in range(1, next(later)) if sequence != 2} == {*gateway.stored}
    assert refused == {2: "stage_error"}


async def test_a_gateway_that_fails_on_everything_costs_no_event(tmp_path: Path) -> None:
    """While nothing at all is stored, no document is to blame."""
    gateway, refused = IllGateway(), dict[int, str]()
    writer = writer_of(gateway, refused, tmp_path)
    writer.add(writer_task(2))
    async with running(writer.run()):
        await until(lambda: writer.counters.gateway_errors > 5, "it has tried more often than is allowed")
        assert not refused
        later = itertools.count(3)
        gateway.failed = lambda: writer.add(writer_task(next(later)))
        await until(lambda: refused, "others are stored in between, so this one is to blame")
    assert len(gateway.stored) >= DEATHS_ALLOWED - 1


def writer_of(gateway: GatewayClient, refused: dict[int, str], folder: Path) -> DocumentWriter:
    """A writer that enters what it gives up."""

    def refuse(task: Task, reason: str, _: str) -> None:
        refused[task.prepared.key.sequence] = reason

    suspects = Suspects(AttemptRecord(folder / FILE_NAME))
    return DocumentWriter(gateway, suspects, asyncio.Lock(), stored=lambda _: None, refused=refuse)


def writer_task(sequence: int) -> Task:
    """A document that is just its id."""
    key = Key(SOURCE, sequence)
    message = Message(
        topic=TOPIC, payload=b"", qos=1, retain=False, duplicate=False, properties=[], content_type=None,
        response_topic=None, correlation_data=None, message_expiry_s=None, packet_id=sequence, connection=1,
    )  # fmt: skip
    return Task((TOPIC, b"", ()), message, Prepared(key, 1, str(key).encode(), "1-a"))
