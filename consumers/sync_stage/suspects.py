"""Documents that may be poison to the gateway: each is tried alone, and is to blame only when that fails three times.

Only failures of a document that was alone on its way count, and after the first only when others were stored since the
last one that counted: a gateway that fails on everything, or is killed from outside again and again, costs no event.
What is counted, and what is about to be tried, stands in the attempt record before the try, so that the stage's own
death forgets nothing: what stands there is tried alone from the start, and needs a store after that start as well.

A document is its key in one revision: another content under the same key is as innocent as any other document. Of what
stands in the record at the start no more than REMEMBERED_LIMIT is kept, the newest: some messages never come back,
because another instance has them.

Nothing here decides what a failure is; see :mod:`consumers.sync_stage.document_writer`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from consumers.sync_stage.canonical_documents import Prepared
from fleetwire.attempt_record import AttemptRecord
from fleetwire.in_hand import Identity
from fleetwire.mqtt import Message

FAILURES_ALLOWED: Final = 3
REMEMBERED_LIMIT: Final = 2_000
_PREFIX: Final = b"document:"

_log = logging.getLogger(__name__)


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
        self._failures = self._remembered()
        self._stored_total = 0
        self._stored_before = dict.fromkeys(self._failures, 0)

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, document: Prepared) -> bool:
        """Whether this document is to be tried alone."""
        return bool(self._failures) and _name(document) in self._failures

    def extend(self, tasks: Iterable[Task]) -> None:
        """Try these alone, behind the others."""
        for task in tasks:
            self._failures.setdefault(_name(task.prepared), 0)
            self._queue.append(task)

    def take(self) -> Task:
        """The next one to try; it is entered in the record."""
        task = self._queue.popleft()
        name = _name(task.prepared)
        self._attempts.remember(name, self._failures.setdefault(name, 0))
        return task

    def take_all(self, document: Prepared) -> list[Task]:
        """Every task in the queue that writes this document."""
        name = _name(document)
        found = [task for task in self._queue if _name(task.prepared) == name]
        if found:
            self._queue = deque(task for task in self._queue if _name(task.prepared) != name)
        return found

    def stored(self, documents: Iterable[Prepared]) -> None:
        """These are stored: they are innocent, and the gateway lives."""
        for document in documents:
            self._stored_total += 1
            if self._failures:
                self.forget(document)

    def count_failure(self, document: Prepared) -> int:
        """It failed alone; returns the failures that count."""
        name = _name(document)
        failures = self._failures.get(name, 0)
        if not failures or self._stored_total > self._stored_before[name]:
            failures = self._failures[name] = failures + 1
            self._stored_before[name] = self._stored_total
            self._attempts.remember(name, failures)
        return failures

    def forget(self, document: Prepared) -> None:
        """It is stored, or given up for good; when it comes again it is as innocent as any other."""
        name = _name(document)
        if self._failures.pop(name, None) is not None:
            self._stored_before.pop(name, None)
            self._attempts.end(name)

    def _remembered(self) -> dict[bytes, int]:
        remembered = self._attempts.remembered(_PREFIX)
        too_many = list(remembered)[:-REMEMBERED_LIMIT]
        if too_many:
            _log.warning("%d suspects of earlier runs never came again: forgotten", len(too_many))
        for name in too_many:
            del remembered[name]
            self._attempts.end(name)
        return remembered


def _name(document: Prepared) -> bytes:
    return _PREFIX + f"{document.key} {document.revision}".encode()
