"""The gateway's documents, read whole: what each says by value, whether it is one that the sync stage may have written,
and when it was stored.

A transaction document is whole if it is what :class:`fleetwire.documents.TransactionDocument` describes and nothing more:
under the key that it names, in its one channel, at the deterministic first revision of its body. Any other is there all
the same, with a content hash that nobody has sent.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from hashlib import blake2b, md5
from http import HTTPStatus
from typing import Annotated, Any, Final

import aiohttp
import msgspec
from msgspec import Meta, Raw, Struct, field

from fleetwire import bounded_json
from fleetwire.content import HASH_BYTES, content_hash
from fleetwire.documents import TRANSACTION_CHANNEL
from fleetwire.errors import BadPayload
from fleetwire.identity import Key
from fleetwire.intervals import Interval, IntervalSet
from fleetwire.packed_times import packed_times, unpacked_times
from fleetwire.revisions import revision_id
from fleetwire.witness import ViewRead
from storefleet.packed_reads import pack

SAMPLE_DOCUMENTS: Final = 20
PAGE_DOCUMENTS: Final = 500
"""So many are decoded without a pause of the lab's loop."""
TIME_BYTES: Final = 8
READ_TIMEOUT_S: Final = 60.0
UNREADABLE: Final = (aiohttp.ClientError, OSError, ValueError)
"""What reading a gateway raises: one that does not answer, or whose answer is no page of a feed."""
FEED_QUERY: Final = {
    "include_docs": "true",
    "limit": str(PAGE_DOCUMENTS),
    "filter": "sync_gateway/bychannel",
    "channels": TRANSACTION_CHANNEL,
}
_NOT_JSON: Final = ValueError
"""Half of it, no text, or nested too deep."""
_NOT_WHOLE: Final = b"not whole"

_log = logging.getLogger(__name__)


class Entry(Struct):
    """One document in the feed; ``seq`` is its place."""

    seq: Any
    id: str
    doc: Raw | msgspec.UnsetType = msgspec.UNSET
    deleted: bool = False


class _Page(Struct):
    results: list[Entry]
    last_seq: str


class _Document(Struct, forbid_unknown_fields=True):
    """A transaction document as the gateway gives it out."""

    id: str = field(name="_id")
    revision: str = field(name="_rev")
    channels: list[str]
    type: str
    source: str
    sequence: int
    time: str
    business_day_date: str
    data: Raw
    attempt: Annotated[int, Meta(ge=1)] = 1


class StoredTimes(Struct):
    """When the documents of ``intervals`` were stored: ``packed`` is as :attr:`fleetwire.witness.ViewRead.applied_at_ms`."""

    intervals: list[Interval]
    packed: bytes


_decode_page = bounded_json.Decoder(_Page).decode
_decode_document = bounded_json.Decoder(_Document).decode
_decode_body = bounded_json.Decoder(dict[str, Any]).decode


async def read_gateway(
    url: str,
    look: Callable[[Key, bytes, bytes], None] = lambda *_: None,
    look_at_place: Callable[[Key, object], None] = lambda *_: None,
    look_at_other: Callable[[bytes], None] = lambda _: None,
    *,
    sample_seed: int | None = None,
) -> dict[str, ViewRead]:
    """Every transaction document, by value, by source; one that is listed twice is repeated.

    ``look`` sees each key with its hash and its JSON, ``look_at_place`` with its place in the feed, ``look_at_other`` the
    JSON of each document whose id is no key. With ``sample_seed``, some documents are asked for by their id as well: one
    of which that says something else says what it says there.

    Raises UNREADABLE.
    """
    documents = _Documents(look, look_at_other)
    sample = _Sample(sample_seed)
    async with aiohttp.ClientSession() as client:
        end = await end_of_feed(client, url)
        async for entries, _ in feed_pages(client, url, "0", timeout_s=READ_TIMEOUT_S, end=end):
            for entry in entries:
                if entry.doc is not msgspec.UNSET and not entry.deleted:
                    document = bytes(entry.doc)
                    key = documents.enter(entry.id, document)
                    if key is not None:
                        look_at_place(key, entry.seq)
                        sample.offer(entry.id, document)
        for document_id, document in sample.documents.items():
            shown = await _single(client, url, document_id)
            if _plain(shown) != _plain(document):
                documents.replace(document_id, shown)
    return documents.reads()


async def _single(client: aiohttp.ClientSession, url: str, document_id: str) -> bytes:
    """A document as a client gets it by its id; empty where it gets none. Raises UNREADABLE."""
    timeout = aiohttp.ClientTimeout(total=READ_TIMEOUT_S)
    async with client.get(f"{url}/{document_id}", timeout=timeout) as answer:
        return await answer.read() if answer.status == HTTPStatus.OK else b""


def _plain(document: bytes) -> object:
    try:
        return _decode_body(document)
    except _NOT_JSON:
        return document


async def current_documents(url: str, channel: str) -> list[tuple[str, Raw]]:
    """Every document of a channel by its id, but those that were deleted; raises UNREADABLE."""
    found: dict[str, Raw] = {}
    async with aiohttp.ClientSession() as client:
        end = await end_of_feed(client, url)
        async for entries, _ in feed_pages(client, url, "0", timeout_s=READ_TIMEOUT_S, end=end, channel=channel):
            for entry in entries:
                if entry.doc is not msgspec.UNSET and not entry.deleted:
                    found[entry.id] = entry.doc
                else:
                    found.pop(entry.id, None)
    return list(found.items())


class _Database(Struct):
    update_seq: int


async def end_of_feed(client: aiohttp.ClientSession, url: str) -> int | None:
    """How far the feed goes now: somebody who goes on writing makes no reader read for ever. None: it does not say."""
    timeout = aiohttp.ClientTimeout(total=READ_TIMEOUT_S)
    try:
        async with client.get(f"{url}/", timeout=timeout, raise_for_status=True) as answer:
            return bounded_json.decode(await answer.read(), type=_Database).update_seq
    except UNREADABLE:
        return None


async def feed_pages(
    client: aiohttp.ClientSession,
    url: str,
    since: str,
    *,
    timeout_s: float,
    end: int | None = None,
    channel: str = TRANSACTION_CHANNEL,
) -> AsyncIterator[tuple[list[Entry], str]]:
    """Pages of documents of a channel behind a place in the feed, each with the place that follows, up to the place ``end``
    at least; raises UNREADABLE.

    ``timeout_s`` is for each page.
    """
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    while end is None or not since.isdecimal() or int(since) < end:
        query = {**FEED_QUERY, "channels": channel, "since": since}
        async with client.get(f"{url}/_changes", params=query, timeout=timeout, raise_for_status=True) as answer:
            page = _decode_page(await answer.read())
        if not page.results:
            return
        if page.last_seq == since:
            raise ValueError(f"the gateway's feed does not go on from {since[:80]!r}")
        yield page.results, page.last_seq
        since = page.last_seq


class _Sample:
    """Documents of the feed by id, each as likely as the other; none without a seed."""

    def __init__(self, seed: int | None) -> None:
        self.documents: dict[str, bytes] = {}
        self._draw = random.Random(seed)
        self._size = 0 if seed is None else SAMPLE_DOCUMENTS
        self._offered = 0

    def offer(self, document_id: str, document: bytes) -> None:
        self._offered += 1
        if len(self.documents) >= self._size:
            place = int(self._draw.random() * self._offered)
            if place >= self._size:
                return
            del self.documents[list(self.documents)[place]]
        self.documents[document_id] = document


class _Documents:
    """What was listed so far."""

    def __init__(self, look: Callable[[Key, bytes, bytes], None], look_at_other: Callable[[bytes], None]) -> None:
        self._look = look
        self._look_at_other = look_at_other
        self._hashes: dict[str, dict[int, bytes]] = defaultdict(dict)
        self._repeated: dict[str, Counter[int]] = defaultdict(Counter)

    def enter(self, document_id: str, document: bytes) -> Key | None:
        """One document by its key, which is returned."""
        try:
            key = Key.parse(document_id)
        except BadPayload:
            _log.warning("the gateway holds %.200r in channel %s: no key of an event", document_id, TRANSACTION_CHANNEL)
            self._look_at_other(document)
            return None
        digest = document_hash(document_id, document)
        hashes = self._hashes[key.source]
        if key.sequence in hashes:
            self._repeated[key.source][key.sequence] += 1
        hashes[key.sequence] = digest
        self._look(key, digest, document)
        return key

    def replace(self, document_id: str, shown: bytes) -> None:
        """A client that asks for this document gets this, and not what is listed."""
        key = Key.parse(document_id)
        digest = document_hash(document_id, shown)
        if digest == self._hashes[key.source][key.sequence]:
            digest = blake2b(shown, digest_size=HASH_BYTES, person=_NOT_WHOLE).digest()
        self._hashes[key.source][key.sequence] = digest
        self._look(key, digest, shown)

    def reads(self) -> dict[str, ViewRead]:
        """By source."""
        reads = {source: pack(numbers) for source, numbers in self._hashes.items()}
        for source, again in self._repeated.items():
            reads[source].repeated = [(sequence, count + 1) for sequence, count in sorted(again.items())]
        return reads


def document_hash(document_id: str, document: bytes) -> bytes:
    """Content hash of a transaction document; of one that is not whole, a hash of its bytes."""
    read = _read_document(document)
    if read is not None and _is_whole(document_id, read, document):
        try:
            return content_hash(read.type, read.time, read.business_day_date, bounded_json.decode(read.data))
        except _NOT_JSON:
            pass
    return blake2b(document, digest_size=HASH_BYTES, person=_NOT_WHOLE).digest()


def _read_document(document: bytes) -> _Document | None:
    try:
        return _decode_document(document)
    except _NOT_JSON:
        return _without_other_underscores(document)


def _is_whole(document_id: str, read: _Document, document: bytes) -> bool:
    return (
        read.id == document_id == f"{read.source}.{read.sequence}"
        and read.channels == [TRANSACTION_CHANNEL]
        and (_is_revision_of_text(read, document) or _is_revision_of_values(read, document))
    )


def _is_revision_of_text(read: _Document, document: bytes) -> bool:
    """Whether what stands behind the gateway's own properties is the canonical body as it was hashed: the usual case."""
    head = b'{"_id":"%b","_rev":"%b",' % (read.id.encode(), read.revision.encode())
    if read.attempt > 1:
        head += b'"attempt":%d,' % read.attempt
    if not document.startswith(head):
        return False
    body = md5(b"\x00{", usedforsecurity=False)
    body.update(document[len(head) :])
    return read.revision == f"1-{body.hexdigest()}"


def _is_revision_of_values(read: _Document, document: bytes) -> bool:
    try:
        body = _decode_body(document)
        body.pop("attempt", None)
        return read.revision == revision_id(1, "", body)
    except _NOT_JSON:
        return False


def _without_other_underscores(document: bytes) -> _Document | None:
    """The document without the properties that a gateway keeps for itself, such as ``_attachments``."""
    try:
        body = _decode_body(document)
        kept = {name: value for name, value in body.items() if name in ("_id", "_rev") or name[:1] != "_"}
        return _decode_document(msgspec.json.encode(kept))
    except _NOT_JSON:
        return None


def aligned_times(intervals: list[Interval], told: StoredTimes) -> bytes:
    """The times of ``intervals``; empty where they are not all told."""
    numbers = IntervalSet(told.intervals)
    if len(told.packed) != numbers.count * TIME_BYTES:
        return b""
    if told.intervals == intervals:
        return told.packed
    times_ms = unpacked_times(told.packed)
    by_number = dict(zip(numbers.numbers(), times_ms, strict=True))
    wanted = [by_number.get(number) for number in IntervalSet(intervals).numbers()]
    if None in wanted:
        return b""
    return packed_times([at_ms or 0 for at_ms in wanted])
