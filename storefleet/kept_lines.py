"""Lines for a reader who may stand still: nobody who writes them waits for him.

``storefleet up | less`` whose reader turns no page, or a terminal held by Ctrl-S, would otherwise hold the lab.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

from storefleet.endings import takes_more

KEPT_LIMIT: Final = 1_000
"""Lines that are kept until they can be told; of more the oldest go, and it is said how many. The run's log has them."""


class KeptLines:
    """Tells lines in order as soon as their standard stream takes them."""

    def __init__(self, tell: Callable[[str], None], stream: TextIO) -> None:
        self._tell = tell
        self._stream = stream
        self._kept: deque[str] = deque()
        self._dropped = 0

    def say(self, text: str) -> None:
        """Tell it now or later."""
        self._kept.append(text)
        if len(self._kept) > KEPT_LIMIT:
            self._kept.popleft()
            self._dropped += 1
        self.tell()

    def tell(self) -> bool:
        """Tell what is kept; False while the reader stands still."""
        while self._kept and takes_more(self._stream):
            if self._dropped:
                self._tell(f"({self._dropped} lines are left out: nobody read them)")
                self._dropped = 0
            self._tell(self._kept.popleft())
        return not self._kept and takes_more(self._stream)
