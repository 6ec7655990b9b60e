"""Retained registers on their way out: of each topic one value at a time, and of those that wait only the newest.

So a value that the broker refused for a while can never overwrite a later one, and what waits is bounded by the topics.
At most UNDER_WAY_LIMIT are on their way to the broker at once, however many are set; the others follow in their order.
"""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Final

from fleetwire.delivery import Delivery, Parcel
from fleetwire.envelope import JSON

UNDER_WAY_LIMIT: Final = 500


class RegisterPublisher:
    """``published`` counts accepted values."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._under_way: dict[str, bytes | None] = {}
        self._waiting: OrderedDict[str, bytes] = OrderedDict()
        self.published = 0

    def set(self, topic: str, payload: bytes) -> None:
        """The register of this topic has this value now."""
        if topic in self._under_way:
            self._under_way[topic] = payload
        elif len(self._under_way) >= UNDER_WAY_LIMIT:
            self._waiting[topic] = payload
        else:
            self._send(topic, payload)

    def _send(self, topic: str, payload: bytes) -> None:
        self._under_way[topic] = None
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
        newer = self._under_way.pop(topic)
        if newer is not None:
            self._waiting[topic] = newer
        if self._waiting:
            self._send(*self._waiting.popitem(last=False))
