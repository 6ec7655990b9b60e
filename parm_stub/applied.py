"""What PARM says to be applied where nobody stands behind it: bounded, and open to a new terminal at any time.

Unlike a witness, which may never forget, this may: a terminal that asks for what is forgotten sends it again, and that is
absorbed. So there is always room for who speaks now: when there is too much, the sources that were silent longest go, and
of one source with more than MAXIMUM_RANGES intervals the lower half, which no outcome has room for either.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from fleetwire.intervals import IntervalSet
from fleetwire.outcomes import MAXIMUM_RANGES

SOURCE_LIMIT: Final = 200_000
INTERVAL_LIMIT: Final = 1_000_000


class Applied(OrderedDict[str, IntervalSet]):
    """Interval sets by source, the one that was added to last at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._intervals = 0

    def add(self, source: str, sequence: int) -> None:
        """This event is applied."""
        seen = self.get(source)
        if seen is None:
            seen = self[source] = IntervalSet()
        before = len(seen)
        seen.add(sequence)
        if len(seen) > MAXIMUM_RANGES:
            seen = self[source] = IntervalSet(seen.to_list()[MAXIMUM_RANGES // 2 :])
        self._intervals += len(seen) - before
        self.move_to_end(source)
        while len(self) > SOURCE_LIMIT or self._intervals > INTERVAL_LIMIT:
            _, forgotten = self.popitem(last=False)
            self._intervals -= len(forgotten)
