"""What one terminal still waits for: a window of events on the wire, a backlog on disk, and when to ask (sans-io).

It guarantees: at most WINDOW events are on the wire; an event leaves only when an outcome covers it; what is overdue is
asked for, and sent again only when an answer does not cover it, or when nobody answered three times.

    quiet --overdue--> asked --answer--> quiet (backed off)      asked --2 s--> asked again; the third time: send again
    quiet --refused by the broker--> quiet, overdue after 2 s instead of 5, twice that after every answer

Times are network seconds of a monotonic clock. ``jitter`` gives a factor from 0.8 to 1.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from fleetwire.intervals import Interval, IntervalSet
from fleetwire.outcomes import WINDOW

OVERDUE_S: Final = 5.0
OVERDUE_LIMIT_S: Final = 60.0
SHORTEST_JITTER: Final = 0.8
ANSWER_S: Final = 2.0
UNANSWERED_LIMIT: Final = 3
NEVER_S: Final = float("inf")

Jitter = Callable[[], float]


class Sending:
    """One event on the wire: how often it went out, and when last."""

    __slots__ = ("attempt", "sent_s")

    def __init__(self, attempt: int, sent_s: float) -> None:
        self.attempt = attempt
        self.sent_s = sent_s


class Due(NamedTuple):
    """What an overdue outbox wants: to ask for numbers, or to send them again."""

    ask: list[Interval]
    send_again: list[int]


NOTHING_DUE: Final = Due([], [])


class Outbox:
    """The numbers of one terminal; bodies are on disk. An idle one holds no collection."""

    __slots__ = ("_asked", "_refused", "_round", "_unanswered", "due_s", "last_sequence", "sent_sequence", "wire")

    def __init__(self, last_sequence: int, waiting: Iterable[tuple[int, int]] = ()) -> None:
        """``waiting``: (sequence, attempt) of every unresolved event, ascending; attempt 0 was never sent."""
        self.last_sequence = last_sequence
        self.sent_sequence = last_sequence
        self.wire: dict[int, Sending] | None = None
        self.due_s = NEVER_S
        self._asked: tuple[int, ...] = ()
        self._refused = False
        self._round = 0
        self._unanswered = 0
        for sequence, attempt in waiting:
            if not attempt:
                self.sent_sequence = sequence - 1
                break
            self._put(sequence, attempt, -NEVER_S)

    @property
    def room(self) -> int:
        """How many more may go on the wire."""
        return WINDOW - len(self.wire) if self.wire else WINDOW

    @property
    def backlog(self) -> int:
        """Committed events that were never sent."""
        return self.last_sequence - self.sent_sequence

    @property
    def unresolved(self) -> int:
        """Events without an outcome."""
        return self.last_sequence - self.sent_sequence + (len(self.wire) if self.wire else 0)

    def oldest_age_s(self, now_s: float) -> float:
        """For how long the oldest sending has been unresolved, as far as this process knows; 0 when there is none."""
        ages_s = [now_s - sending.sent_s for sending in (self.wire or {}).values() if sending.sent_s > -NEVER_S]
        return max(ages_s, default=0.0)

    def add(self, sequence: int, *, online: bool) -> bool:
        """Take the next event; True when it may go out at once, behind nothing that waits."""
        at_once = online and self.sent_sequence == self.last_sequence and self.room > 0
        self.last_sequence = sequence
        return at_once

    def send(self, sequence: int, now_s: float, jitter: Jitter) -> int:
        """The event goes on the wire, once more if it is there already; returns which attempt this is."""
        known = self.wire.get(sequence) if self.wire else None
        if known is not None:
            known.attempt += 1
            known.sent_s = now_s
            return known.attempt
        if self.due_s == NEVER_S:
            self.due_s = now_s + OVERDUE_S * jitter()
        self._put(sequence, 1, now_s)
        self.sent_sequence = max(self.sent_sequence, sequence)
        return 1

    def _put(self, sequence: int, attempt: int, sent_s: float) -> None:
        if self.wire is None:
            self.wire = {}
        self.wire[sequence] = Sending(attempt, sent_s)

    def drop(self, sequence: int) -> bool:
        """This event has its outcome; False when it had one before, or was never sent."""
        wire = self.wire
        if wire is None or sequence not in wire:
            return False
        del wire[sequence]
        if not wire:
            # Only now: a slow pipeline that is asked again at every sign of life would only get slower.
            self.wire = None
            self.due_s = NEVER_S
            self._asked = ()
            self._refused = False
            self._round = 0
            self._unanswered = 0
        return True

    def drop_covered(self, applied: Iterable[Interval]) -> tuple[list[Interval], list[int]]:
        """Drop what the intervals cover: those that told something new, and the numbers that they resolved."""
        told: list[Interval] = []
        resolved: list[int] = []
        for first, last in applied:
            wire = self.wire
            if wire is None:
                break
            numbers = [number for number in wire if first <= number <= last]
            if numbers:
                told.append((first, last))
                resolved += numbers
                for number in numbers:
                    self.drop(number)
        return told, resolved

    def connected(self, now_s: float) -> None:
        """A fresh connection: whatever the last one left open is asked for at once."""
        self._asked = ()
        self._unanswered = 0
        self.due_s = now_s if self.wire else NEVER_S
        for sending in (self.wire or {}).values():
            sending.sent_s = min(sending.sent_s, now_s - OVERDUE_S)

    def refused(self, sequence: int, now_s: float, jitter: Jitter) -> None:
        """The broker said that this sending reached nobody: nothing to wait for but that somebody is there again."""
        sending = self.wire.get(sequence) if self.wire else None
        if sending is None:
            return
        sending.sent_s = min(sending.sent_s, now_s - OVERDUE_S)
        if self._asked:
            self._refused = True
        else:
            self.due_s = min(self.due_s, self._backed_off_s(ANSWER_S, now_s, jitter))

    def poll(self, now_s: float, jitter: Jitter, *, ask: bool) -> Due:
        """What is due, while connected; ``ask`` is false where nobody could answer, so overdue means send again."""
        wire = self.wire
        if wire is None or now_s < self.due_s:
            return NOTHING_DUE
        if self._asked:
            return self._unanswered_ask(wire, now_s, jitter)
        oldest_s = min(sending.sent_s for sending in wire.values())
        if now_s - oldest_s < OVERDUE_S * SHORTEST_JITTER:
            self.due_s = oldest_s + OVERDUE_S * jitter()
            return NOTHING_DUE
        if ask:
            return self._ask(wire, now_s, jitter)
        overdue_s = now_s - OVERDUE_S * SHORTEST_JITTER
        self._back_off(now_s, jitter)
        return Due([], [number for number, sending in wire.items() if sending.sent_s <= overdue_s])

    def _ask(self, wire: dict[int, Sending], now_s: float, jitter: Jitter) -> Due:
        self._asked = tuple(sorted(wire))
        self.due_s = now_s + ANSWER_S * 2**self._unanswered * jitter()
        return Due(IntervalSet((number, number) for number in self._asked).to_list(), [])

    def _unanswered_ask(self, wire: dict[int, Sending], now_s: float, jitter: Jitter) -> Due:
        self._unanswered += 1
        if self._unanswered < UNANSWERED_LIMIT:
            return self._ask(wire, now_s, jitter)
        return Due([], self._asked_and_open(now_s, jitter))

    def answered(self, now_s: float, jitter: Jitter) -> list[int]:
        """An answer came and what it covers was dropped: the asked numbers that are to be sent again."""
        return self._asked_and_open(now_s, jitter) if self._asked else []

    def _asked_and_open(self, now_s: float, jitter: Jitter) -> list[int]:
        wire = self.wire or {}
        numbers = [number for number in self._asked if number in wire]
        self._asked = ()
        self._unanswered = 0
        self._back_off(now_s, jitter)
        return numbers

    def _back_off(self, now_s: float, jitter: Jitter) -> None:
        self._round = min(self._round + 1, 10)
        first_s = ANSWER_S if self._refused else OVERDUE_S
        self._refused = False
        self.due_s = self._backed_off_s(first_s, now_s, jitter) if self.wire else NEVER_S

    def _backed_off_s(self, first_s: float, now_s: float, jitter: Jitter) -> float:
        wait_s: float = min(OVERDUE_LIMIT_S, first_s * 2**self._round)
        return now_s + wait_s * jitter()
