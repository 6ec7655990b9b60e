"""What a view of events holds now: numbers by source, and the sum of their content hashes, so that it can be compared.

Unlike a witness, which only grows, this begins anew with the view. What it reports has the room of one set of a witness
(SOURCE_LIMIT sources, NAME_LIMIT characters, INTERVAL_LIMIT intervals); sources beyond that are left out and counted,
and those that changed come with the next report.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from fleetwire.intervals import Interval, IntervalSet
from fleetwire.witness import INTERVAL_LIMIT, NAME_LIMIT, SOURCE_LIMIT, Holding

DIGEST_MASK: Final = (1 << 64) - 1


def digest_of(hashes: Iterable[bytes]) -> int:
    """The sum of content hashes, each as a big-endian number, modulo 2**64."""
    return sum(map(int.from_bytes, hashes)) & DIGEST_MASK


class HeldEvents:
    """``sets`` stays the same mapping for good, so that others may read in it; only this class changes it."""

    def __init__(self) -> None:
        self.epoch = 0
        self.sets: dict[str, IntervalSet] = {}
        self._sums: dict[str, int] = {}
        """Of content hashes, as they add up; the modulus is taken when they are told."""
        self._changed: set[str] = set()

    def begin_anew(self) -> None:
        """Nothing is held any more, or it is about to be put in again."""
        self.epoch += 1
        self.sets.clear()
        self._sums.clear()
        self._changed.clear()

    def add(self, source: str, sequence: int, content: bytes) -> None:
        """One event more, that was not held before, with its content hash."""
        numbers = self.sets.get(source)
        if numbers is None:
            numbers = self.sets[source] = IntervalSet()
            self._sums[source] = 0
        numbers.add(sequence)
        self._sums[source] += int.from_bytes(content)
        self._changed.add(source)

    def disturb(self, source: str, content: bytes) -> None:
        """Something else was seen under a number of this source: its sum is not that of its events any more."""
        self.sets.setdefault(source, IntervalSet())
        self._sums[source] = self._sums.get(source, 0) + int.from_bytes(content)
        self._changed.add(source)

    def put(self, source: str, numbers: IntervalSet, digest: int) -> None:
        """All of a source, as a file holds it."""
        self.sets[source] = numbers
        self._sums[source] = digest
        self._changed.add(source)

    def change_again(self, sources: Collection[str]) -> None:
        """A report of these found no way to the lab: they come with the next one."""
        self._changed.update(source for source in sources if source in self.sets)

    def report(self, *, full: bool) -> tuple[Holding, int]:
        """What changed since the last report of changes, or all of it; and how many sources found no room in it."""
        sources = self.sets.keys() if full else self._changed
        lists: dict[str, list[Interval]] = {}
        digests: dict[str, int] = {}
        left_out: set[str] = set()
        intervals, characters = INTERVAL_LIMIT, NAME_LIMIT
        for source in sources:
            numbers = self.sets[source]
            if len(numbers) > intervals or len(source) > characters or len(lists) >= SOURCE_LIMIT:
                left_out.add(source)
                continue
            intervals -= len(numbers)
            characters -= len(source)
            lists[source] = numbers.to_list()
            digests[source] = self._sums[source] & DIGEST_MASK
        if not full:
            self._changed = left_out
        return Holding(epoch=self.epoch, sources=lists, digests=digests), len(left_out)
