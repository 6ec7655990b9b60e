"""Content hashes by sequence, packed as a view's read (see :class:`fleetwire.witness.ViewRead`)."""

from __future__ import annotations

from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead


def pack(hashes: dict[int, bytes]) -> ViewRead:
    """Hashes by sequence as a view's read."""
    numbers = sorted(hashes)
    intervals = IntervalSet((number, number) for number in numbers)
    packed = b"".join(hashes[number] for number in numbers)
    return ViewRead(intervals=intervals.to_list(), hashes=packed)
