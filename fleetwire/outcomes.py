"""Outcomes: how a terminal learns what became of its events, and how it asks.

An :class:`Outcome` is cumulative: ``applied`` is everything of that source that is applied, so any later outcome heals
the loss of an earlier one. An :class:`Ask` lists what the terminal does not know yet; its answer is an outcome with
``answer`` true, and what was asked and is not covered by the answer is to be sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
from msgspec import Struct, field

from fleetwire import bounded_json
from fleetwire.errors import BadPayload
from fleetwire.intervals import IntervalSet
from fleetwire.plain_words import plain

Message = TypeVar("Message")

ToldInterval = tuple[int, int]
"""As a stage wrote it: unlike :data:`fleetwire.intervals.Interval` it may name numbers that no event has, which are
clipped; an outcome is not thrown away over them."""

LINGER_MAXIMUM_MS: Final = 1_000
MAXIMUM_RANGES: Final = 1_000
WINDOW: Final = 32
"""At most so many unresolved events of one terminal are on the wire; that bounds every queue behind it."""


class Rejection(Struct, frozen=True):
    """One event that a stage put into a dead letter."""

    sequence: int
    stage: str
    reason: str


class Outcome(Struct, frozen=True, kw_only=True):
    """What a stage knows for sure about one source's events."""

    by: str
    applied: list[ToldInterval] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    answer: bool = False


class Ask(Struct, frozen=True, kw_only=True):
    """The numbers that a terminal has no outcome for."""

    unresolved: list[ToldInterval]


_decode_outcome = bounded_json.Decoder(Outcome).decode
_decode_ask = bounded_json.Decoder(Ask).decode
encode = msgspec.json.encode


def read_outcome(payload: bytes) -> Outcome:
    """Decode an outcome; raises BadPayload."""
    return _read(_decode_outcome, payload)


def read_ask(payload: bytes) -> Ask:
    """Decode an ask; raises BadPayload, also for more than MAXIMUM_RANGES ranges or a range that is none."""
    ask = _read(_decode_ask, payload)
    if len(ask.unresolved) > MAXIMUM_RANGES:
        raise BadPayload("schema", f"an ask of {len(ask.unresolved)} ranges; the limit is {MAXIMUM_RANGES}")
    if any(not 1 <= first <= last for first, last in ask.unresolved):
        raise BadPayload("schema", "an ask with a range that ends before it begins")
    return ask


def _read(decode: Callable[[bytes], Message], payload: bytes) -> Message:
    try:
        return decode(payload)
    except msgspec.ValidationError as error:
        raise BadPayload("schema", plain(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadPayload("malformed_json", str(error)) from error


class OutcomeBatch:
    """Collects what was applied and says when which sources are to be told (sans-io).

    A source waits at most the linger: nothing while there is no backlog, up to LINGER_MAXIMUM_MS when there is, so that
    one message covers many events.
    """

    __slots__ = ("_applied", "_due_s", "_pending")

    def __init__(self, applied: dict[str, IntervalSet]) -> None:
        self._applied = applied
        self._pending: set[str] = set()
        self._due_s = 0.0

    def add(self, source: str, now_s: float, backlog: int) -> None:
        """An event of this source was applied; ``backlog`` is how many wait behind it."""
        if not self._pending:
            self._due_s = now_s + min(LINGER_MAXIMUM_MS, backlog) / 1000
        self._pending.add(source)

    @property
    def due_s(self) -> float | None:
        """When ``take_due`` has something to say; None while there is nothing."""
        return self._due_s if self._pending else None

    def take_due(self, now_s: float) -> list[str]:
        """Sources to be told now; they leave the batch."""
        if not self._pending or now_s < self._due_s:
            return []
        due = sorted(self._pending)
        self._pending.clear()
        return due

    def outcome(self, source: str, by: str, *, answer: bool = False) -> Outcome:
        """The cumulative outcome of a source."""
        applied = self._applied.get(source)
        intervals = applied.to_list()[-MAXIMUM_RANGES:] if applied else []
        return Outcome(by=by, applied=intervals, answer=answer)
