"""Connects to a host, however many addresses its name has: when one refuses or does not answer, another one does.

As in RFC 8305: the families take turns, attempts overlap, STAGGER_S apart, and the first connection that stands is kept. The
address that answered last is tried first, and one behind which there was no good peer is tried last, so that
ten thousand terminals do not each wait for a dead one. Whoever dials bounds the time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import os
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from fleetwire.host_port import family_of, host_port

STAGGER_S: Final = 0.25
"""The "Connection Attempt Delay" that RFC 8305, section 5, recommends."""
ADDRESS_LIMIT: Final = 8
"""Of one name; so many attempts at most are under way at once."""

Address: TypeAlias = tuple[socket.AddressFamily, tuple[Any, ...]]
"""Family, and the address as the socket module has it."""
_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


class Dialler:
    """One host and port; it remembers which address was good."""

    __slots__ = ("_answered", "_avoided", "host", "is_literal", "port")

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.is_literal = _is_literal(host)
        """The host is an address itself: there is no other."""
        self._answered: tuple[Any, ...] | None = None
        self._avoided: tuple[Any, ...] | None = None

    async def connection(
        self, protocol_factory: Callable[[], _Protocol], tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.Transport, _Protocol]:
        """A connection, with ``tls`` a secured one to this host's name; raises OSError or UnicodeError."""
        loop = asyncio.get_running_loop()
        if self.is_literal:
            return await loop.create_connection(protocol_factory, self.host, self.port, ssl=tls)
        connected = await self.connect()
        name = self.host if tls is not None else None
        return await loop.create_connection(protocol_factory, sock=connected, ssl=tls, server_hostname=name)

    async def connect(self) -> socket.socket:
        """A connected socket, non-blocking; raises OSError or UnicodeError."""
        connected = await _first_to_answer(sorted(await self._addresses(), key=self._rank))
        try:
            peer = connected.getpeername()
        except OSError:  # it was reset already
            connected.close()
            raise
        if peer != self._avoided:  # one that others fail at may answer sooner than a good one that is busy
            self._answered = peer
        return connected

    def avoid(self, peer: tuple[Any, ...]) -> None:
        """Something accepts connections at this address, and is no good peer: try it last."""
        self._avoided = peer
        if self._answered == peer:
            self._answered = None

    async def _addresses(self) -> list[Address]:
        if self.is_literal:
            return [(family_of(self.host), (self.host, self.port))]
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return in_turn([(family, address) for family, _, _, _, address in found])

    def _rank(self, address: Address) -> int:
        return (address[1] == self._avoided) - (address[1] == self._answered)


def in_turn(found: Sequence[Address]) -> list[Address]:
    """Each address once, ADDRESS_LIMIT of them: the first one's family and the other take turns (RFC 8305, section 4)."""
    unique = list(dict.fromkeys(found))
    first = [one for one in unique if one[0] == unique[0][0]]
    other = [one for one in unique if one[0] != unique[0][0]]
    pairs = itertools.zip_longest(first, other)
    return [one for pair in pairs for one in pair if one is not None][:ADDRESS_LIMIT]


async def _first_to_answer(addresses: Sequence[Address]) -> socket.socket:
    untried = deque(addresses)
    attempts: dict[asyncio.Task[socket.socket], Address] = {}
    failures: list[tuple[Address, OSError]] = []
    winner: socket.socket | None = None
    try:
        while winner is None and (untried or attempts):
            if untried:
                address = untried.popleft()
                attempts[asyncio.create_task(_connected(address), name="dial-address")] = address
            wait_s = STAGGER_S if untried else None
            done, _ = await asyncio.wait(attempts, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            for attempt in done:
                error = attempt.exception()
                if isinstance(error, OSError):
                    failures.append((attempts.pop(attempt), error))
                else:
                    winner = attempt.result()
    finally:
        await _end(attempts, winner)
    if winner is None:
        raise _none_answered(failures)
    return winner


async def _connected(address: Address) -> socket.socket:
    connection = socket.socket(address[0], socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connection, address[1])
    except BaseException:
        connection.close()
        raise
    return connection


async def _end(attempts: Iterable[asyncio.Task[socket.socket]], winner: socket.socket | None) -> None:
    for attempt in (under_way := list(attempts)):
        attempt.cancel()
    if under_way:
        await asyncio.wait(under_way)
    for attempt in under_way:
        if not attempt.cancelled() and attempt.exception() is None and attempt.result() is not winner:
            attempt.result().close()


def _none_answered(failures: Sequence[tuple[Address, OSError]]) -> OSError:
    """One error for all of them, of the first one's kind; which address it was is said where there are several."""
    if not failures:
        return OSError("the name has no address")
    words = [(host_port(*address[1][:2]), _reason(error)) for address, error in failures]
    text = words[0][1] if len(words) == 1 else "; ".join(f"{where}: {reason}" for where, reason in words)
    return OSError(failures[0][1].errno, text)


def _reason(error: OSError) -> str:
    """The system's word: event loops say other things of the same error."""
    return os.strerror(error.errno) if error.errno else str(error)


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
