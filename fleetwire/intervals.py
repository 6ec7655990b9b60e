"""A set of positive integers as closed intervals: what has been seen, in a few bytes however many events flow.

Sequences have no gaps at their source, so the usual set is the one interval ``1..n``. All intervals are disjoint, not
adjacent and ascending. Adding the next number costs O(1), any other O(log n) plus the shift of a list.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Annotated

from msgspec import Meta

from fleetwire.identity import MAXIMUM_SEQUENCE

Number = Annotated[int, Meta(ge=1, le=MAXIMUM_SEQUENCE)]
Interval = tuple[Number, Number]
"""First and last; what decodes it refuses numbers that no event has."""


class IntervalSet:
    """Mutable set of integers; ``first`` and ``last`` of every interval belong to it."""

    __slots__ = ("_firsts", "_lasts")

    def __init__(self, intervals: Iterable[tuple[int, int] | list[int]] = ()) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in intervals:
            self.add_range(first, last)

    def add(self, number: int) -> bool:
        """Add one number; False when it was there already."""
        lasts = self._lasts
        if lasts and number == lasts[-1] + 1:
            lasts[-1] = number
            return True
        if number in self:
            return False
        self.add_range(number, number)
        return True

    def add_range(self, first: int, last: int) -> None:
        """Add every number from ``first`` to ``last``; raises ValueError when they are the wrong way round."""
        if last < first:
            raise ValueError(f"interval {first}..{last} ends before it begins")
        firsts, lasts = self._firsts, self._lasts
        low = bisect_right(lasts, first - 2)
        high = bisect_right(firsts, last + 1)
        if low < high:
            first = min(first, firsts[low])
            last = max(last, lasts[high - 1])
        firsts[low:high] = [first]
        lasts[low:high] = [last]

    def update(self, other: IntervalSet) -> None:
        """Add everything of the other set."""
        for first, last in other:
            self.add_range(first, last)

    def difference(self, other: IntervalSet) -> IntervalSet:
        """What is here and not there, as a new set."""
        result = IntervalSet()
        for first, last in self:
            start = first
            for their_first, their_last in other.overlapping(first, last):
                if their_first > start:
                    result.add_range(start, their_first - 1)
                start = max(start, their_last + 1)
            if start <= last:
                result.add_range(start, last)
        return result

    def intersection(self, other: IntervalSet) -> IntervalSet:
        """What is in both, as a new set."""
        result = IntervalSet()
        for first, last in self:
            for their_first, their_last in other.overlapping(first, last):
                result.add_range(max(first, their_first), min(last, their_last))
        return result

    def overlapping(self, first: int, last: int) -> Iterator[Interval]:
        """Our intervals that touch ``first..last``, ascending, not cut."""
        index = bisect_right(self._lasts, first - 1)
        while index < len(self._firsts) and self._firsts[index] <= last:
            yield self._firsts[index], self._lasts[index]
            index += 1

    def numbers(self) -> Iterator[int]:
        """Every number, ascending."""
        for first, last in self:
            yield from range(first, last + 1)

    def to_list(self) -> list[Interval]:
        """The intervals as plain values, for a message or a file."""
        return list(self)

    @property
    def count(self) -> int:
        """How many numbers there are."""
        return sum(self._lasts) - sum(self._firsts) + len(self._firsts)

    @property
    def last(self) -> int:
        """The greatest number; 0 when empty."""
        return self._lasts[-1] if self._lasts else 0

    def touches(self, number: int) -> bool:
        """Whether the number is here, or next to one that is: adding it makes no new interval."""
        index = bisect_right(self._firsts, number + 1) - 1
        return index >= 0 and self._lasts[index] >= number - 1

    def __contains__(self, number: int) -> bool:
        index = bisect_right(self._firsts, number) - 1
        return index >= 0 and self._lasts[index] >= number

    def __iter__(self) -> Iterator[Interval]:
        return iter(zip(self._firsts, self._lasts, strict=True))

    def __len__(self) -> int:
        """How many intervals there are (see ``count`` for the numbers)."""
        return len(self._firsts)

    def __bool__(self) -> bool:
        return bool(self._firsts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, IntervalSet):
            return NotImplemented
        return self._firsts == other._firsts and self._lasts == other._lasts

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> IntervalSet:
        """An independent copy."""
        result = IntervalSet()
        result._firsts = self._firsts[:]
        result._lasts = self._lasts[:]
        return result

    def __repr__(self) -> str:
        return f"IntervalSet({self.to_list()!r})"
