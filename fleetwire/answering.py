"""How the last stage of a chain tells terminals what is applied: by itself after a linger, and whenever one asks.

It says only what the given interval sets hold, so whoever fills them decides what "applied" means (a commit, a PUBACK).
Outcomes are cumulative: a lost one, or one that the broker refuses, is healed by the next, or when a terminal asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from fleetwire.dead_letters import DeadLetter, DeadLetterOffice
from fleetwire.errors import BadPayload
from fleetwire.identity import Terminal
from fleetwire.intervals import IntervalSet
from fleetwire.mqtt import Message, MqttError, StageClient, TopicFilter
from fleetwire.outcomes import (
    LINGER_MAXIMUM_MS,
    MAXIMUM_RANGES,
    Ask,
    Outcome,
    OutcomeBatch,
    Rejection,
    encode,
    read_ask,
)
from fleetwire.topics import Topics

JSON: Final = "application/json"
_log = logging.getLogger(__name__)


class OutcomeAnswerer:
    """Publishes outcomes over a stage's client and answers asks; ``told``, ``asked`` and ``refused`` count.

    ``applied`` is read, never changed; ``backlog`` says how many events wait behind the one just applied; ``rejected``
    is what this stage itself has rejected for good (source -> sequence -> reason): told to whoever asks.
    """

    def __init__(
        self,
        client: StageClient,
        topics: Topics,
        by: str,
        applied: dict[str, IntervalSet],
        backlog: Callable[[], int],
        *,
        dead_letters: DeadLetterOffice | None = None,
        rejected: Mapping[str, Mapping[int, str]] | None = None,
    ) -> None:
        self._client = client
        self._topics = topics
        self._by = by
        self._applied = applied
        self._backlog = backlog
        self._dead_letters = dead_letters
        self._rejected = rejected if rejected is not None else {}
        self._batch = OutcomeBatch(applied)
        self._timer: asyncio.TimerHandle | None = None
        self.told = 0
        self.asked = 0
        self.refused = 0

    def start(self) -> None:
        """Listen to asks, by a plain subscription: every instance answers from what it knows."""
        self._client.on(TopicFilter(pattern=self._topics.all_of("terminal", "ask")), self._receive_ask)

    def stop(self) -> None:
        """Tell at once what is pending; what cannot be sent now is left to the asks."""
        if self._timer is not None:
            self._timer.cancel()
            self._tell_due()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def applied_now(self, source: str) -> None:
        """Something of this source has just been applied, and is in ``applied`` already."""
        loop = asyncio.get_running_loop()
        self._batch.add(source, loop.time(), self._backlog())
        if self._timer is None and self._batch.due_s is not None:
            self._timer = loop.call_at(self._batch.due_s, self._tell_due)

    def _tell_due(self) -> None:
        self._timer = None
        sources = self._batch.take_due(float("inf"))
        for position, source in enumerate(sources):
            if not self._say(Terminal(*source.split(".")), self._batch.outcome(source, self._by)):
                self._tell_later(sources[position:])
                return
            self.told += 1

    def _tell_later(self, sources: list[str]) -> None:
        loop = asyncio.get_running_loop()
        for source in sources:
            self._batch.add(source, loop.time(), LINGER_MAXIMUM_MS)
        if self._timer is None:
            self._timer = loop.call_later(LINGER_MAXIMUM_MS / 1000, self._tell_due)

    def _receive_ask(self, message: Message) -> None:
        self.asked += 1
        try:
            terminal = self._topics.read_terminal(message.topic).terminal
            ask = read_ask(message.payload)
        except BadPayload as error:
            self._refuse_ask(message, error)
            return
        # An answer that could not be sent is not kept: a terminal without one asks again.
        self._say(terminal, self._answer(terminal.id, ask))
        self._client.acknowledge(message)

    def _answer(self, source: str, ask: Ask) -> Outcome:
        known, asked = self._applied.get(source), IntervalSet(ask.unresolved)
        covered = known.intersection(asked).to_list() if known else []
        rejected = [
            Rejection(sequence, self._by, reason)
            for sequence, reason in self._rejected.get(source, {}).items()
            if sequence in asked and not (known and sequence in known)
        ]
        return Outcome(by=self._by, applied=covered[-MAXIMUM_RANGES:], rejected=rejected[:MAXIMUM_RANGES], answer=True)

    def _say(self, terminal: Terminal, outcome: Outcome) -> bool:
        topic = self._topics.command("outcome", terminal)
        try:
            self._client.publish_nowait(topic, encode(outcome), content_type=JSON)
        except MqttError as error:
            self.refused += 1
            _log.warning("an outcome for %s could not be sent: %s", terminal.id, error)
            return False
        return True

    def _refuse_ask(self, message: Message, error: BadPayload) -> None:
        _log.warning("an ask on %s cannot be read: %s", message.topic, error)
        if self._dead_letters is not None:
            letter = DeadLetter(reason=error.reason, detail=error.detail, topic=message.topic, payload=message.payload)
            self._dead_letters.post_aside(letter)
        self._client.acknowledge(message)
