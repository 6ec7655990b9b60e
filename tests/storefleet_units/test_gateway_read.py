"""Documents read whole: only what the sync stage may have written says what its event says; and when it was stored."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consumers.gateway.store import DocumentStore
from fleetwire.clock import now_ms
from fleetwire.content import content_hash
from fleetwire.identity import Key
from fleetwire.packed_times import packed_times, unpacked_times
from fleetwire.revisions import revision_id
from fleetwire.witness import ViewRead
from storefleet.altered_documents import AlteredDocuments
from storefleet.final_reads import enter_stored_times
from storefleet.gateway_read import UNREADABLE, StoredTimes, aligned_times, document_hash, read_gateway
from storefleet.names_borne import NamesBorne
from storefleet.verdict.history import Ledger
from storefleet.verdict.run_format import FinalRead, Reads
from tests.feed.events import control, sale
from tests.feed.laboratory import Laboratory
from tests.storefleet_units.answering import answering_by_path

TILL = "taco.west.s0001.r01"
TILL_2 = "taco.west.s0001.r02"
GOOD = sale(TILL, 7)
KEY = f"{TILL}.7"


def with_revision(document: dict[str, Any]) -> dict[str, Any]:
    """The same at the revision of what it says now."""
    body = {name: value for name, value in document.items() if name[:1] != "_" and name != "attempt"}
    return {**document, "_rev": revision_id(1, "", body)}


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document,
        lambda document: dict(reversed(document.items())),
        lambda document: {**document, "attempt": 3},
        lambda document: {"attempt": 3, **document},
        lambda document: {**document, "_attachments": {"a": {}}, "_exp": 7},
    ],
    ids=["as written", "another order", "a later sending", "its place", "the gateway's own"],
)
def test_a_whole_document(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """However it is ordered, and whatever a gateway keeps beside it, it says what its event says."""
    assert document_hash(KEY, msgspec.json.encode(change(GOOD.document))) == GOOD.hash


@pytest.mark.parametrize(
    "change",
    [
        {"source": TILL_2}, {"sequence": 8}, {"sequence": "7"}, {"channels": ["transaction", "more"]}, {"channels": []},
        {"channels": "transaction"}, {"attempt": 0}, {"attempt": "2"}, {"attempt": None}, {"more": 1}, {"key": KEY},
        {"_id": f"{TILL}.8"}, {"type": 7}, {"time": None}, {"data": None},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("mends", [False, True], ids=["its old revision", "a revision of its own"])
def test_a_document_that_nobody_wrote(change: dict[str, Any], mends: bool) -> None:
    """It has a content that nobody sent, also where its revision fits what it says; another one for every change."""
    document = {**GOOD.document, **change}
    text = msgspec.json.encode(with_revision(document) if mends else document)
    digest = document_hash(KEY, text)
    assert len(digest) == 8
    assert digest not in (GOOD.hash, bytes(8), document_hash(KEY, msgspec.json.encode({**GOOD.document, "x": 1})))


@pytest.mark.parametrize("revision", ["2-" + "0" * 32, "1-" + "0" * 32, "", "1-x"])
def test_a_revision_of_something_else(revision: str) -> None:
    """A body that says the right thing at a revision that is not its first."""
    assert document_hash(KEY, msgspec.json.encode({**GOOD.document, "_rev": revision})) != GOOD.hash


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 5_000,
        b'{"_id":',
        GOOD.json.replace(b'"SALE"', b'"S\xffLE"'),
        GOOD.json.replace(b'"data":{', b'"data":{"a":"\xff",'),
        GOOD.json.replace(b'"data":{', b'"data":{"a":%b,' % (b"[" * 9_000 + b"]" * 9_000)),
        GOOD.json.replace(b'"_id"', b'"a":%b,"_id"' % (b"[" * 9_000 + b"]" * 9_000)),
    ],
    ids=["none", "list", "object", "no text", "deep", "half", "type no text", "data no text", "deep data", "deep more"],
)
def test_what_is_no_document(text: bytes) -> None:
    """It has a hash all the same, its own; and nothing of it is kept to be shown but what can be read."""
    digest = document_hash(KEY, text)
    assert len(digest) == 8
    assert digest not in (GOOD.hash, document_hash(KEY, text + b" "))
    ledger = Ledger()
    ledger.source(TILL).append(7, GOOD.hash, 0)
    altered = AlteredDocuments(ledger)
    altered.look(Key(TILL, 7), digest, text)
    assert altered.bodies == ({KEY: {}} if text == b"{}" else {})


@pytest.mark.parametrize(
    "answer",
    [b"\xff", b'{"results":[{"id":"\xff"}],"last_seq":"3"}', b'{"results":%b' % (b"[" * 9_000), 500, "again"],
    ids=["no text", "an id that is no text", "deep", "an error", "no end"],
)
async def test_a_feed_that_cannot_be_read(answer: object) -> None:
    """Whatever a gateway answers, reading it ends, with an error of which its readers know."""
    if answer == "again":
        answer = {"results": [{"seq": 1, "id": KEY, "doc": GOOD.document}], "last_seq": "0"}
    query = "include_docs=true&limit=500&filter=sync_gateway/bychannel&channels=transaction&since=0"
    async with answering_by_path({f"/_changes?{query}": answer}) as url:
        with pytest.raises(UNREADABLE):
            await read_gateway(url)


@pytest.mark.parametrize("end", [None, 1], ids=["no end is said", "an end"])
@pytest.mark.parametrize(
    ("shown", "right"),
    [(GOOD.document, True), (404, False), (500, False), (b"\xff", False), ({**GOOD.document, "channels": []}, False)],
    ids=["the same", "404", "500", "no text", "another channel"],
)
async def test_a_document_that_is_asked_for_by_its_id(shown: object, right: bool, end: int | None) -> None:
    """It is what is listed, or it counts as what a client gets; without a seed only the list is read."""
    query = "include_docs=true&limit=500&filter=sync_gateway/bychannel&channels=transaction&since="
    answers: dict[str, object] = {
        f"/_changes?{query}0": {"results": [{"seq": 1, "id": KEY, "doc": GOOD.document}], "last_seq": "1"},
        f"/_changes?{query}1": {"results": [], "last_seq": "1"},
        f"/{KEY}": shown,
    }
    if end is not None:
        answers["/"] = {"update_seq": end}
        answers[f"/_changes?{query}1"] = {"results": [{"seq": 2, "id": f"{TILL}.8"}], "last_seq": "1"}  # for ever
    async with answering_by_path(answers) as url:
        assert (await read_gateway(url))[TILL].hashes == GOOD.hash
        read = (await read_gateway(url, sample_seed=7))[TILL]
    assert (read.intervals, len(read.hashes), read.hashes == GOOD.hash) == ([(7, 7)], 8, right)


def test_an_altered_value_is_its_own_content() -> None:
    """With a revision that fits, a document says what it says."""
    data = {**GOOD.document["data"], "grand_cents": 1}
    other = with_revision({**GOOD.document, "data": data})
    digest = content_hash(other["type"], other["time"], other["business_day_date"], data)
    assert document_hash(KEY, msgspec.json.encode(other)) == digest != GOOD.hash


def test_what_is_kept_of_altered_documents() -> None:
    """All that it says of its event and what no document says; not what the gateway keeps, nor what is as in all."""
    ledger = Ledger()
    ledger.source(TILL).append(7, GOOD.hash, 0)
    altered = AlteredDocuments(ledger)
    document = {**GOOD.document, "source": TILL_2, "more": 1, "attempt": 2}
    altered.look(Key(TILL, 7), b"otherwis", msgspec.json.encode(document))
    assert altered.bodies[KEY].keys() == {"type", "time", "business_day_date", "data", "source", "sequence", "more"}
    altered.bodies.clear()
    altered.look(Key(TILL, 7), b"otherwis", msgspec.json.encode({**document, "channels": ["x"]}))
    assert altered.bodies[KEY]["channels"] == ["x"]


def test_what_is_kept_can_be_written_and_read_again() -> None:
    """However deep a body is nested, it does not cost the reads their file."""
    ledger = Ledger()
    ledger.source(TILL).append(7, GOOD.hash, 0)
    kept = set()
    for depth in range(1, 1_100):
        altered = AlteredDocuments(ledger)
        altered.look(Key(TILL, 7), b"otherwis", b'{"data":%b}' % (b"[" * depth + b"]" * depth))
        reads = Reads(views={"gateway": FinalRead(at_ms=1, altered=altered.bodies)})
        assert msgspec.json.decode(msgspec.json.encode(reads), type=Reads) == reads
        kept.add(bool(altered.bodies))
    assert kept == {True, False}


FOREIGN = ("a.0", "a.1", "x", f"{TILL}.0", f"{TILL}.01", f"{TILL}.\u0663", f"{TILL}.{2**53}", ".7", "0" * 200 + ".9")


async def test_documents_and_when_they_were_stored(tmp_path: Path) -> None:
    """Of a real gateway: every document of an event with its hash and its time, whatever else lies in the channel."""
    written = [sale(TILL, 1), sale(TILL, 2), control(TILL_2, 5, "SIGN_ON")]
    async with Laboratory(tmp_path) as lab:
        gateway = await lab.start_gateway()
        began_ms = now_ms()
        await lab.write(written)
        foreign = [msgspec.json.encode({"_id": name, "channels": ["transaction"]}) for name in FOREIGN]
        assert not [row for row in await lab.client.bulk_docs(foreign, new_edits=True) if row.status]
        events = await read_gateway(lab.gateway_url)
        answer = await gateway.call("stored_times")
    assert answer["sources"].keys() == {TILL, TILL_2}
    enter_stored_times(events, answer)
    assert events[TILL].hashes == written[0].hash + written[1].hash
    assert events[TILL_2].intervals == [(5, 5)]
    for read, count in ((events[TILL], 2), (events[TILL_2], 1)):
        times_ms = unpacked_times(read.applied_at_ms)
        assert (len(times_ms), read.repeated) == (count, [])
        assert began_ms <= min(times_ms) <= max(times_ms) <= now_ms()


async def test_a_document_that_is_listed_twice_is_repeated() -> None:
    """In one pass a gateway lists a document that never changes once."""
    entry = {"seq": 1, "id": KEY, "doc": GOOD.document}
    other = {"seq": 2, "id": f"{TILL}.8", "doc": sale(TILL, 8).document}
    copies = [
        {"seq": 4, "id": f"copy-{number}", "doc": {"source": name}} for number, name in enumerate((TILL, TILL, 7, ""))
    ]
    names = NamesBorne()
    query = "include_docs=true&limit=500&filter=sync_gateway/bychannel&channels=transaction&since="
    answers = {
        f"/_changes?{query}0": {"results": [entry, other, entry], "last_seq": "3"},
        f"/_changes?{query}3": {"results": [*copies, {**entry, "seq": 4}], "last_seq": "4"},
        f"/_changes?{query}4": {"results": [], "last_seq": "4"},
    }
    async with answering_by_path(answers) as url:
        events = await read_gateway(url, look_at_other=names.look)
    assert (events[TILL].intervals, events[TILL].repeated) == ([(7, 8)], [(7, 3)])
    assert names.counts == {TILL: 2, "7": 1}, (
        "what lies under an id that is no key is counted by the name that it bears"
    )


@pytest.mark.parametrize(
    ("told", "times"),
    [
        (StoredTimes([(1, 2), (5, 5)], packed_times([10, 20, 50])), [10, 20, 50]),
        (StoredTimes([(1, 5)], packed_times([10, 20, 30, 40, 50])), [10, 20, 50]),
        (StoredTimes([(1, 2)], packed_times([10, 20])), []),
        (StoredTimes([(1, 2), (5, 5)], packed_times([10, 20])), []),
        (StoredTimes([(1, 2), (5, 5)], b"1"), []),
        (StoredTimes([], b""), []),
    ],
)
def test_times_beside_numbers(told: StoredTimes, times: list[int]) -> None:
    """Times stand beside the numbers that were read, or not at all."""
    assert list(unpacked_times(aligned_times([(1, 2), (5, 5)], told))) == times


def test_a_source_whose_times_are_none_costs_no_other() -> None:
    """One bad row of the answer is that source's own."""
    events = {source: ViewRead(intervals=[(1, 1)], hashes=b"") for source in (TILL, TILL_2)}
    told = {"intervals": [(1, 1)], "packed": packed_times([7])}
    for bad in (7, {}, {**told, "intervals": [[0, 0]]}, {**told, "packed": 5}):
        enter_stored_times(events, {"sources": {"a": bad, TILL: bad, TILL_2: told}})
        assert [bytes(read.applied_at_ms) for read in events.values()] == [b"", packed_times([7])]


async def test_a_gateway_file_from_before_times_were_noted(tmp_path: Path) -> None:
    """It is opened as ever; what it held has no time, what is written from then on has."""
    path = tmp_path / "gateway.sqlite"
    DocumentStore.open(path).close()
    with closing(sqlite3.connect(path)) as database:
        database.execute("ALTER TABLE document DROP COLUMN stored_at_ms")
        row = (1, KEY, "1-x", 0, ",transaction,", None, None, None, b"{}")
        database.execute("INSERT INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        database.commit()
    store = DocumentStore.open(path)
    try:
        assert store.read_stored_times(0, "transaction") == ([], 1)
        assert store.read_stored_times(0, "other") == ([], 1)
    finally:
        store.close()
