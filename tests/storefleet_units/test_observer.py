"""What the lab's own session remembers: every content under every name; beyond the bound no read rather than half of one."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from fleetwire.envelope import Envelope
from fleetwire.held_events import digest_of
from fleetwire.identity import Key, Terminal
from fleetwire.mqtt import Message, SessionOptions, StageClient
from fleetwire.topics import Topics
from fleetwire.witness import Holding, ViewRead
from storefleet import observer as module
from storefleet.letter_box import LetterBox
from storefleet.observer import Observer, endpoint
from storefleet.verdict.letter_file import read_letters
from tests.broker import Broker
from tests.storefleet_units.plans import lab_plan

TILL = Terminal("taco", "west", "s0001", "r01")
TOPICS = Topics("storefleet/test")


class AcknowledgingClient(StageClient):
    """A session of which only the acknowledgements are used."""

    def __init__(self) -> None:
        self.acknowledged = 0

    def acknowledge(self, message: Message) -> None:
        """Count it."""
        self.acknowledged += 1


def message_of(topic: str, payload: bytes, properties: Sequence[tuple[str, str]] = ()) -> Message:
    """A message from the broker."""
    return Message(
        topic=topic, payload=payload, qos=1, retain=False, duplicate=False, properties=list(properties),
        content_type=None, response_topic=None, correlation_data=None, message_expiry_s=None, packet_id=1, connection=1,
    )  # fmt: skip


def raw(sequence: int) -> Message:
    """A terminal's own message."""
    envelope = Envelope(Key(TILL.id, sequence), "transaction.retail", "2025-03-01T10:00:00.000Z", 1)
    return message_of(TOPICS.terminal("transaction", TILL), b"", envelope.properties())


def canonical(sequence: int) -> Message:
    """A canonical message."""
    event = {
        "key": f"{TILL.id}.{sequence}", "type": "transaction.control", "source": TILL.id, "sequence": sequence,
        "time": "2025-03-01T10:00:00.000Z", "business_day_date": "2025-03-01",
        "data": {"control_type": "NO_SALE", "operator_id": "op1", "till_id": "t1", "reason_code": ""},
    }  # fmt: skip
    return message_of(TOPICS.canonical("transaction", TILL), msgspec.json.encode(event))


@pytest.mark.parametrize(("view", "message", "gap"), [("raw", raw, 2), ("canonical", canonical, 1)])
def test_what_is_remembered_is_bounded(
    view: str,
    message: Callable[[int], Message],
    gap: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Up to the limit there is a final read; one event more and there is none, which is said once."""
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 3)
    client = AcknowledgingClient()
    observer = Observer(client, TOPICS, remembers=view)
    receive = observer._on_raw if view == "raw" else observer._on_canonical
    for sequence in (1, 1, 1 + gap, 1 + 2 * gap):
        receive(message(sequence))
    found = observer.final_read()[view][TILL.id]
    assert [number for first, last in found.intervals for number in range(first, last + 1)] == [1, 1 + gap, 1 + 2 * gap]
    assert not caplog.records
    for sequence in (90, 95):
        receive(message(sequence))
    assert observer.final_read() == {}
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert client.acknowledged == 6
    assert observer.holding() is None


def test_what_is_remembered_can_be_compared_meanwhile() -> None:
    """By number and content, each time what changed; raw events have no content to compare."""
    observer = Observer(AcknowledgingClient(), TOPICS, remembers="canonical")
    for sequence in (1, 2, 2):
        observer._on_canonical(canonical(sequence))
    held = observer.holding()
    assert held is not None
    hashes = observer.final_read()["canonical"][TILL.id].hashes
    assert (held.sources, held.digests) == ({TILL.id: [(1, 2)]}, {TILL.id: digest_of([hashes[:8], hashes[8:]])})
    assert observer.holding() == Holding()
    observer._on_gap()
    assert observer.holding() is None
    assert Observer(AcknowledgingClient(), TOPICS, remembers="raw").holding() is None


def altered(**changes: object) -> bytes:
    """The payload of a canonical message, some of its fields replaced."""
    return msgspec.json.encode({**msgspec.json.decode(canonical(1).payload), **changes})


def observed(*messages: Message) -> tuple[Observer, dict[str, ViewRead]]:
    """What is remembered of these canonical messages."""
    client = AcknowledgingClient()
    observer = Observer(client, TOPICS, remembers="canonical")
    for message in messages:
        observer._on_canonical(message)
    assert client.acknowledged == len(messages)
    return observer, observer.final_read()["canonical"]


@pytest.mark.parametrize(
    "payload",
    [
        altered(source="nobody"), altered(source="x" * 160), altered(source=f"{TILL.id}.5"), altered(key="x.1"),
        altered(key=f"{TILL.id}.2"), altered(data=0), altered(type="transaction.unheard-of"), altered(time="now"),
        altered(data=0).replace(b'"data":0', b'"data":{"a":1e400}'),
        altered(data=0).replace(b'"data":0', b'"data":{"a":"\xff"}'),
        altered(data={**msgspec.json.decode(canonical(1).payload)["data"], "more": 1}),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_not_the_event_that_it_claims_to_be_stands_beside_it(payload: bytes) -> None:
    """It raises nothing, is never the event's content, and is remembered under the key; the next event is read."""
    _, found = observed(message_of(TOPICS.canonical("transaction", TILL), payload), canonical(1))
    read = found[TILL.id]
    assert read.intervals == [(1, 1)]
    assert [sequence for sequence, _ in read.others if sequence == 1] == [1]
    assert read.hashes not in [content for _, content in read.others]


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xff", b"[]", b"{}", altered(sequence=2**53, key=""), altered(sequence=0, key=""),
        altered(data=0).replace(b'"data":0', b'"data":' + b"[" * 100_000 + b"]" * 100_000),
    ],
    ids=range(7),
)  # fmt: skip
def test_what_bears_no_key_at_all_is_counted_under_its_topics_source(payload: bytes) -> None:
    """Nothing that was published under a till's name is dropped silently; the next event is read."""
    observer, found = observed(message_of(TOPICS.canonical("transaction", TILL), payload), canonical(1))
    assert observer.untrue_messages == {TILL.id: 1}
    assert (found[TILL.id].intervals, found[TILL.id].others) == ([(1, 1)], [])


@pytest.mark.parametrize(
    ("payload", "properties"),
    [
        (altered(sequence=-3, key="x"), []), (b"garbage", [("source", TILL.id)]),
        (altered(sequence=-3, key=7), [("source", "x")]),
    ],
)  # fmt: skip
def test_what_bears_no_key_is_counted_under_every_name_that_it_bears(
    payload: bytes, properties: list[tuple[str, str]]
) -> None:
    """On the topic of a terminal that does not exist, so that only the rest of the message names one of this fleet."""
    ghost = Terminal("taco", "west", "s0001", "zz9")
    observer, _ = observed(message_of(TOPICS.canonical("transaction", ghost), payload, properties))
    assert observer.untrue_messages == dict.fromkeys({ghost.id, TILL.id, *(v for _, v in properties)}, 1)


def test_a_second_content_stands_beside_the_first_and_the_same_again_is_absorbed() -> None:
    """The first is what the view holds; each further content is named once."""
    second = message_of(canonical(1).topic, altered(business_day_date="2025-03-02"))
    _, found = observed(canonical(1), second, canonical(1), second)
    (_, only) = observed(canonical(1))
    read = found[TILL.id]
    assert (read.intervals, read.hashes) == ([(1, 1)], only[TILL.id].hashes)
    assert [sequence for sequence, _ in read.others] == [1]


def test_an_untrue_message_stands_under_every_name_that_it_bears() -> None:
    """The topic of one till, the key of another, and what the properties say."""
    other = Terminal("taco", "west", "s0002", "r01")
    on_other = message_of(TOPICS.canonical("transaction", other), canonical(3).payload)
    _, found = observed(on_other)
    assert {name: [number for number, _ in read.others] for name, read in found.items()} == {
        TILL.id: [3],
        other.id: [3],
    }
    contradicted = message_of(canonical(3).topic, canonical(3).payload, [("sequence", "4")])
    _, found = observed(contradicted)
    assert [number for number, _ in found[TILL.id].others] == [3, 4]
    for name, value in (("id", f"{TILL.id}.4"), ("source", other.id)):
        _, found = observed(message_of(canonical(3).topic, canonical(3).payload, [(name, value)]))
        assert [number for number, _ in found[TILL.id].others] == [3]


def second_content(sequence: int = 1) -> Message:
    """Another content under the key of a canonical message."""
    event = {**msgspec.json.decode(canonical(sequence).payload), "business_day_date": "2025-03-02"}
    return message_of(canonical(1).topic, msgspec.json.encode(event))


@pytest.mark.parametrize("planted", [False, True])
@pytest.mark.parametrize(
    "beside", [second_content(), message_of(canonical(1).topic, altered(time="now"))], ids=["other", "untrue"]
)
def test_what_stands_beside_an_event_shows_meanwhile(beside: Message, planted: bool) -> None:
    """The source's sum is not its events' any more, once and for good; where terminals plant such contents it stays."""
    observer = Observer(AcknowledgingClient(), TOPICS, remembers="canonical", conflicts_planted=planted)
    observer._on_canonical(canonical(1))
    alone = observer.holding()
    assert alone is not None
    told = []
    for _ in range(2):
        observer._on_canonical(beside)
        told.append(observer.holding())
    if planted:
        assert told == [Holding(), Holding()]
    else:
        assert told[0] is not None
        assert told[0].sources == alone.sources
        assert told[0].digests != alone.digests
        assert told[1] == Holding(), "the same again changes nothing"


def test_an_untrue_message_under_a_till_that_sold_nothing_shows_meanwhile() -> None:
    """It holds no event, and yet its contents are not nothing."""
    observer = Observer(AcknowledgingClient(), TOPICS, remembers="canonical")
    observer._on_canonical(message_of(canonical(1).topic, altered(time="now")))
    held = observer.holding()
    assert held is not None
    assert (held.sources, bool(held.digests[TILL.id])) == ({TILL.id: []}, True)


@pytest.mark.parametrize(("view", "message"), [("raw", raw), ("canonical", canonical)])
def test_what_the_broker_has_retained_is_of_another_day(view: str, message: Callable[[int], Message]) -> None:
    """It is acknowledged, and nothing else."""
    client = AcknowledgingClient()
    observer = Observer(client, TOPICS, remembers=view)
    receive = observer._on_raw if view == "raw" else observer._on_canonical
    receive(msgspec.structs.replace(message(1), retain=True))
    assert (client.acknowledged, observer.final_read()) == (1, {view: {}})
    assert not observer.heard_canonical.is_set()


@pytest.mark.parametrize(("stages", "view", "message"), [((), "raw", raw), (("parm",), "canonical", canonical)])
async def test_what_is_published_while_the_lab_listens_counts_though_it_is_to_be_retained(
    make_broker: Callable[..., Broker],
    tmp_path: Path,
    stages: Sequence[str],
    view: str,
    message: Callable[[int], Message],
) -> None:
    """Otherwise whoever sets that flag would be invisible to the lab; what lay there before stays of another day."""
    broker = make_broker()
    broker.start()
    plan = lab_plan(stages=stages)
    where = endpoint(broker.host, broker.port, tls=False)
    events = [
        (one.topic.replace(TOPICS.root, plan.topic_root), one.payload, one.properties) for one in map(message, (1, 2))
    ]
    dead_letter = Topics(plan.topic_root).dead_letter("parm", "schema", TILL.id)
    letters = LetterBox(tmp_path / "letters.jsonl", Topics(plan.topic_root))
    async with StageClient(where, SessionOptions(client_id="somebody")) as client:
        await client.publish(events[0][0], events[0][1], properties=events[0][2], retain=True)
        await client.publish(dead_letter, b"yesterday", retain=True)
        observer = await Observer.open(plan, where, letters, username="", password=None)
        await client.publish(events[1][0], events[1][1], properties=events[1][2], retain=True)
        await client.publish(dead_letter, b"today", retain=True)
        await observer.hear_out()
        found = observer.final_read()[view][TILL.id]
        await observer.close()
    assert found.intervals == [(2, 2)]
    assert [letter.payload for letter in read_letters(tmp_path / "letters.jsonl").heard] == [b"today"]  # type: ignore[union-attr]


@pytest.mark.parametrize("view", ["raw", "canonical"])
def test_sources_are_bounded(view: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As many as the limit are remembered for as long as they like; with one more there is no final read."""
    monkeypatch.setattr(module, "SOURCE_LIMIT", 2)
    observer = Observer(AcknowledgingClient(), TOPICS, remembers=view)

    def hear(register: int, sequence: int) -> None:
        source = f"taco.west.s0001.r{register:02}"
        envelope = Envelope(Key(source, sequence), "transaction.retail", "2025-03-01T10:00:00.000Z", 1)
        if view == "raw":
            observer._on_raw(message_of(f"{TOPICS.root}/terminal/x/{source}", b"", envelope.properties()))
        else:
            untrue = msgspec.json.encode({"key": f"{source}.{sequence}", "source": source, "sequence": sequence})
            observer._on_canonical(message_of(f"{TOPICS.root}/canonical/x/{source}", untrue))

    for register, sequence in ((1, 1), (2, 1), (1, 2), (2, 2)):
        hear(register, sequence)
    assert len(observer.final_read()[view]) == 2
    assert not caplog.records
    hear(3, 1)
    hear(1, 3)
    assert observer.final_read() == {}
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("readable", [True, False])
async def test_letters_that_the_broker_lets_nobody_read_are_no_complete_count(
    make_broker: Callable[..., Broker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, readable: bool
) -> None:
    """Mosquitto grants the subscription all the same; what is published to learn whether all came does not come back."""
    monkeypatch.setattr(module, "HEAR_OUT_TIMEOUT_S", 30.0 if readable else 1.0)
    broker = make_broker()
    plan = lab_plan()
    root = plan.topic_root
    allowed = "topic readwrite #\n" if readable else f"topic write #\ntopic read {root}/canonical/#\n"
    broker.add_line(f"acl_file {broker.write('access', allowed.encode())}")
    broker.start()
    letters = LetterBox(tmp_path / "letters.jsonl", Topics(root))
    where = endpoint(broker.host, broker.port, tls=False)
    observer = await Observer.open(plan, where, letters, username="", password=None)
    await observer.hear_out()
    await observer.close()
    lines_of = [msgspec.json.decode(line) for line in (tmp_path / "letters.jsonl").read_bytes().splitlines()]
    assert any("end_at_ms" in line for line in lines_of) is readable
    assert not any("reason" in line for line in lines_of), "what was published for that is no dead letter"


def test_first_arrivals_are_kept_in_the_order_of_the_numbers() -> None:
    """Whatever order they come in; a repeat changes nothing."""
    _, found = observed(*map(canonical, (5, 2, 2, 9, 3)))
    read = found[TILL.id]
    times_ms = array("q", read.applied_at_ms)
    assert read.intervals == [(2, 3), (5, 5), (9, 9)]
    assert times_ms[2] <= times_ms[0] <= times_ms[3] <= times_ms[1] <= time.time() * 1000
    alone = {number: observed(canonical(number))[1][TILL.id].hashes for number in (2, 3, 5, 9)}
    assert read.hashes == b"".join(alone.values())


def test_times_of_raw_events_are_given_up_before_their_keys_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers without gaps cost nothing, so they are remembered on."""
    monkeypatch.setattr(module, "REMEMBERED_LIMIT", 3)
    observer = Observer(AcknowledgingClient(), TOPICS, remembers="raw")
    for sequence in range(1, 4):
        observer._on_raw(raw(sequence))
    assert len(observer.final_read()["raw"][TILL.id].applied_at_ms) == 24
    observer._on_raw(raw(4))
    read = observer.final_read()["raw"][TILL.id]
    assert (read.intervals, read.applied_at_ms) == ([(1, 4)], b"")


def test_hosts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever publishes under further names is acknowledged and not remembered; known hosts go on being heard."""
    monkeypatch.setattr(module, "HOST_LIMIT", 1)
    client = AcknowledgingClient()
    observer = Observer(client, TOPICS, remembers="")
    for name, payload in (("parm/1", b"a"), ("stranger/1", b"b"), ("parm/1", b"c")):
        observer._on_host(message_of(f"{TOPICS.root}/host/{name}", payload))
    assert observer.hosts == {"parm/1": b"c"}
    assert client.acknowledged == 3


def test_what_a_host_says_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name and a word that are too long together are acknowledged and not remembered."""
    monkeypatch.setattr(module, "HOST_BYTES", 10)
    client = AcknowledgingClient()
    observer = Observer(client, TOPICS, remembers="")
    for name, payload in (("parm/1", b"abcd"), ("parm/1", b"abcde"), ("a-stranger/1", b"")):
        observer._on_host(message_of(f"{TOPICS.root}/host/{name}", payload))
    assert observer.hosts == {"parm/1": b"abcd"}
    assert client.acknowledged == 3
