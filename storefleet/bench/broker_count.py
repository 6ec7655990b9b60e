"""How many PUBLISH packets a broker has received, by its own word: a baseline that did not send all is none."""

from __future__ import annotations

import asyncio
from typing import Final

from fleetwire.errors import FleetError
from fleetwire.mqtt import Endpoint, Message, SessionOptions, StageClient, TopicFilter

TOPIC: Final = "$SYS/broker/publish/messages/received"
SAYS_WITHIN_S: Final = 30.0
"""Mosquitto brings its figures up to date once a second."""


async def until_received(port: int, wanted: int) -> None:
    """Return once the broker has received so many; raises FleetError with the number that it has."""
    newest, enough = 0, asyncio.Event()

    def note(message: Message) -> None:
        nonlocal newest
        newest = int(message.payload)
        if newest >= wanted:
            enough.set()

    options = SessionOptions(client_id="storefleet-bench-count", clean_start=True)
    endpoint = Endpoint(host="127.0.0.1", port=port)
    async with StageClient(endpoint, options, handlers=[(TopicFilter(pattern=TOPIC, qos=0), note)]):
        try:
            async with asyncio.timeout(SAYS_WITHIN_S):
                await enough.wait()
        except TimeoutError as error:
            raise FleetError(f"the broker has received {newest:,} of {wanted:,} publishes") from error
