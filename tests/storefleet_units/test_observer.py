"""What the lab's own session remembers: bounded, and beyond the bound there is no final read rather than half of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from fleetwire.envelope import Envelope
from fleetwire.held_events import digest_of
from fleetwire.identity import Key, Terminal
from fleetwire.mqtt import Message, StageClient
from fleetwire.topics import Topics
from fleetwire.witness import Holding
from storefleet import observer as module
from storefleet.observer import Observer

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
        "key": f"{TILL.id}.{sequence}", "type": "transaction.retail", "source": TILL.id, "sequence": sequence,
        "time": "2025-03-01T10:00:00.000Z", "business_day_date": "2025-03-01", "data": {},
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


@pytest.mark.parametrize(
    "payload",
    [
        b"", b"\xff", b"[]", altered(source="nobody"), altered(source="x" * 160), altered(source=f"{TILL.id}.5"),
        altered(sequence=2**53), altered(sequence=0), altered(data=0).replace(b'"data":0', b'"data":{"a":1e400}'),
        altered(data=0).replace(b'"data":0', b'"data":{"a":"\xff"}'),
        altered(data=0).replace(b'"data":0', b'"data":' + b"[" * 100_000 + b"]" * 100_000),
    ],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_canonical_event_is_not_remembered(payload: bytes) -> None:
    """Whatever somebody publishes is acknowledged and passed over; it raises nothing, and the next event is read."""
    client = AcknowledgingClient()
    observer = Observer(client, TOPICS, remembers="canonical")
    observer._on_canonical(message_of(TOPICS.canonical("transaction", TILL), payload))
    assert observer.final_read() == {"canonical": {}}
    observer._on_canonical(canonical(1))
    assert [*observer.final_read()["canonical"]] == [TILL.id]
    assert client.acknowledged == 2


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
