"""Many times in few bytes: unix milliseconds, 8 bytes each, little-endian, as ``ViewRead.applied_at_ms`` has them."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from typing import Final

END_OF_TIME_MS: Final = 2**53
"""No moment is as late as that; what says so is not believed."""


def packed_times(times_ms: Iterable[int]) -> bytes:
    """The times one after the other."""
    packed = array("q", times_ms)
    if sys.byteorder == "big":
        packed.byteswap()
    return packed.tobytes()


def unpacked_times(packed: bytes) -> array[int]:
    """The opposite; raises ValueError for what is no whole number of times."""
    times_ms = array("q", packed)
    if sys.byteorder == "big":
        times_ms.byteswap()
    return times_ms
