"""Wakes the feeds that a commit concerns, and only those; a feed that waits costs nothing until then.

A waiting feed has read everything up to the moment it began to wait. It is told the first sequence that concerns it,
so it never scans what was written for others in between.
"""

import asyncio
from collections.abc import Iterable, Mapping
from types import TracebackType

from consumers.gateway.errors import Refusal

MAXIMUM_FEEDS = 1_000


class Subscription:
    """One feed's place in the list of those that wait; use as a context manager.

    `first_sequence` is the lowest sequence announced since the last `rest()`, None when there was nothing.
    """

    __slots__ = ("_channels", "_event", "_wakeups", "first_sequence")

    def __init__(self, wakeups: "Wakeups", channels: tuple[str, ...] | None) -> None:
        self._wakeups = wakeups
        self._channels = channels
        self._event = asyncio.Event()
        self.first_sequence: int | None = None

    def __enter__(self) -> "Subscription":
        self._wakeups.add(self, self._channels)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wakeups.remove(self, self._channels)

    def rest(self) -> None:
        """Forgets what was announced; call it before reading, so that nothing falls between reading and waiting."""
        self.first_sequence = None
        if not self._wakeups.closing:
            self._event.clear()

    async def wait(self, timeout_s: float) -> bool:
        """True when a change was announced or the gateway closes, False after the timeout."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._event.wait()
        except TimeoutError:
            return False
        return True

    def announce(self, sequence: int) -> None:
        """A change that concerns this feed has been committed."""
        if self.first_sequence is None or sequence < self.first_sequence:
            self.first_sequence = sequence
        self._event.set()

    def release(self) -> None:
        """Ends the wait without a change: the gateway closes."""
        self._event.set()


class Wakeups:
    """All open feeds, by the channels they follow."""

    def __init__(self) -> None:
        self.closing = False
        self._everything: set[Subscription] = set()
        self._by_channel: dict[str, set[Subscription]] = {}
        self._open = 0

    @property
    def open_feeds(self) -> int:
        """How many feeds are subscribed now."""
        return self._open

    def subscribe(self, channels: tuple[str, ...] | None) -> Subscription:
        """A place for a feed of these channels, None for all. Raises Refusal 503 when too many are open."""
        if self._open >= MAXIMUM_FEEDS:
            raise Refusal(503, "Replication limit exceeded. Try again later.")
        return Subscription(self, channels)

    def add(self, subscription: Subscription, channels: tuple[str, ...] | None) -> None:
        """Called by the subscription when it opens."""
        self._open += 1
        if self.closing:
            subscription.release()
        for followers in self._followers(channels):
            followers.add(subscription)

    def remove(self, subscription: Subscription, channels: tuple[str, ...] | None) -> None:
        """Called by the subscription when it ends."""
        self._open -= 1
        for followers in self._followers(channels):
            followers.discard(subscription)
        for channel in channels or ():
            if not self._by_channel[channel]:
                del self._by_channel[channel]

    def announce(self, first_sequences: Mapping[str, int], first_sequence: int) -> None:
        """Wakes who follows one of these channels; each channel comes with its first sequence in the commit."""
        for subscription in self._everything:
            subscription.announce(first_sequence)
        for channel in self._by_channel.keys() & first_sequences.keys():
            for subscription in self._by_channel[channel]:
                subscription.announce(first_sequences[channel])

    def close(self) -> None:
        """Ends every wait, now and later: feeds finish their answers."""
        self.closing = True
        for followers in (self._everything, *self._by_channel.values()):
            for subscription in followers:
                subscription.release()

    def _followers(self, channels: tuple[str, ...] | None) -> Iterable[set[Subscription]]:
        if channels is None:
            return (self._everything,)
        return [self._by_channel.setdefault(channel, set()) for channel in dict.fromkeys(channels)]
