"""PARM's work on state: terminals' registers and heartbeats in, retained device registers and store statuses out.

Every instance hears all and answers for its part of the stores. Statuses published before are read back first, so that
revisions go on growing over restarts; where the broker has lost them too, the number of our start makes them grow. A
broker that forgot us is told everything again. Silence proves nothing while we could not hear: after a pause of ours or
a new connection, no terminal is called silent before a whole limit has passed.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Final, TypeVar

import msgspec

from fleetwire import bounded_json
from fleetwire.clock import SteadyClock
from fleetwire.dead_letters import DeadLetter, DeadLetterOffice
from fleetwire.errors import BadPayload
from fleetwire.events import Heartbeat, StoreStatus, TerminalState
from fleetwire.identity import Terminal
from fleetwire.mqtt import ConnectFailed, Message, StageClient, TopicFilter
from fleetwire.partition import is_responsible
from fleetwire.plain_words import plain
from fleetwire.settings import StageSettings
from fleetwire.topics import Topics
from parm_stub.register_publisher import RegisterPublisher
from parm_stub.store_status import StoreBoard

TICK_S: Final = 0.5
READ_BACK_TIMEOUT_S: Final = 30.0
_LATE_S: Final = 1.0
_NO_RETAINED: Final = 2
_REVISIONS_OF_A_START: Final = 2**32
"""More than one process ever gives to a store; a million starts stay below 2^53, where JSON's numbers end for many."""

Shape = TypeVar("Shape")
_state_decoder = bounded_json.Decoder(TerminalState)
_heartbeat_decoder = bounded_json.Decoder(Heartbeat)
_status_decoder = bounded_json.Decoder(StoreStatus)
_encode = msgspec.json.encode


class Registers:
    """``heartbeat_timeout_s`` is network time: how long a terminal may be silent."""

    def __init__(
        self,
        settings: StageSettings,
        client: StageClient,
        publisher: RegisterPublisher,
        dead_letters: DeadLetterOffice,
        *,
        heartbeat_timeout_s: float,
    ) -> None:
        self._settings = settings
        self._topics = Topics(settings.topic_root)
        self._client = client
        self._publisher = publisher
        self._dead_letters = dead_letters
        self._timeout_s = heartbeat_timeout_s
        self._board = StoreBoard(
            silence_limit_s=heartbeat_timeout_s * settings.time_scale,
            revision_floor=(settings.incarnation - 1) * _REVISIONS_OF_A_START,
        )
        self._statuses: dict[str, str] = {}
        self._devices: dict[str, bytes] = {}
        self._clock = SteadyClock(settings.clock)
        self._hearing_since_s = time.monotonic()
        self._read_back = asyncio.Event()

    async def start(self) -> None:
        """Read back what was published, then listen; the client must be open. Raises MqttError."""
        topics = self._topics
        barrier = f"{topics.root}/canonical/read-back/parm/{self._settings.instance}"
        self._client.on(TopicFilter(pattern=topics.all_of("canonical", "status"), no_local=True), self._receive_status)
        self._client.on(TopicFilter(pattern=barrier, retain_handling=_NO_RETAINED), self._receive_barrier)
        # The broker answers a subscription with its retained messages before anything that is published after it.
        try:
            async with asyncio.timeout(READ_BACK_TIMEOUT_S):
                await self._client.publish(barrier, b"")
                await self._read_back.wait()
        except TimeoutError as error:
            raise ConnectFailed(
                f"{barrier} did not come back within {READ_BACK_TIMEOUT_S:g} s: may this client read and write it?"
            ) from error
        self._client.on(TopicFilter(pattern=topics.all_of("terminal", "state")), self._receive_state)
        self._client.on(TopicFilter(pattern=topics.all_of("terminal", "heartbeat"), qos=0), self._receive_heartbeat)

    async def watch(self) -> None:
        """Notice silence; run it as a task, until cancelled."""
        tick_s = min(TICK_S, self._timeout_s / 4)
        before_s = time.monotonic()
        while True:
            await asyncio.sleep(tick_s)
            now_s = time.monotonic()
            if now_s - before_s > tick_s + _LATE_S or not self._client.connected.is_set():
                self._hearing_since_s = now_s
            before_s = now_s
            if now_s - self._hearing_since_s >= self._timeout_s:
                self._publish(self._board.expire(self._clock.now_s()))
                self._publish_turned()

    def publish_again(self) -> None:
        """The broker lost its memory, and with it every retained register of ours."""
        self._publish(self._board.statuses(self._clock.now_s()))
        for topic, state in self._devices.items():
            self._publisher.set(topic, state)

    def counters(self) -> dict[str, float]:
        """How many stores have which status, and what was ignored."""
        counts = Counter(self._statuses.values())
        return {
            "statuses_total": self._publisher.published,
            "ghosts_total": self._board.ghosts,
            "terminals_refused_total": self._board.refused,
            **{f"stores_{status.lower()}": counts[status] for status in ("OPEN", "DEGRADED", "OFFLINE")},
            "stores_planned_closed": counts["PLANNED_CLOSED"],
        }

    def _receive_barrier(self, message: Message) -> None:
        self._client.acknowledge(message)
        self._read_back.set()

    def _receive_status(self, message: Message) -> None:
        status = self._read(message, _status_decoder)
        if status is None:
            return
        if self._is_ours(f"{status.brand}.{status.region}.{status.store}"):
            self._board.learn(status)
        self._client.acknowledge(message)

    def _receive_state(self, message: Message) -> None:
        terminal = self._sender(message)
        state = self._read(message, _state_decoder) if terminal is not None else None
        if terminal is None or state is None:
            return
        board = self._board
        ignored = board.ghosts + board.refused
        self._publish(board.register(terminal, state, self._clock.now_s()))
        if board.ghosts + board.refused == ignored:
            topic = self._topics.canonical("device", terminal)
            self._devices[topic] = _encode(state)
            self._publisher.set(topic, self._devices[topic])
        self._client.acknowledge(message)

    def _receive_heartbeat(self, message: Message) -> None:
        terminal = self._sender(message)
        heartbeat = self._read(message, _heartbeat_decoder) if terminal is not None else None
        if terminal is None or heartbeat is None:
            return
        self._publish(self._board.heartbeat(terminal, heartbeat, self._clock.now_s()))
        self._publish_turned()
        self._client.acknowledge(message)

    def _publish(self, changed: list[StoreStatus]) -> None:
        for status in changed:
            self._statuses[f"{status.brand}.{status.region}.{status.store}"] = status.status
            self._publisher.set(self._topics.status(status.brand, status.region, status.store), _encode(status))

    def _publish_turned(self) -> None:
        """A will that never came: the device register says what the silence means, until the terminal speaks again."""
        for terminal_id, online in self._board.take_turned().items():
            topic = self._topics.canonical("device", Terminal.parse(terminal_id))
            known = self._devices.get(topic)
            if known is not None:
                state = _state_decoder.decode(known)
                state = msgspec.structs.replace(state, online=online, reason="birth" if online else "lost")
                self._devices[topic] = _encode(state)
                self._publisher.set(topic, self._devices[topic])

    def _sender(self, message: Message) -> Terminal | None:
        """Whose message it is; None when it is none of ours, and dealt with."""
        try:
            terminal = self._topics.read_terminal(message.topic).terminal
        except BadPayload as error:
            self._bury(message, error.reason, error.detail)
            return None
        if self._is_ours(terminal.store_id):
            return terminal
        self._client.acknowledge(message)
        return None

    def _read(self, message: Message, decoder: bounded_json.Decoder[Shape]) -> Shape | None:
        """Its content; None when there is none that can be used, and it is dealt with."""
        if not message.payload:  # a retained register that somebody cleared
            self._client.acknowledge(message)
            return None
        try:
            return decoder.decode(message.payload)
        except msgspec.ValidationError as error:
            self._bury(message, "schema", plain(error))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._bury(message, "malformed_json", str(error))
        return None

    def _bury(self, message: Message, reason: str, detail: str) -> None:
        letter = DeadLetter(reason=reason, detail=detail, topic=message.topic, payload=message.payload)
        self._dead_letters.post_aside(letter)
        self._client.acknowledge(message)

    def _is_ours(self, store_id: str) -> bool:
        return is_responsible(store_id, self._settings.instance, self._settings.instances)
