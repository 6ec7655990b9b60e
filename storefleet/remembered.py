"""What the lab's own session remembers of the events that it hears: every content under every key, and when it came first.

A second content under a key stands beside the first, and so does a message that is not what it claims to be: nothing that
was published under a name is forgotten while there is room. About 24 bytes an event; a number that comes in order costs
an append.
"""

from __future__ import annotations

import enum
from array import array
from bisect import bisect_left
from hashlib import blake2b
from typing import Final

from fleetwire.content import HASH_BYTES
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.mqtt import Message
from fleetwire.packed_times import packed_times
from fleetwire.witness import ViewRead

OTHERS_OF_A_KEY: Final = 8
"""More contents under one key say no more than these."""


class Arrivals:
    """The events of one source by number: when each came first, and its content where ``by_value``."""

    __slots__ = ("hashes", "numbers", "times_ms")

    def __init__(self) -> None:
        self.numbers = array("q")
        self.times_ms = array("q")
        self.hashes = bytearray()

    def add(self, number: int, at_ms: int, content: bytes = b"") -> bool:
        """Enter a number unless it is there; False when it is."""
        numbers = self.numbers
        if not numbers or number > numbers[-1]:
            numbers.append(number)
            self.times_ms.append(at_ms)
            self.hashes += content
            return True
        place = bisect_left(numbers, number)
        if numbers[place] == number:
            return False
        numbers.insert(place, number)
        self.times_ms.insert(place, at_ms)
        self.hashes[place * HASH_BYTES : place * HASH_BYTES] = content
        return True

    def content(self, number: int) -> bytes:
        """The first content under a number that is there."""
        start = bisect_left(self.numbers, number) * HASH_BYTES
        return bytes(self.hashes[start : start + HASH_BYTES])

    def read(self, others: list[tuple[int, bytes]]) -> ViewRead:
        """All of it as a view's read."""
        intervals = IntervalSet()
        for number in self.numbers:
            intervals.add(number)
        return ViewRead(
            intervals=intervals.to_list(),
            hashes=bytes(self.hashes),
            applied_at_ms=packed_times(self.times_ms),
            others=others,
        )


class Came(enum.Enum):
    """What a content is under its key."""

    FIRST = "first"
    AGAIN = "again"
    BESIDE = "beside"
    """Beside another, for the first time."""


class Contents:
    """Canonical events by value; ``remembered`` counts contents, ``sources`` who has any."""

    def __init__(self) -> None:
        self.remembered = 0
        self._arrivals: dict[str, Arrivals] = {}
        self._others: dict[Key, list[bytes]] = {}

    @property
    def sources(self) -> int:
        """How many sources there are."""
        return len(self._arrivals)

    def add(self, key: Key, content: bytes, at_ms: int) -> Came:
        """An event came whole; the same content again changes nothing."""
        arrivals = self._of(key.source)
        if arrivals.add(key.sequence, at_ms, content):
            self.remembered += 1
            return Came.FIRST
        if arrivals.content(key.sequence) == content:
            return Came.AGAIN
        return self.add_other(key, content)

    def add_other(self, key: Key, content: bytes) -> Came:
        """Something else was published under this key."""
        self._of(key.source)
        others = self._others.setdefault(key, [])
        if content in others or len(others) >= OTHERS_OF_A_KEY:
            return Came.AGAIN
        others.append(content)
        self.remembered += 1
        return Came.BESIDE

    def _of(self, source: str) -> Arrivals:
        arrivals = self._arrivals.get(source)
        if arrivals is None:
            arrivals = self._arrivals[source] = Arrivals()
        return arrivals

    def read(self) -> dict[str, ViewRead]:
        """By source; a source of which nothing came whole holds nothing, and has others."""
        others: dict[str, list[tuple[int, bytes]]] = {}
        for key, contents in sorted(self._others.items()):
            others.setdefault(key.source, []).extend((key.sequence, content) for content in contents)
        return {name: arrivals.read(others.get(name, [])) for name, arrivals in sorted(self._arrivals.items())}


class Numbers:
    """Raw events by key alone; ``remembered`` counts intervals, ``sources`` who has any.

    Beyond ``times_limit`` events no times are kept.
    """

    def __init__(self, times_limit: int) -> None:
        self.remembered = 0
        self.times_forgotten = False
        self._keys: dict[str, IntervalSet] = {}
        self._arrivals: dict[str, Arrivals] = {}
        self._times_left = times_limit

    @property
    def sources(self) -> int:
        """How many sources there are."""
        return len(self._keys)

    def add(self, key: Key, at_ms: int) -> None:
        """An event came, perhaps again."""
        keys = self._keys.get(key.source)
        if keys is None:
            keys = self._keys[key.source] = IntervalSet()
            self._arrivals[key.source] = Arrivals()
        before = len(keys)
        if not keys.add(key.sequence):
            return
        self.remembered += len(keys) - before
        if self.times_forgotten:
            return
        self._arrivals[key.source].add(key.sequence, at_ms)
        self._times_left -= 1
        if self._times_left < 0:
            self.times_forgotten = True
            self._arrivals = dict.fromkeys(self._keys, Arrivals())

    def read(self) -> dict[str, ViewRead]:
        """By source."""
        if self.times_forgotten:
            return {name: ViewRead(intervals=keys.to_list(), hashes=b"") for name, keys in self._keys.items()}
        return {name: arrivals.read([]) for name, arrivals in self._arrivals.items()}


def untrue_content(message: Message) -> bytes:
    """What stands for a message that is not the event it claims to be: derived from its bytes, never a sound content's."""
    digest = blake2b(digest_size=HASH_BYTES, person=b"untrue")
    for part in (message.topic, *(text for pair in message.properties for text in pair)):
        digest.update(part.encode(errors="surrogatepass") + b"\0")
    digest.update(message.payload)
    return digest.digest()
