"""What the gateway holds now, by its own changes feed: read only while somebody waits for it, on from the last read.

A document that is replaced or deleted comes again in the feed, so each one's content hash is kept, to be taken away
again: 8 bytes an event, of at most EVENT_LIMIT events, and FAR_LIMIT numbers that lie far beyond those before them.
Of a gateway that holds more nothing is known any more. A database that was begun anew is read anew.
"""

from __future__ import annotations

import asyncio
import logging
from array import array
from collections.abc import Callable
from typing import Any, Final

import aiohttp
import msgspec

from fleetwire import bounded_json
from fleetwire.errors import BadPayload
from fleetwire.held_events import DIGEST_MASK
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.witness import SOURCE_LIMIT
from storefleet.contents import EVENT_LIMIT, Held
from storefleet.gateway_read import document_hash, feed_pages

FAR_LIMIT: Final = 100_000
GAP_LIMIT: Final = 1_000
"""A number so far beyond its source's last is kept apart: it may be anything."""
ANSWER_TIMEOUT_S: Final = 10.0

_log = logging.getLogger(__name__)


class _Database(msgspec.Struct):
    update_seq: int
    server_uuid: str = ""


_decode_database = bounded_json.Decoder(_Database).decode


class _Source:
    """Documents of one source: their numbers, their hashes by number (0 where there is none), and the sum of these."""

    __slots__ = ("digest", "far", "hashes", "numbers")

    def __init__(self) -> None:
        self.numbers = IntervalSet()
        self.hashes: array[int] = array("Q", [0])
        self.far: dict[int, int] = {}
        self.digest = 0

    def exchange(self, sequence: int, content: int) -> None:
        """Put a content in place of what is there; the number must have its place."""
        place: Any = self.far if sequence in self.far else self.hashes
        before = place[sequence]
        place[sequence] = content
        self.digest = (self.digest - before + content) & DIGEST_MASK


class GatewayContents:
    """``held`` follows the feed; ``await catch_up()`` reads to its end."""

    def __init__(self, url: Callable[[], str], *, event_limit: int = EVENT_LIMIT, far_limit: int = FAR_LIMIT) -> None:
        self.held = Held()
        self.overfull = False
        self._url = url
        self._database = ""
        self._since = "0"
        self._sources: dict[str, _Source] = {}
        self._limits = event_limit, far_limit
        self._room, self._far_room = self._limits
        self._reading = asyncio.Lock()

    async def catch_up(self, client: aiohttp.ClientSession) -> None:
        """Read everything up to now. Raises :data:`storefleet.gateway_read.UNREADABLE`."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        async with self._reading:
            async with client.get(f"{self._url()}/", timeout=timeout, raise_for_status=True) as answer:
                database = _decode_database(await answer.read())
            self._recognise(database)
            pages = feed_pages(client, self._url(), self._since, timeout_s=ANSWER_TIMEOUT_S, end=database.update_seq)
            async for entries, following in pages:
                self.take([(entry.id, None if entry.deleted else entry.doc) for entry in entries])
                self._since = following

    def _recognise(self, database: _Database) -> None:
        """Begin anew with a database that is not the one that was read."""
        fell = self._since.isdecimal() and database.update_seq < int(self._since)
        if fell or database.server_uuid != self._database:
            self._database = database.server_uuid
            self._since = "0"
            self._sources.clear()
            self._room, self._far_room = self._limits
            self.overfull = False
            self.held.begin_anew()

    def take(self, documents: list[tuple[str, msgspec.Raw | msgspec.UnsetType | None]]) -> None:
        """Documents by id, in the feed's order; None: it was deleted."""
        touched = set()
        for document_id, document in documents:
            try:
                key = Key.parse(document_id)
            except BadPayload:
                continue
            if document is None:
                self._remove(key)
            elif document is not msgspec.UNSET:
                self._put(key, int.from_bytes(document_hash(document_id, bytes(document))))
            touched.add(key.source)
        for name in touched & self._sources.keys():
            self.held.put(name, self._sources[name].numbers.to_list(), self._sources[name].digest)

    def _put(self, key: Key, content: int) -> None:
        source = self._sources.get(key.source)
        if source is None:
            if len(self._sources) >= SOURCE_LIMIT:
                self._leave()
                return
            source = self._sources[key.source] = _Source()
        if key.sequence not in source.numbers:
            if not self._make_room(source, key.sequence):
                return
            source.numbers.add(key.sequence)
        source.exchange(key.sequence, content)

    def _make_room(self, source: _Source, sequence: int) -> bool:
        wanted = sequence + 1 - len(source.hashes)
        if wanted <= 0:
            return True
        if wanted <= GAP_LIMIT and wanted <= self._room:
            source.hashes.extend([0] * wanted)
            self._room -= wanted
            return True
        if self._far_room <= 0:
            self._leave()
            return False
        self._far_room -= 1
        source.far.setdefault(sequence, 0)
        return True

    def _remove(self, key: Key) -> None:
        source = self._sources.get(key.source)
        if source is not None and key.sequence in source.numbers:
            source.exchange(key.sequence, 0)
            source.numbers = source.numbers.difference(IntervalSet([(key.sequence, key.sequence)]))

    def _leave(self) -> None:
        if not self.overfull:
            _log.error("the gateway holds more documents than the lab can compare: it converges in no wait any more")
        self.overfull = True
