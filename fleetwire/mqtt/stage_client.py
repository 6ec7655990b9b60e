"""The comfortable face of one MQTT session, for a stage: publishes that can be awaited, a handler for each filter.

It guarantees: every awaited publish gets its reason code or an error, never silence; no more than ``backlog_limit``
messages and one socket read are held unacknowledged, reading stops until half of them are dealt with; a message that no
handler wants is counted, logged and acknowledged, since it would block all behind it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeAlias

from fleetwire.mqtt.contested_ids import ContestedIds
from fleetwire.mqtt.errors import ConnectFailed, ConnectionLost, ConnectRefused, MqttError
from fleetwire.mqtt.link import Session, SessionGroup
from fleetwire.mqtt.reason_codes import describe
from fleetwire.mqtt.routing import RoutingTable
from fleetwire.mqtt.statistics import Statistics
from fleetwire.mqtt.values import Endpoint, Message, SessionOptions, TopicFilter, Will

_logger = logging.getLogger(__name__)

MessageHandler: TypeAlias = Callable[[Message], None]
Done: TypeAlias = Callable[[int], None]


class StageClient:
    """One session; use it as ``async with StageClient(...) as client``.

    Entering waits at most ``ready_timeout_s`` for the connection and raises its last error then; a refusal ends the
    wait at once. With ``ready_timeout_s=None`` it does not wait: see ``connected``. ``on_disconnected`` hears of every
    loss and failure, and the session reconnects by itself; ``on_connected`` hears whether the broker remembered it, and
    ``on_subscribed`` whether it has granted all that was asked for, which is done at every connect.
    Run ``until_useless`` as a task that ends the stage: a session may be refused for good long after it was ready.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        options: SessionOptions,
        *,
        handlers: Sequence[tuple[TopicFilter, MessageHandler]] = (),
        will: Callable[[], Will | None] | None = None,
        backlog_limit: int = 10_000,
        ready_timeout_s: float | None = 10.0,
        connect_timeout_s: float = 5.0,
        on_connected: Callable[[bool], None] | None = None,
        on_subscribed: Callable[[bool], None] | None = None,
        on_disconnected: Callable[[MqttError], None] | None = None,
    ) -> None:
        self.connected = asyncio.Event()
        self.subscribed = asyncio.Event()
        self.unhandled = 0
        self.refusal = ""
        """Which subscription the broker refused the last time, and with what code; empty: none."""
        self._contested = ContestedIds()
        self._endpoint = endpoint
        self._options = options
        self._will = will
        self._backlog_limit = backlog_limit
        self._ready_timeout_s = ready_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._told_connected = on_connected
        self._told_subscribed = on_subscribed
        self._told_disconnected = on_disconnected
        self._routes: RoutingTable[MessageHandler] = RoutingTable()
        self._filters: list[TopicFilter] = []
        self._group: SessionGroup | None = None
        self._session: Session | None = None
        self._pending: set[asyncio.Future[int]] = set()
        self._refused: asyncio.Future[MqttError] | None = None
        self._useless: asyncio.Future[MqttError] | None = None
        self._last_error: MqttError | None = None
        self._paused = False
        for topic_filter, handler in handlers:
            self.on(topic_filter, handler)

    def on(self, topic_filter: TopicFilter, handler: MessageHandler) -> None:
        """Subscribe, now or at the connect to come; messages of this filter go to ``handler``, in order of arrival."""
        self._routes.add(topic_filter.pattern, handler)
        self._filters.append(topic_filter)
        if self._session is not None:
            self.subscribed.clear()
            self._session.subscribe(topic_filter)

    async def __aenter__(self) -> Self:
        self._refused = asyncio.get_running_loop().create_future()
        self._useless = asyncio.get_running_loop().create_future()
        self._group = SessionGroup(self._endpoint, connect_timeout_s=self._connect_timeout_s)
        self._session = self._group.open(self._options, self, self._will)
        if self._filters:
            self._session.subscribe(*self._filters)
        if self._ready_timeout_s is not None:
            try:
                await self._wait_ready(self._ready_timeout_s)
            except BaseException:
                await self._group.close(timeout_s=0.5)
                raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._group is not None:
            await self._group.close()
        self._fail_pending("the client was closed before the PUBACK")

    async def _wait_ready(self, timeout_s: float) -> None:
        assert self._refused is not None
        connected = asyncio.create_task(self.connected.wait(), name="mqtt-ready")
        try:
            await asyncio.wait((connected, self._refused), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connected.cancel()
        if self._refused.done():
            raise self._refused.result()
        if not self.connected.is_set():
            raise self._last_error or ConnectFailed(f"{self._who}: not connected within {timeout_s:g} s")

    async def until_subscribed(self, timeout_s: float) -> None:
        """Wait for the broker's consent to the subscriptions; at once when there are none.

        Raises ConnectFailed when one is refused, with the broker's code, or when no SUBACK comes in time.
        """
        if not self._filters:
            return
        assert self._useless is not None, "the client is not open: use it in `async with`"
        subscribed = asyncio.create_task(self.subscribed.wait(), name="mqtt-subscribed")
        try:
            await asyncio.wait((subscribed, self._useless), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            subscribed.cancel()
        if self._useless.done():
            raise self._useless.result()
        if not self.subscribed.is_set():
            raise ConnectFailed(f"{self._who}: no SUBACK within {timeout_s:g} s: look into the broker's log")

    async def until_useless(self) -> None:
        """Wait, perhaps for ever, until the session is refused for good or a subscription is; raises that MqttError."""
        assert self._useless is not None, "the client is not open: use it in `async with`"
        raise await asyncio.shield(self._useless)

    @property
    def _who(self) -> str:
        return f"{self._endpoint}, client {self._options.client_id}"

    def _is_useless(self, error: MqttError) -> None:
        if self._useless is not None and not self._useless.done():
            self._useless.set_result(error)

    # Publish and acknowledge

    @property
    def session(self) -> Session:
        """The session beneath."""
        if self._session is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        return self._session

    @property
    def statistics(self) -> Statistics:
        """Counters of this session."""
        if self._group is None:
            raise RuntimeError("the client is not open: use it in `async with`")
        return self._group.statistics

    @property
    def lack(self) -> str:
        """Why there is no connection now; empty while there is one."""
        return "" if self.connected.is_set() else str(self._last_error or f"{self._who}: not connected yet")

    @property
    def contested(self) -> str:
        """What speaks for another client that uses this client id now; empty: nothing."""
        return self._contested.words(time.monotonic())

    @property
    def paused(self) -> bool:
        """Whether it reads nothing, because ``backlog_limit`` messages are held."""
        return self._paused

    @property
    def backlog(self) -> int:
        """Messages that are held without a PUBACK."""
        return self.session.unacknowledged_messages

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Sequence[tuple[str, str]] = (),
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        message_expiry_s: int | None = None,
    ) -> int:
        """Publish and wait for the PUBACK's reason code (0 at QoS 0); it waits through reconnects.

        Raises what :meth:`Session.publish` raises, and ConnectionLost when the session ends for good first.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.publish_nowait(
            topic, payload, qos=qos, retain=retain, properties=properties, content_type=content_type,
            response_topic=response_topic, correlation_data=correlation_data, message_expiry_s=message_expiry_s,
            done=functools.partial(_settle, future),
        )  # fmt: skip
        self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return await future

    def publish_nowait(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Sequence[tuple[str, str]] = (),
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        message_expiry_s: int | None = None,
        done: Done | None = None,
    ) -> None:
        """Publish; ``done`` is called with the reason code once the PUBACK is here, at QoS 0 before this returns."""
        self.session.publish(
            topic, payload, qos=qos, retain=retain, properties=properties, content_type=content_type,
            response_topic=response_topic, correlation_data=correlation_data, message_expiry_s=message_expiry_s,
            token=done,
        )  # fmt: skip
        if qos == 0 and done is not None:
            done(0)

    def acknowledge(self, message: Message) -> None:
        """The message has been dealt with."""
        session = self.session
        session.acknowledge(message)
        if self._paused and session.unacknowledged_messages <= self._backlog_limit // 2:
            self._paused = False
            session.resume_reading()

    def _fail_pending(self, detail: str) -> None:
        for future in list(self._pending):
            if not future.done():
                future.set_exception(ConnectionLost(f"{self._who}: {detail}"))

    # What the session calls

    def on_connected(self, _session: Session, session_present: bool) -> None:
        """Callback of the session."""
        self.connected.set()
        if self._told_connected is not None:
            self._told_connected(session_present)

    def on_message(self, session: Session, message: Message) -> None:
        """Callback of the session."""
        if not self._paused and session.unacknowledged_messages >= self._backlog_limit:
            self._paused = True
            session.pause_reading()
        handler = self._routes.find(message.topic)
        if handler is not None:
            handler(message)
            return
        self.unhandled += 1
        _logger.warning("%s: a message to %s that no handler wants", self._options.client_id, message.topic)
        self.acknowledge(message)

    def on_published(self, _session: Session, token: object, reason_code: int) -> None:
        """Callback of the session."""
        if callable(token):
            token(reason_code)

    def on_subscribed(self, _session: Session, reason_codes: tuple[int, ...]) -> None:
        """Callback of the session."""
        refused = [code for code in reason_codes if code >= 0x80]
        self.refusal = ""
        if refused:
            self._subscription_refused(refused)
        else:
            self.subscribed.set()
        if self._told_subscribed is not None:
            self._told_subscribed(not refused)

    def _subscription_refused(self, refused: list[int]) -> None:
        names = ", ".join(describe(code) for code in refused)
        patterns = ", ".join(topic_filter.pattern for topic_filter in self._filters)
        detail = f"the broker refuses a subscription with {names}; allow this client to read {patterns}"
        self.refusal = detail
        _logger.error("%s: %s", self._who, detail)
        self._is_useless(ConnectFailed(f"{self._who}: {detail}", reason_code=refused[0]))

    def on_disconnected(self, _session: Session, error: MqttError) -> None:
        """Callback of the session."""
        self.connected.clear()
        self.subscribed.clear()
        self._paused = False
        self._last_error = error
        self._contested.lost(self._options.client_id, error, time.monotonic())
        _logger.warning("%s", error)
        if isinstance(error, ConnectRefused) and self._refused is not None and not self._refused.done():
            self._refused.set_result(error)
        if error.final:
            self._fail_pending(f"the session ended for good: {error}")
            self._is_useless(error)
        if self._told_disconnected is not None:
            self._told_disconnected(error)


def _settle(future: asyncio.Future[int], reason_code: int) -> None:
    if not future.done():
        future.set_result(reason_code)
