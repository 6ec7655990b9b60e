"""Serves the gateway on a socket that is bound already, until it is cancelled.

It installs no signal handlers. On cancellation open feeds finish their answers, requests under way are answered, and
after at most three seconds the rest is dropped.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from consumers.gateway.application import create_application
from consumers.gateway.database import DocumentDatabase
from consumers.gateway.feed_options import MINIMUM_HEARTBEAT_MS

GRACE_S = 3
"""Longer than a busy machine stalls; with closing, less than the five seconds that a lab gives its stages."""
CLOSING_S = 1
MAXIMUM_CONNECTIONS = 5_000


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    async def main_loop(self) -> None:
        """Waits for the end; the original looks ten times a second, also for things that are switched off here."""
        await self.ending.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the process."""
        yield


async def serve(
    database: DocumentDatabase,
    listener: socket.socket,
    *,
    minimum_heartbeat_ms: int = MINIMUM_HEARTBEAT_MS,
) -> None:
    """Serves until cancelled, then ends at once, or within GRACE_S and CLOSING_S, and raises CancelledError.

    Raises RuntimeError when the server ends by itself.
    """
    config = uvicorn.Config(
        create_application(database, minimum_heartbeat_ms=minimum_heartbeat_ms),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        limit_concurrency=MAXIMUM_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_S,
    )
    # connections inherit it; asyncio itself sets it only on sockets that name their protocol
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="gateway-http")
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        database.wakeups.close()
        server.ending.set()
        await asyncio.wait({serving}, timeout=GRACE_S + CLOSING_S)
        raise
    raise RuntimeError("the gateway's HTTP server ended by itself")
