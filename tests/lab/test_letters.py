"""Dead letters and untrue messages in live labs: each is explained by what was planted, or makes the run invalid."""

from __future__ import annotations

import asyncio
import json
import shlex
import sqlite3
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import aiomqtt
import pytest

from storefleet.verdict.result import NAMED_LETTER_LIMIT
from tests.lab.command_line import REPOSITORY, SHORT_DRAIN, CommandLine, Lab, until

FLEET = REPOSITORY / "examples" / "one_brand.toml"
STRANGER = "nobody.nowhere.s1.r1"
GHOST = "nobody.nowhere.s1.r2"
PLANTED = ("--malformed", 0.1, "--conflicting", 0.1)
KILLS = 2
DEADLINE_S = 60.0
DEARER_EVERY = 5
"""As ``overcharging_parm.py`` has it."""
BURST = 225


def sources(lab: Lab) -> list[str]:
    """Terminals whose first two events have an outcome and were sent as they are."""
    plain = (
        "SELECT id FROM source JOIN outcome ON outcome.source = number WHERE first <= 1 AND last >= 1"
        " AND verdict = 'applied'"
        " AND NOT EXISTS (SELECT 1 FROM planted WHERE planted.source = number AND sequence <= 3)"
        " AND NOT EXISTS (SELECT 1 FROM event WHERE event.source = number AND sequence <= 3 AND expected_reason <> '')"
    )
    with closing(sqlite3.connect(f"file:{lab.run_folder / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
        return sorted({source for (source,) in ledger.execute(plain)})


def planted(lab: Lab, statement: str) -> int:
    """How many rows the ledger has for this."""
    with closing(sqlite3.connect(f"file:{lab.run_folder / 'ledger.sqlite'}?mode=ro", uri=True)) as ledger:
        return int(ledger.execute(statement).fetchone()[0])


def victims(lab: Lab) -> set[str]:
    """Keys of the events that ``overcharging_parm.py`` hands on a second time."""
    rows = lab.ledger(
        "SELECT id, sequence FROM event JOIN source ON number = source"
        " WHERE type = 'transaction.retail' AND sequence % ? = 0",
        DEARER_EVERY,
    )
    return {f"{source}.{sequence}" for source, sequence in rows}


def untrue_messages(lab: Lab) -> dict[str, int]:
    """What the lab has heard behind PARM that bears no key, under each name that it bears; written with each command."""
    lab.pause()
    untrue: dict[str, int] = json.loads((lab.run_folder / "plan.json").read_text(encoding="utf-8"))["untrue_messages"]
    return untrue


def event(source: str, sequence: int, **changes: object) -> bytes:
    """A well-formed canonical event that no till has sent, or with changes not even that."""
    value = {
        "key": f"{source}.{sequence}", "type": "transaction.control", "source": source, "sequence": sequence,
        "time": "2026-01-05T18:00:00.000Z", "business_day_date": "2026-01-05",
        "data": {"control_type": "NO_SALE", "operator_id": "op1", "till_id": "t1", "reason_code": ""},
    }  # fmt: skip
    return json.dumps({**value, **changes}).encode()


def topic_of(lab: Lab, plane: str, source: str, kind: str = "transaction") -> str:
    """Where a terminal's messages of a plane lie."""
    return f"{lab.description['topic_root']}/{plane}/{kind}/{'/'.join(source.split('.')[:3])}/{source}"


@asynccontextmanager
async def client_of(lab: Lab) -> AsyncIterator[aiomqtt.Client]:
    """Somebody on the lab's broker."""
    host, _, port = lab.description["broker"]["address"].rpartition(":")
    async with aiomqtt.Client(host, int(port), protocol=aiomqtt.ProtocolVersion.V5) as client:
        yield client


async def publish_untruths(lab: Lab, first: str, second: str) -> None:
    """A second content, another till's topic, a key that contradicts, a till's name in a ghost's message without any key,
    nothing readable; and a stranger's own garbage.

    One of them is to be retained, which hides it from nobody.
    """
    async with client_of(lab) as client:
        on_first = topic_of(lab, "canonical", first)
        await client.publish(on_first, event(first, 1), qos=1, retain=True)
        await client.publish(on_first, event(second, 2), qos=1)
        await client.publish(on_first, event(first, 3, key=f"{first}.1"), qos=1)
        await client.publish(topic_of(lab, "canonical", GHOST), event(first, -3, key="x"), qos=1)
        await client.publish(topic_of(lab, "canonical", second), b"garbage", qos=1)
        await client.publish(topic_of(lab, "canonical", STRANGER), b"garbage", qos=1)


def put_copy(lab: Lab, key: str) -> None:
    """Store a terminal's document once more, under an id that is no key."""
    gateway = lab.description["gateway"]
    open_url = build_opener(ProxyHandler({})).open
    with open_url(f"{gateway}/{key}", timeout=10) as answer:
        document = {name: value for name, value in json.load(answer).items() if name[0] != "_"}
    headers = {"Content-Type": "application/json"}
    with open_url(
        Request(f"{gateway}/copy", method="PUT", data=json.dumps(document).encode(), headers=headers), timeout=10
    ) as answer:
        assert answer.status == 201


def codes(verdict: dict[str, Any]) -> set[str]:
    """What is wrong, by its code."""
    return {reason["code"] for reason in verdict["invalid"]}


class Heard:
    """Every dead letter on the broker, as an independent client hears it."""

    def __init__(self, lab: Lab) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        self.of_stranger: Counter[tuple[str, str]] = Counter()
        self.keys: set[str] = set()
        """Of all events that a letter has named."""
        self._lab = lab

    async def __aenter__(self) -> Heard:
        ready = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(ready), name="dead letters")
        await ready.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen(self, ready: asyncio.Event) -> None:
        root = f"{self._lab.description['topic_root']}/dead-letter/"
        async with client_of(self._lab) as client:
            await client.subscribe(f"{root}#", qos=1)
            ready.set()
            async for message in client.messages:
                stage, reason, source = str(message.topic).removeprefix(root).split("/")
                if (stage, reason) != ("lab", "read-back"):  # which is no letter, by the table of topics
                    self.counts[stage, reason] += 1
                    self.of_stranger[stage, reason] += source == STRANGER
                    self.keys.add(dict(getattr(message.properties, "UserProperty", [])).get("key", ""))

    async def until_more(self, stage: str, count: int = 1) -> None:
        """Wait for so many further letters of a stage."""
        await self.until(stage, self.of(stage) + count)

    async def until(self, stage: str, count: int, reason: str = "") -> None:
        """Wait for so many letters of a stage in all, or of one reason."""
        async with asyncio.timeout(DEADLINE_S):
            while self.of(stage, reason) < count:  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.001)

    async def until_named(self, keys: set[str]) -> None:
        """Wait for a letter of each of these events."""
        async with asyncio.timeout(DEADLINE_S):
            while not keys <= self.keys:  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.001)

    def of(self, stage: str, reason: str = "") -> int:
        """How many it has posted, or of one reason."""
        return sum(
            count for (name, code), count in self.counts.items() if name == stage and (not reason or code == reason)
        )


async def test_a_lab_that_ends_at_parm_finds_what_was_published_under_a_tills_name(command_line: CommandLine) -> None:
    """Corrupted under every name that it bears, or counted; planted conflicts and strangers are no harm."""
    lab = command_line.up("--without", "sync_stage", "--drain", SHORT_DRAIN, *PLANTED, stores=8)
    lab.wait_for_trade(total=150)
    first, second = until(lambda: sources(lab)[:2] if len(sources(lab)) > 1 else None, "two plain tills have traded")
    until(lambda: planted(lab, "SELECT count(*) FROM planted WHERE kind = 'conflict'"), "a conflict")
    lab.pause()
    lab.until_unresolved()
    await publish_untruths(lab, first, second)
    heard = {first: 1, second: 1, GHOST: 1, STRANGER: 1}
    until(lambda: untrue_messages(lab) == heard, "the lab has heard all of it")
    verdict = await asyncio.to_thread(lab.down, status=1)
    assert {one["name"] for one in verdict["classes"]["corrupted"]["examples"]} == {
        f"{first}.{1}", f"{first}.{2}", f"{first}.{3}", f"{second}.{2}",
    }  # fmt: skip
    shown = {one["name"]: one["found"] for one in verdict["classes"]["corrupted"]["examples"]}
    assert shown[f"{first}.1"].startswith("contents ")
    assert " and " in shown[f"{first}.1"]
    assert codes(verdict) == {"corrupted", "untrue_messages"}
    (untrue,) = (one["detail"] for one in verdict["invalid"] if one["code"] == "untrue_messages")
    assert untrue.startswith("2 that bear no key (canonical)")
    assert verdict["guests"]["canonical"] == {"untrue": 2}


async def test_a_lab_that_ends_at_the_gateway_finds_it_among_the_dead_letters(command_line: CommandLine) -> None:
    """Each with its key, or its topic, its stage and its reason; what was planted is explained, strangers are guests."""
    lab = command_line.up(
        "--without", "poseidon", "--without", "olympus_dgs", "--drain", SHORT_DRAIN, *PLANTED, stores=8
    )
    lab.wait_for_trade(total=150)
    first, second = until(lambda: sources(lab)[:2] if len(sources(lab)) > 1 else None, "two plain tills have traded")
    lab.pause()
    lab.until_unresolved()
    await asyncio.to_thread(put_copy, lab, f"{first}.1")
    async with Heard(lab) as heard:
        await publish_untruths(lab, first, second)
        async with client_of(lab) as client:
            await client.publish(topic_of(lab, "terminal", first, "heartbeat"), b"garbage", qos=1)
        await heard.until("sync_stage", 5)
        await heard.until("parm", 1)
    verdict = await asyncio.to_thread(lab.down, status=1)
    against = {
        (one["key"], one["stage"], one["reason"]) for one in verdict.get("letters", []) if not one["explained_by"]
    }
    assert against == {
        (f"{first}.1", "sync_stage", "key_conflict"),
        (topic_of(lab, "canonical", first), "sync_stage", "topic_mismatch"),
        (f"{first}.3", "sync_stage", "schema"),
        (topic_of(lab, "canonical", GHOST), "sync_stage", "schema"),
        (topic_of(lab, "canonical", second), "sync_stage", "malformed_json"),
        (topic_of(lab, "terminal", first, "heartbeat"), "parm", "malformed_json"),
    }
    (conflict,) = (one for one in verdict["letters"] if one["key"] == f"{first}.1")
    assert "time" in {field["path"] for field in conflict["fields"]}
    explained = {(one["stage"], one["explained_by"]) for one in verdict["letters"] if one["explained_by"]}
    assert {stage for stage, _ in explained} == {"parm", "sync_stage"}
    assert verdict["guests"] == {"sync_stage": {"malformed_json": 1}}
    assert "dead_letters" in codes(verdict)
    (untrue,) = (one["detail"] for one in verdict["invalid"] if one["code"] == "untrue_messages")
    assert untrue == f"1 that bear no key (gateway), the first under the name of {first}"


async def test_a_parm_that_says_it_again_one_cent_dearer_is_found(command_line: CommandLine) -> None:
    """Every letter with its key, stage, reason and the field; no view shows anything wrong."""
    fleet = command_line.folder / "fleet.toml"
    fleet.write_text(FLEET.read_text(encoding="utf-8").replace("stores = 8", "stores = 3"), encoding="utf-8")
    command = shlex.join([sys.executable, str(Path(__file__).with_name("overcharging_parm.py"))])
    lab = command_line.up("--fleet", fleet, "--stage", f"parm={command}", rate="0/s")
    async with Heard(lab) as heard:
        await asyncio.to_thread(lab.burst, BURST)
        dearer = victims(lab)
        assert 16 <= len(dearer) <= NAMED_LETTER_LIMIT // 2
        await heard.until_named(dearer)
        await asyncio.to_thread(lab.until_unresolved)
        verdict = await asyncio.to_thread(lab.down, status=1)
    assert codes(verdict) == {"dead_letters"}
    letters = verdict["letters"]
    assert {letter["key"] for letter in letters} == dearer
    said = sum(letter["count"] for letter in letters)  # one that is sent again is handed on twice once more
    assert said == heard.of("sync_stage", "key_conflict") == verdict["dead_letters"]["sync_stage"]["key_conflict"]
    for letter in letters:
        assert (letter["stage"], letter["reason"], letter["explained_by"]) == ("sync_stage", "key_conflict", "")
        (field,) = letter["fields"]
        assert field["path"] == "data.grand_cents"
        assert int(field["found"]) == int(field["expected"]) + 1
    report = (lab.run_folder / "report.txt").read_text(encoding="utf-8")
    assert "Dead letters" in report
    assert letters[0]["key"] in report


def test_a_parm_that_rejects_and_posts_no_letter_is_found(command_line: CommandLine) -> None:
    """Everything else is as it should be: the damaged events are rejected for the right reasons, and counted."""
    command = shlex.join([sys.executable, str(Path(__file__).with_name("letterless_parm.py"))])
    lab = command_line.up(*PLANTED[:2], "--stage", f"parm={command}", stores=2, rate="40/s")
    until(lambda: planted(lab, "SELECT count(*) FROM outcome WHERE verdict = 'rejected'"), "an event is rejected")
    verdict = lab.down(status=1)
    assert codes(verdict) == {"rejected_without_letter"}


@pytest.mark.timeout(240)
async def test_letters_are_counted_as_they_were_heard_and_explained_by_what_was_planted(
    command_line: CommandLine,
) -> None:
    """PARM is killed each time right after a letter, before it can report it; garbage of a stranger harms nobody.

    What PARM was killed over it posts again, also the stranger's: each letter counts as often as the broker carried it.
    """
    lab = command_line.up(*PLANTED, rate="0/s")
    async with Heard(lab) as heard:
        await asyncio.to_thread(command_line.run, "trade", "--name", lab.name, "--rate", "60/s")
        async with client_of(lab) as client:
            await client.publish(topic_of(lab, "terminal", STRANGER), b"garbage", qos=1)
        for _ in range(KILLS):
            await heard.until_more("parm")
            await asyncio.to_thread(lab.kill, "parm-1")
        await heard.until_more("sync_stage")
        verdict = await asyncio.to_thread(lab.down)
    assert verdict["dead_letters"] == nested(heard.counts)
    assert verdict["dead_letters_at_least"] is False
    assert verdict["guests"] == nested(+heard.of_stranger)
    assert set(+heard.of_stranger) == {("parm", "unknown_brand")}
    assert all(letter["explained_by"] for letter in verdict["letters"])
    commands = json.loads((lab.run_folder / "plan.json").read_text(encoding="utf-8"))["commands"]
    assert [(one["what"], one["params"]) for one in commands] == [("trade", {"rate_per_s": 60.0})]


def nested(counts: Counter[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Counts by stage and reason."""
    result: dict[str, dict[str, int]] = {}
    for (stage, reason), count in counts.items():
        result.setdefault(stage, {})[reason] = count
    return result
