"""Worker: so many of our MQTT sessions publish at QoS 1, each with a window of so many unacknowledged ones.

It measures from the first PUBLISH to the last PUBACK, connections standing before.
"""

from __future__ import annotations

import asyncio
import time

from msgspec import Struct

from fleetwire.mqtt import Endpoint, Message, MqttError, Session, SessionGroup, SessionOptions
from storefleet.bench.workers.task import serve


class Task(Struct, frozen=True):
    """``messages`` are shared by all connections."""

    port: int
    connections: int
    window: int
    messages: int
    payload_bytes: int
    timeout_s: float


class Result(Struct, frozen=True):
    """``refused`` counts PUBACKs of 0x80 and above."""

    seconds: float
    acknowledged: int
    refused: int
    cpu_us: float


class Publishers:
    """The handler of every session: each PUBACK lets the next message out."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._payload = b"x" * task.payload_bytes
        self._unsent = task.messages
        self._connected = 0
        self.acknowledged = 0
        self.refused = 0
        self.all_connected = asyncio.Event()
        self.done = asyncio.Event()

    def begin(self, session: Session) -> None:
        """Fill the session's window."""
        for _ in range(self._task.window):
            self._publish(session)

    def _publish(self, session: Session) -> None:
        if self._unsent > 0:
            self._unsent -= 1
            session.publish("storefleet/bench", self._payload)

    def on_connected(self, _session: Session, _session_present: bool, /) -> None:
        """Counted."""
        self._connected += 1
        if self._connected == self._task.connections:
            self.all_connected.set()

    def on_published(self, session: Session, _token: object, reason_code: int, /) -> None:
        """Counted, and the next one."""
        self.acknowledged += 1
        self.refused += reason_code >= 0x80
        self._publish(session)
        if self.acknowledged == self._task.messages:
            self.done.set()

    def on_message(self, session: Session, message: Message, /) -> None:
        """Nothing is subscribed to."""

    def on_subscribed(self, session: Session, reason_codes: tuple[int, ...], /) -> None:
        """Nothing is subscribed to."""

    def on_disconnected(self, _session: Session, error: MqttError, /) -> None:
        """A lost connection would spoil the figure."""
        raise SystemExit(f"a connection was lost: {error}")


async def work(task: Task) -> Result:
    """Connect, publish, wait for the last PUBACK."""
    publishers = Publishers(task)
    group = SessionGroup(Endpoint(host="127.0.0.1", port=task.port))
    async with asyncio.timeout(task.timeout_s):
        sessions = [
            group.open(SessionOptions(client_id=f"bench-{number}", clean_start=True, keep_alive_s=60), publishers)
            for number in range(task.connections)
        ]
        await publishers.all_connected.wait()
        started_s, cpu_before_s = time.perf_counter(), time.process_time()
        for session in sessions:
            publishers.begin(session)
        await publishers.done.wait()
    return Result(
        seconds=time.perf_counter() - started_s,
        acknowledged=publishers.acknowledged,
        refused=publishers.refused,
        cpu_us=(time.process_time() - cpu_before_s) * 1e6 / task.messages,
    )


if __name__ == "__main__":
    serve(Task, work)
