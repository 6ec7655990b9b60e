"""The retained birth and will of one instance of a stage: ``host/{stage}/{instance}`` shows whether it runs.

The will says offline when the process dies, a birth follows every connection, and a graceful end says it itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

import msgspec
from msgspec import Struct

from fleetwire.mqtt import MqttError, QueueFull, StageClient, Will
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics

JSON: Final = "application/json"
LEAVE_TIMEOUT_S: Final = 2.0
RETRY_S: Final = 0.5
_log = logging.getLogger(__name__)


class HostState(Struct, frozen=True, kw_only=True):
    """What the register says; ``incarnation`` tells a restart from a reconnect."""

    online: bool
    incarnation: int


class HostPresence:
    """Give ``will`` and ``lost`` to the client, then run ``keep`` as a task of the stage."""

    def __init__(self, settings: StageSettings) -> None:
        self._topic = Topics(settings.topic_root).host(settings.stage, settings.instance)
        self._incarnation = settings.incarnation
        self._lost = asyncio.Event()

    def will(self) -> Will:
        """What the broker says when we die."""
        return Will(topic=self._topic, payload=self._state(online=False), retain=True, content_type=JSON)

    def lost(self, _: MqttError) -> None:
        """The connection ended."""
        self._lost.set()

    async def keep(self, client: StageClient) -> None:
        """Say that we are here, after every connect; until cancelled."""
        while True:
            await client.connected.wait()
            self._lost.clear()
            try:
                client.publish_nowait(self._topic, self._state(online=True), retain=True, content_type=JSON)
            except QueueFull as error:
                _log.warning("%s: the birth waits: %s", self._topic, error)
                await asyncio.sleep(RETRY_S)
                continue
            await self._lost.wait()

    async def leave(self, client: StageClient) -> None:
        """Say that we go; nothing when there is no connection, for then the will has said it."""
        if not client.connected.is_set():
            return
        with contextlib.suppress(TimeoutError, MqttError):
            async with asyncio.timeout(LEAVE_TIMEOUT_S):
                await client.publish(self._topic, self._state(online=False), retain=True, content_type=JSON)

    def _state(self, *, online: bool) -> bytes:
        return msgspec.json.encode(HostState(online=online, incarnation=self._incarnation))
