"""Documents that may be poison to the gateway: each is tried alone, and is to blame only when that fails three times.

Only failures of a document that was alone on its way count, and after the first only when others were stored since: a
gateway that fails on everything, or is killed from outside again and again, costs no event. What is counted, and what
is about to be tried, stands in the attempt record before the try, so that the stage's own death forgets nothing: what
stands there is tried alone from the start.

Nothing here decides what a failure is; see :mod:`consumers.sync_stage.document_writer`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from consumers.sync_stage.canonical_documents import Prepared
from fleetwire.attempt_record import AttemptRecord
from fleetwire.identity import Key
from fleetwire.in_hand import Identity
from fleetwire.mqtt import Message

FAILURES_ALLOWED: Final = 3
_PREFIX: Final = b"document:"


class Task(Struct, frozen=True):
    """One document to write, and the message that it came with."""

    identity: Identity
    message: Message
    prepared: Prepared


class Suspects:
    """A queue of tasks; ``stored`` must hear of every document that is stored."""

    def __init__(self, attempts: AttemptRecord) -> None:
        self._attempts = attempts
        self._queue: deque[Task] = deque()
        self._failures = {_key(name): failures for name, failures in attempts.remembered(_PREFIX).items()}
        self._stored_total = 0
        self._stored_before = {key: 0 for key, failures in self._failures.items() if failures}

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, key: Key) -> bool:
        """Whether this document is to be tried alone."""
        return str(key) in self._failures

    def extend(self, tasks: Iterable[Task]) -> None:
        """Try these alone, behind the others."""
        for task in tasks:
            self._failures.setdefault(str(task.prepared.key), 0)
            self._queue.append(task)

    def take(self) -> Task:
        """The next one to try; it is entered in the record."""
        task = self._queue.popleft()
        key = str(task.prepared.key)
        self._attempts.remember(_name(key), self._failures.setdefault(key, 0))
        return task

    def take_all(self, key: Key) -> list[Task]:
        """Every task in the queue that writes this document."""
        found = [task for task in self._queue if task.prepared.key == key]
        if found:
            self._queue = deque(task for task in self._queue if task.prepared.key != key)
        return found

    def stored(self, keys: Iterable[Key]) -> None:
        """These are stored: they are innocent, and the gateway lives."""
        for key in keys:
            self._stored_total += 1
            if self._failures:
                self.forget(key)

    def count_failure(self, key: Key) -> int:
        """It failed alone; returns the failures that count."""
        text = str(key)
        failures = self._failures.get(text, 0)
        stored_before = self._stored_before.setdefault(text, self._stored_total)
        if not failures or self._stored_total > stored_before:
            failures = self._failures[text] = failures + 1
            self._attempts.remember(_name(text), failures)
        return failures

    def forget(self, key: Key) -> None:
        """It is stored, or given up for good; what comes under this key later is as innocent as any other."""
        text = str(key)
        if self._failures.pop(text, None) is not None:
            self._stored_before.pop(text, None)
            self._attempts.end(_name(text))


def _name(key: str) -> bytes:
    return _PREFIX + key.encode()


def _key(name: bytes) -> str:
    return name.removeprefix(_PREFIX).decode()
