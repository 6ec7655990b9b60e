"""What our own broker says of itself: messages dropped, clients, messages stored; its ``$SYS`` topics, once a second.

A broker that starts again counts from 0 again, so what it dropped is kept by incarnation and added up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from fleetwire.mqtt import Message
from storefleet.verdict.result import BrokerAccount

DROPPED: Final = "$SYS/broker/publish/messages/dropped"
CONNECTED: Final = "$SYS/broker/clients/connected"
STORED: Final = "$SYS/broker/store/messages/count"
UPTIME: Final = "$SYS/broker/uptime"
"""The one that it publishes each time, also when nothing has changed."""
TOPICS: Final = (DROPPED, CONNECTED, STORED, UPTIME)


class BrokerWatch:
    """Give ``receive`` the messages of TOPICS; ``incarnation`` says how often the broker was started by now."""

    def __init__(self, incarnation: Callable[[], int], before: BrokerAccount | None = None) -> None:
        """``before``: the account of the incarnations that an earlier lab of the run has watched."""
        self._incarnation = incarnation
        self.heard_s = 0.0
        """When it last said anything, by the monotonic clock; 0: never yet."""
        self._dropped: dict[int, int] = {}
        self._most: dict[str, int] = {}
        if before is not None:
            self._dropped[0] = before.dropped
            self._most = {CONNECTED: before.most_clients_connected, STORED: before.most_messages_stored}

    def receive(self, message: Message) -> None:
        """One figure."""
        self.heard_s = time.monotonic()
        text = message.payload[:20]
        if not text.isdigit():
            return
        self._most[message.topic] = max(int(text), self._most.get(message.topic, 0))
        if message.topic == DROPPED:
            self._dropped[self._incarnation()] = int(text)

    def account(self) -> BrokerAccount:
        """All figures as they are now."""
        return BrokerAccount(
            dropped=sum(self._dropped.values()),
            restarts=max(0, self._incarnation() - 1),
            most_clients_connected=self._most.get(CONNECTED, 0),
            most_messages_stored=self._most.get(STORED, 0),
        )
