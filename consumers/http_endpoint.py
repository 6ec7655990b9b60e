"""A small JSON application on a socket of its own, in the stage's loop; it leaves signals and logging alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Final, Self

import uvicorn
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig

from consumers.json_application import JsonApplication
from fleetwire.errors import SettingsError
from fleetwire.host_port import family_of, host_port

MAXIMUM_CONNECTIONS: Final = 200
MAXIMUM_REQUEST_BYTES: Final = 16_384
GRACE_S: Final = 1

_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to whoever runs the process."""
        yield


class HttpEndpoint:
    """Serves from ``start`` to ``stop``; ``url`` is known in between."""

    def __init__(self, title: str, routes: Sequence[HTTPRouteHandler], address: tuple[str, int]) -> None:
        self.url = ""
        self._title = title
        self._address = address
        self._application = JsonApplication(
            route_handlers=routes,
            request_max_body_size=MAXIMUM_REQUEST_BYTES,
            openapi_config=OpenAPIConfig(title=title, version="1"),
            logging_config=None,
        )
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> Self:
        """Bind and begin to serve; raises SettingsError when the port cannot be had."""
        host, port = self._address
        try:
            listener = socket.create_server((host, port), family=family_of(host))
        except OSError as error:
            what = f"{self._title} cannot listen on {host_port(host, port)}"
            raise SettingsError(f"{what}: {error}; choose another port") from error
        config = uvicorn.Config(
            self._application,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            log_level="warning",
            server_header=False,
            date_header=False,
            limit_concurrency=MAXIMUM_CONNECTIONS,
            timeout_graceful_shutdown=GRACE_S,
        )
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name=f"{self._title}.http")
        self._serving.add_done_callback(self._ended)
        self.url = f"http://{host_port(host, listener.getsockname()[1])}"
        return self

    async def stop(self) -> None:
        """Finish the answers under way, at most about a second."""
        if self._server is None or self._serving is None:
            return
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=2 * GRACE_S)

    def _ended(self, serving: asyncio.Task[None]) -> None:
        if not serving.cancelled() and (error := serving.exception()) is not None:
            _log.error("%s stopped serving HTTP: %s; restart the stage", self._title, error)
