"""Messages that a stage works on and has not acknowledged; one that comes again joins the work that is under way.

So a connection that breaks again and again, while the next hop takes nothing, cannot multiply what is held: the broker
delivers the same messages once more, and they find their own work. What is acknowledged is every delivery of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, TypeAlias

from fleetwire.mqtt import Message, StageClient

DRAIN_TIMEOUT_S: Final = 1.0
Identity: TypeAlias = tuple[str, bytes, tuple[tuple[str, str], ...]]


class InHand:
    """Work by identity: topic, payload and user properties of a message."""

    def __init__(self, client: StageClient) -> None:
        self._client = client
        self._work: dict[Identity, list[Message]] = {}
        self._emptied = asyncio.Event()

    def __len__(self) -> int:
        return len(self._work)

    def begin(self, message: Message) -> Identity | None:
        """Take a message in hand; None when the same one is in hand already, then there is nothing to do."""
        identity = (message.topic, message.payload, tuple(message.properties))
        deliveries = self._work.get(identity)
        if deliveries is None:
            self._work[identity] = [message]
            return identity
        # Deliveries of an earlier connection can be acknowledged no more.
        deliveries[:] = [one for one in deliveries if one.connection == message.connection]
        deliveries.append(message)
        return None

    def done(self, identity: Identity) -> None:
        """The work is done: acknowledge every delivery of it."""
        for message in self._work.pop(identity):
            self._client.acknowledge(message)
        if not self._work:
            self._emptied.set()

    async def drain(self, timeout_s: float = DRAIN_TIMEOUT_S) -> None:
        """Wait until nothing is in hand, but no longer than this: what is left, the broker still has."""
        self._emptied.clear()
        if self._work:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await self._emptied.wait()
