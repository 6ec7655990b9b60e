"""The edge of the MQTT session: connections, time and writes for thousands of sessions in one process.

It guarantees: no task and no timer per session (one ticker a group; a task exists only while a connection is being
dialled, and their number is limited); all bytes that a session sends within one loop iteration leave in one write; a
session reconnects by itself with full jitter until it is told not to, or a refusal is final. Nobody is called silent for
a standstill of this process: what came meanwhile is read before anybody's time is over.

Callbacks run in the loop. An exception in one is given to the loop's exception handler and counted; the session lives
on, and the message stays unacknowledged.
"""

from __future__ import annotations

import asyncio
import logging
import random as random_module
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from fleetwire.dialling import Dialler
from fleetwire.mqtt.errors import ConnectFailed, MqttError
from fleetwire.mqtt.session import Phase, Session, SessionHandler
from fleetwire.mqtt.statistics import Statistics
from fleetwire.mqtt.values import Endpoint, Message, SessionOptions, TopicFilter, Will
from fleetwire.mqtt.wheel import Wheel

__all__ = ["Endpoint", "Message", "Session", "SessionGroup", "SessionHandler", "SessionOptions", "TopicFilter", "Will"]

_logger = logging.getLogger(__name__)

_TICK_S: Final = 0.05

#: Holds a connection between its making and the session's taking it.
_NOBODY: Final = asyncio.Protocol()


class SessionGroup:
    """All sessions of a process to one broker; make and use it in a running loop.

    At most ``connects_at_once`` sessions are between dialling and CONNACK. A session reconnects after a time drawn
    evenly from 0 to ``backoff_base_s * 2**attempt``, capped at ``backoff_cap_s``; ``random`` makes that reproducible.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        connect_timeout_s: float = 5.0,
        backoff_base_s: float = 0.1,
        backoff_cap_s: float = 4.0,
        connects_at_once: int = 64,
        random: random_module.Random | None = None,
    ) -> None:
        self.endpoint = endpoint
        self.connect_timeout_s = connect_timeout_s
        self.statistics = Statistics()
        self._backoff_base_s = backoff_base_s
        self._backoff_cap_s = backoff_cap_s
        self._free_slots = connects_at_once
        self._random = random or random_module.Random()
        self._loop = asyncio.get_running_loop()
        self.now_s: Final[Callable[[], float]] = self._loop.time
        self.wheel: Wheel[Session] = Wheel(_TICK_S, self.now_s())
        self._sessions: set[Session] = set()
        self._queue: deque[Session] = deque()
        self._dialler = Dialler(endpoint.host, endpoint.port)
        self._dialling: dict[Session, asyncio.Task[None]] = {}
        self._peers: dict[Session, tuple[Any, ...]] = {}
        """Which of the broker's addresses a session waits at for its CONNACK, where the broker may have several."""
        self._dirty: list[Session] = []
        self._ticker: asyncio.TimerHandle | None = None
        self._tick_due_s = 0.0
        self._looks_again = False

    def open(
        self, options: SessionOptions, handler: SessionHandler, will: Callable[[], Will | None] | None = None
    ) -> Session:
        """Begin a session; ``will`` is asked anew at every CONNECT."""
        session = Session(self, options, handler, will)
        self.enqueue(session)
        return session

    async def close(self, *, timeout_s: float = 2.0) -> None:
        """Disconnect every session; what has not closed after ``timeout_s`` is dropped."""
        sessions = list(self._sessions)
        for session in sessions:
            session.disconnect()
        try:
            async with asyncio.timeout(timeout_s):
                for session in sessions:
                    await session.closed()
        except TimeoutError:
            _logger.warning("%s: %d sessions dropped, not closed, at the end", self.endpoint, len(self._sessions))
            for session in list(self._sessions):
                session.abort()
        if self._ticker is not None and not self._sessions:
            self._ticker.cancel()
            self._ticker = None

    # What sessions ask of their group

    def where(self, session: Session) -> str:
        """Broker and client, as every message of an error begins."""
        return f"{self.endpoint}, client {session.client_id}"

    def backoff_s(self, attempt: int) -> float:
        """Full jitter: anything between nothing and the doubled, capped base."""
        return self._random.uniform(0, min(self._backoff_cap_s, self._backoff_base_s * 2 ** min(attempt, 30)))

    def enqueue(self, session: Session) -> None:
        """Have the session dialled as soon as there is a slot."""
        self._sessions.add(session)
        session.enter(Phase.QUEUED)
        self._queue.append(session)
        if self._ticker is None:
            self._ticker = self._next_tick()
        self._dial_next()

    def withdraw(self, session: Session) -> None:
        """Stop dialling the session; one that only waits is passed over in its turn."""
        task = self._dialling.pop(session, None)
        if task is not None:
            task.cancel()

    def forget(self, session: Session) -> None:
        """Let go of a session that rests."""
        self._sessions.discard(session)

    def free_slot(self, session: Session, *, accepted: bool) -> None:
        """A session has left the way between dialling and CONNACK; where it was not accepted, another address may do."""
        peer = self._peers.pop(session, None)
        if peer is not None and not accepted:
            self._dialler.avoid(peer)
        self._free_slots += 1
        self._dial_next()

    def mark(self, session: Session) -> None:
        """Have the session flushed at the end of this loop iteration."""
        if not self._dirty:
            self._loop.call_soon(self._flush)
        self._dirty.append(session)

    def report(self, session: Session, error: Exception) -> None:
        """An owner's callback raised."""
        self.statistics.handler_errors += 1
        message = f"{self.where(session)}: a callback of the session's handler raised"
        self._loop.call_exception_handler({"message": message, "exception": error})

    def count_end(self, error: MqttError | None, *, was_connected: bool) -> None:
        """Count a connection that was lost, or that did not come about."""
        if error is None:
            return
        if was_connected:
            self.statistics.connections_lost += 1
        else:
            self.statistics.connect_failures[_failure_name(error)] += 1

    # Work of the group

    def _next_tick(self) -> asyncio.TimerHandle:
        self._tick_due_s = self.now_s() + _TICK_S
        return self._loop.call_later(_TICK_S, self._tick)

    def _tick(self) -> None:
        now_s = self.now_s()
        # After a stall of ours timers come before what lies unread in the sockets, a PINGRESP or a CONNACK perhaps: time
        # is over with the next tick. Never twice in a row, or a loop that is always late would wait for ever.
        self._looks_again = now_s - self._tick_due_s > _TICK_S and not self._looks_again
        self._ticker = self._next_tick() if self._sessions else None
        if self._looks_again:
            return
        for session in self.wheel.due(now_s):
            session.due(now_s)

    def _flush(self) -> None:
        dirty, self._dirty = self._dirty, []
        now_s = self.now_s()
        for session in dirty:
            session.flush(now_s)

    def _dial_next(self) -> None:
        while self._free_slots > 0 and self._queue:
            session = self._queue.popleft()
            if session.phase is not Phase.QUEUED:
                continue
            self._free_slots -= 1
            session.enter(Phase.DIALLING)
            name = f"mqtt-dial {session.client_id}"
            self._dialling[session] = self._loop.create_task(self._dial(session), name=name)

    async def _dial(self, session: Session) -> None:
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                transport, _ = await self._dialler.connection(lambda: _NOBODY, self.endpoint.tls)
        except (OSError, UnicodeError) as error:
            self._dialling.pop(session, None)
            session.dial_failed(self._dial_error(session, error))
            return
        self._dialling.pop(session, None)
        if transport.is_closing():
            session.dial_failed(ConnectFailed(f"{self.where(session)}: the peer closed the connection at once"))
        else:
            if not self._dialler.is_literal:
                self._peers[session] = transport.get_extra_info("peername")
            session.attach(transport)

    def _dial_error(self, session: Session, error: Exception) -> ConnectFailed:
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "the certificate is not trusted: give the right CA, or connect to the name in the certificate"
        elif isinstance(error, ssl.SSLError):
            hint = "no TLS connection: look whether the port speaks TLS"
        elif isinstance(error, TimeoutError):
            hint = f"no answer within {self.connect_timeout_s:g} s: check address and network"
        else:
            hint = "no connection: check that the broker runs there"
        detail = "" if isinstance(error, TimeoutError) else f" ({error})"
        failed = ConnectFailed(f"{self.where(session)}: {hint}{detail}")
        failed.__cause__ = error
        return failed


def _failure_name(error: MqttError) -> str:
    if error.reason_code is not None:
        return f"0x{error.reason_code:02X}"
    cause = error.__cause__
    return "no broker" if cause is None else "timeout" if isinstance(cause, TimeoutError) else type(cause).__name__
