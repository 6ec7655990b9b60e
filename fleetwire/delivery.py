"""Publishing until the broker has taken it: what stands between a stage and the PUBACK that it may rely on.

A PUBACK below 0x80 is acceptance; 0x10 (nobody subscribed) only for messages that nobody has to hear. Anything else,
and a full outgoing queue, is tried again with full-jitter back-off, at most RETRY_CAP_S apart, until it is accepted or
the delivery is closed. How many are in hand is the caller's limit: a delivery holds only what it was given.

The client must not be the one whose messages wait for these PUBACKs: a session that stops reading for back-pressure
would not read them either.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from fleetwire.mqtt.errors import MqttError, PacketTooLarge
from fleetwire.mqtt.reason_codes import NO_MATCHING_SUBSCRIBERS, PACKET_TOO_LARGE, describe
from fleetwire.mqtt.stage_client import StageClient

RETRY_BASE_S: Final = 0.05
RETRY_CAP_S: Final = 2.0
_FIRST_FAILURE: Final = 0x80
_LARGEST_EXPONENT: Final = 10

_log = logging.getLogger(__name__)


class Parcel(Struct, frozen=True, kw_only=True):
    """One QoS 1 message that has to arrive.

    ``nobody_may_listen``: 0x10 is acceptance too. ``done`` is called once, when it is accepted; ``too_large`` instead,
    when the broker will never take it for its size.
    """

    topic: str
    payload: bytes
    done: Callable[[], None]
    too_large: Callable[[], None] | None = None
    properties: Sequence[tuple[str, str]] = ()
    content_type: str | None = None
    retain: bool = False
    nobody_may_listen: bool = False


class Delivery:
    """Parcels of one stage; ``retries`` counts publishes after the first."""

    def __init__(self, client: StageClient, *, retry_cap_s: float = RETRY_CAP_S) -> None:
        self._client = client
        self._retry_cap_s = retry_cap_s
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._closed = False
        self.retries = 0

    def send(self, parcel: Parcel) -> None:
        """Publish now, and again until it is accepted; the parcel's callback says so."""
        self._publish(parcel, 0)

    def close(self) -> None:
        """Try nothing again; parcels that are not accepted stay undone."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _publish(self, parcel: Parcel, attempt: int) -> None:
        try:
            self._client.publish_nowait(
                parcel.topic,
                parcel.payload,
                retain=parcel.retain,
                properties=parcel.properties,
                content_type=parcel.content_type,
                done=functools.partial(self._answered, parcel, attempt),
            )
        except PacketTooLarge:
            self._answered(parcel, attempt, PACKET_TOO_LARGE)
        except MqttError as error:
            _log.debug("%s: %s; trying again", parcel.topic, error)
            self._later(parcel, attempt)

    def _answered(self, parcel: Parcel, attempt: int, reason_code: int) -> None:
        if reason_code < _FIRST_FAILURE and (parcel.nobody_may_listen or reason_code != NO_MATCHING_SUBSCRIBERS):
            parcel.done()
        elif reason_code == PACKET_TOO_LARGE and parcel.too_large is not None:
            parcel.too_large()
        else:
            if attempt == 0:
                _log.debug("%s: the broker answered %s; trying again", parcel.topic, describe(reason_code))
            self._later(parcel, attempt)

    def _later(self, parcel: Parcel, attempt: int) -> None:
        if self._closed:
            return
        self.retries += 1
        span_s = min(self._retry_cap_s, RETRY_BASE_S * 2 ** min(attempt, _LARGEST_EXPONENT))
        # The floor keeps a hundred parcels that nobody takes from becoming a busy loop.
        delay_s = max(RETRY_BASE_S / 2, random.uniform(0, span_s))
        number = self.retries
        loop = asyncio.get_running_loop()
        self._timers[number] = loop.call_later(delay_s, self._again, number, parcel, attempt + 1)

    def _again(self, number: int, parcel: Parcel, attempt: int) -> None:
        del self._timers[number]
        self._publish(parcel, attempt)
