"""The two MQTT sessions of a stage that takes events from the broker and says something about them.

``inbound`` hears the work: its client id is fixed and its session outlives a crash by SESSION_EXPIRY_S, so that a
member of a shared subscription that comes back finds what was in flight. It stops reading when its backlog is full.
``outbound`` says everything and hears the registers and asks. They are two because a session that stops reading for
back-pressure would not read the PUBACKs either for which its backlog waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

from fleetwire import vital_tasks
from fleetwire.broker_endpoint import endpoint_of
from fleetwire.host_presence import HostPresence
from fleetwire.mqtt import SessionOptions, StageClient
from fleetwire.settings import StageSettings

SESSION_EXPIRY_S: Final = 30
READY_TIMEOUT_S: Final = 30.0
KEEP_ALIVE_S: Final = 15
OUTBOUND_SUFFIX: Final = "-out"
LARGEST_PACKET: Final = 16 * 1024 * 1024
"""Far above any broker's limit of this lab: what a broker finds too large for us, it drops without a word."""
_OUTGOING_LIMIT: Final = 20_000


class StageSessions:
    """Register handlers with ``inbound.on`` and ``outbound.on``, then ``open``; ``close`` says good-bye.

    ``backlog_limit`` bounds the unacknowledged messages of ``inbound``. ``on_forgotten`` is called when the broker does
    not remember ``inbound`` on a later connection: it died with its memory, or we were away for too long.
    """

    def __init__(
        self,
        settings: StageSettings,
        *,
        backlog_limit: int,
        session_expiry_s: int = SESSION_EXPIRY_S,
        on_forgotten: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_forgotten = on_forgotten
        self._connected_before = False
        self._presence = HostPresence(settings)
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        endpoint = endpoint_of(settings)
        self.inbound = StageClient(
            endpoint,
            _options(settings, "", session_expiry_s=session_expiry_s, receive_maximum=backlog_limit),
            backlog_limit=backlog_limit,
            on_connected=self._inbound_connected,
            ready_timeout_s=READY_TIMEOUT_S,
        )
        self.outbound = StageClient(
            endpoint,
            _options(settings, OUTBOUND_SUFFIX, session_expiry_s=0, receive_maximum=10_000),
            will=self._presence.will,
            on_disconnected=self._presence.lost,
            ready_timeout_s=READY_TIMEOUT_S,
        )

    async def open_outbound(self) -> None:
        """Connect what speaks. Raises MqttError."""
        await self._stack.enter_async_context(self.outbound)

    async def open_inbound(self) -> None:
        """Connect what hears the work; once the broker has taken the subscriptions, say that we are here.

        Raises MqttError, also when a subscription is refused or there is no SUBACK within READY_TIMEOUT_S. From then on
        the process ends when the broker refuses one of the two for good.
        """
        await self._stack.enter_async_context(self.inbound)
        for client in (self.outbound, self.inbound):
            await client.until_subscribed(READY_TIMEOUT_S)
        self._tasks = [
            vital_tasks.start(self.outbound.until_useless(), "outbound.session"),
            vital_tasks.start(self.inbound.until_useless(), "inbound.session"),
            vital_tasks.start(self._presence.keep(self.outbound), "host.presence"),
        ]

    def _inbound_connected(self, session_present: bool) -> None:
        if self._connected_before and not session_present:
            self._on_forgotten()
        self._connected_before = True

    @property
    def lack(self) -> str:
        """Why one of the two has no connection now; empty: both have one."""
        return self.inbound.lack or self.outbound.lack

    @property
    def contested(self) -> str:
        """What speaks for another client that uses the client id of one of the two now; empty: nothing."""
        return self.inbound.contested or self.outbound.contested

    async def close(self) -> None:
        """Say good-bye and disconnect; unacknowledged messages stay with the broker."""
        if self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._presence.leave(self.outbound)
        await self._stack.aclose()


def _options(settings: StageSettings, suffix: str, *, session_expiry_s: int, receive_maximum: int) -> SessionOptions:
    return SessionOptions(
        client_id=(settings.client_id or f"{settings.stage}-{settings.instance}") + suffix,
        username=settings.username or None,
        password=settings.password(),
        clean_start=not session_expiry_s,
        session_expiry_s=session_expiry_s,
        keep_alive_s=KEEP_ALIVE_S,
        receive_maximum=receive_maximum,
        maximum_packet_size=LARGEST_PACKET,
        outgoing_limit=_OUTGOING_LIMIT,
    )
