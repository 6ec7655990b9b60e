"""A listening socket that never spins and never loses its port.

Connections are accepted in batches; when the system cannot give one (no descriptors left) accepting rests for
``REST_S``. While the
listener is closed (the hop is down) connects are refused, and a second socket that only binds keeps the port ours.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Callable
from typing import Final

from fleetwire.errors import SettingsError
from fleetwire.host_port import family_of, host_port

BACKLOG: Final = 4096
BATCH: Final = 64
REST_S: Final = 0.2

_log = logging.getLogger(__name__)


class Listener:
    """``accepted`` gets every new connection, non-blocking; ``exhausted`` hears that the system could give none."""

    def __init__(
        self,
        address: tuple[str, int],
        *,
        reuse_port: bool,
        accepted: Callable[[socket.socket], None],
        exhausted: Callable[[], None],
    ) -> None:
        self._wanted = address
        self._reuse_port = reuse_port
        self._accepted = accepted
        self._exhausted = exhausted
        self._placeholder: socket.socket | None = None
        self._socket: socket.socket | None = None
        self._rest: asyncio.TimerHandle | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and the real port."""
        return self._wanted

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._socket is not None

    def open(self) -> None:
        """Listen; raises SettingsError when the address cannot be had."""
        try:
            if self._placeholder is None and sys.platform == "linux":
                self._placeholder = self._bind()
            self._socket = self._bind()
            self._socket.listen(BACKLOG)
        except OSError as error:
            self.end()
            where = host_port(*self._wanted)
            raise SettingsError(f"cannot listen on {where}: {error}; choose another port or 0") from error
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    def close(self) -> None:
        """Refuse connections; ``open`` takes the same port again."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def end(self) -> None:
        """Give up the port."""
        self.close()
        if self._placeholder is not None:
            self._placeholder.close()
            self._placeholder = None

    def _bind(self) -> socket.socket:
        host, port = self._wanted
        bound = socket.socket(family_of(host), socket.SOCK_STREAM)
        try:
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._reuse_port:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bound.bind((host, port))
        except OSError:
            bound.close()
            raise
        self._wanted = (host, bound.getsockname()[1])
        return bound

    def _accept(self) -> None:
        for _ in range(BATCH):
            if self._socket is None:
                return
            try:
                connection, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._take_rest(error)
                return
            connection.setblocking(False)
            self._accepted(connection)

    def _take_rest(self, error: OSError) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        _log.error("accepting on %s rests for %g s: %s", host_port(*self._wanted), REST_S, error)
        self._exhausted()
        loop.remove_reader(self._socket)
        self._rest = loop.call_later(REST_S, self._go_on)

    def _go_on(self) -> None:
        self._rest = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)
