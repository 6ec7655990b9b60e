"""Ports that stay a lab's own: reserved before anybody listens, and while what listens there is started again.

A port that was merely free a moment ago can be taken, by another lab or as the near end of any outgoing connection. So
a socket of ours stays bound to it without listening; a child that sets SO_REUSEADDR, as all servers do, listens beside
it. Linux allows that; elsewhere the port is given back at once and the risk stays. Ports of an earlier lab are all
reserved before anything starts.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class Ports:
    """The loopback ports of one lab; ``close`` gives them back."""

    def __init__(self, before: Mapping[str, int] | None = None) -> None:
        """``before``: what listened where in an earlier lab of the run, so that whoever joined there finds it again."""
        self._held: list[socket.socket] = []
        self._before = {what: port for what, port in (before or {}).items() if port}
        self._kept = {what: self._hold(port) for what, port in self._before.items()}

    def reserve(self, what: str = "") -> int:
        """A loopback port that nobody else gets: the one where this was before, or any."""
        port = self._kept.pop(what, None)
        if port is not None:
            return port
        port = self._hold(0)
        assert port is not None
        if what in self._before:
            _log.warning("port %d of %s is taken by now; it is at %d, see lab.json", self._before[what], what, port)
        return port

    def _hold(self, wanted: int) -> int | None:
        """Bind this port, or any for 0; None when somebody else has it."""
        holder = socket.socket()
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError):
            holder.close()
            if not wanted:
                raise
            return None
        port = int(holder.getsockname()[1])
        if sys.platform == "linux":
            self._held.append(holder)
        else:
            holder.close()
        return port

    def close(self) -> None:
        """Give all of them back."""
        for holder in self._held:
            holder.close()
        self._held.clear()


async def port_answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
