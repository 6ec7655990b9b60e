"""Retained registers on their way out: of each topic one value at a time, and of those that wait only the newest.

So a value that the broker refused for a while can never overwrite a later one, and what waits is bounded by the topics.
"""

from __future__ import annotations

import functools

from fleetwire.delivery import Delivery, Parcel
from fleetwire.envelope import JSON


class RegisterPublisher:
    """``published`` counts accepted values."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._under_way: dict[str, bytes | None] = {}
        self.published = 0

    def set(self, topic: str, payload: bytes) -> None:
        """The register of this topic has this value now."""
        if topic in self._under_way:
            self._under_way[topic] = payload
            return
        self._under_way[topic] = None
        self._send(topic, payload)

    def _send(self, topic: str, payload: bytes) -> None:
        parcel = Parcel(
            topic=topic,
            payload=payload,
            content_type=JSON,
            retain=True,
            nobody_may_listen=True,
            done=functools.partial(self._accepted, topic),
        )
        self._delivery.send(parcel)

    def _accepted(self, topic: str) -> None:
        self.published += 1
        newer = self._under_way[topic]
        if newer is None:
            del self._under_way[topic]
            return
        self._under_way[topic] = None
        self._send(topic, newer)
