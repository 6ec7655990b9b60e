"""Group commit: what all terminals do within a few milliseconds becomes durable in one transaction.

It guarantees that nothing is published that is not committed: whatever is to follow a change is given to
:meth:`Journal.after` and runs once the change is on disk. A full disk is a state, not an end: the batch is kept and
tried again, ``full`` says that no terminal can sell, and everything goes on by itself when there is room.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from emulator.business_day import Till
from emulator.ledger import Batch, Ledger
from fleetwire.errors import StorageError

GROUP_S: Final = 0.008
RETRY_S: Final = 0.25
_LOG_EVERY_S: Final = 1.0

_log = logging.getLogger(__name__)


class Journal:
    """The batch that fills up now; make and use it in a running loop."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.batch = Batch()
        self.full = False
        self.refusal = ""
        """Why the disk did not take the batch the last time; empty: it did."""
        self.commit_failures = 0
        self._tills: dict[int, Till] = {}
        self._after: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._logged_s = -_LOG_EVERY_S

    @property
    def uncommitted(self) -> int:
        """Events that wait for their commit."""
        return len(self.batch.events)

    def moved(self, number: int, till: Till) -> None:
        """This terminal's till has moved; its state is saved with the batch."""
        self._tills[number] = till

    def after(self, callback: Callable[[], None]) -> None:
        """Call this once everything that is in the batch by now is on disk."""
        self._after.append(callback)
        self.touch()

    def touch(self) -> None:
        """The batch holds something: commit within GROUP_S."""
        if self._timer is None:
            self._timer = self._loop.call_later(GROUP_S, self.flush)

    def flush(self) -> bool:
        """Commit now and run what waited for it; False when the disk did not take it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch = self.batch
        batch.tills = [(till.save(), number) for number, till in self._tills.items()]
        try:
            self.ledger.commit(batch)
        except StorageError as error:
            self._failed(error)
            return False
        self.full, self.refusal = False, ""
        self.batch = Batch()
        self._tills.clear()
        self._run_what_waited()
        return True

    def _run_what_waited(self) -> None:
        after, self._after = self._after, []
        for callback in after:
            try:
                callback()
            except Exception as error:  # noqa: BLE001 - one terminal's bug must not keep the others' events back
                message = "what was to follow a commit failed; the event is asked for later"
                self._loop.call_exception_handler({"message": message, "exception": error})

    def close(self) -> None:
        """Close the ledger; call :meth:`flush` before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.ledger.close()

    def _failed(self, error: StorageError) -> None:
        self.full, self.refusal = True, str(error)
        self.commit_failures += 1
        now_s = time.monotonic()
        if now_s - self._logged_s >= _LOG_EVERY_S:
            self._logged_s = now_s
            _log.error("no terminal can sell: %s", error)
        self._timer = self._loop.call_later(RETRY_S, self.flush)
