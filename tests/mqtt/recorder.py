"""A session's owner that writes down everything, and in which a test can wait for a condition by name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from fleetwire.mqtt import Message, MqttError, Session


class Recorder:
    """Handler of one or many sessions; ``acknowledge_at_once`` acknowledges each message as it comes."""

    def __init__(self, *, acknowledge_at_once: bool = True) -> None:
        self.connected: list[bool] = []
        self.messages: list[Message] = []
        self.published: list[tuple[object, int]] = []
        self.subscribed: list[tuple[int, ...]] = []
        self.errors: list[MqttError] = []
        self._acknowledge_at_once = acknowledge_at_once
        self._changed = asyncio.Event()

    async def until(self, what: str, condition: Callable[[], bool], timeout_s: float = 40.0) -> None:
        """Wait until ``condition`` holds; it is looked at after every callback, and every 20 ms."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + timeout_s
        while not condition():
            assert loop.time() < deadline_s, f"not within {timeout_s} s: {what}; errors so far: {self.errors}"
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 0.02)

    @property
    def payloads(self) -> list[bytes]:
        """Payloads of all messages so far."""
        return [message.payload for message in self.messages]

    def on_connected(self, session: Session, session_present: bool) -> None:
        """Callback of the session."""
        self.connected.append(session_present)
        self._changed.set()

    def on_message(self, session: Session, message: Message) -> None:
        """Callback of the session."""
        self.messages.append(message)
        if self._acknowledge_at_once:
            session.acknowledge(message)
        self._changed.set()

    def on_published(self, session: Session, token: object, reason_code: int) -> None:
        """Callback of the session."""
        self.published.append((token, reason_code))
        self._changed.set()

    def on_subscribed(self, session: Session, reason_codes: tuple[int, ...]) -> None:
        """Callback of the session."""
        self.subscribed.append(reason_codes)
        self._changed.set()

    def on_disconnected(self, session: Session, error: MqttError) -> None:
        """Callback of the session."""
        self.errors.append(error)
        self._changed.set()
