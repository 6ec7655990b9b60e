"""One view at work: its file, its feed connection, and the task that keeps it going, independent of all others."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from consumers.feed.fold_file import FoldFile
from consumers.feed.follower import Follower
from consumers.feed.lines import Unusable
from consumers.views.view import Selection, View
from fleetwire.errors import StorageError
from fleetwire.troubles import NOT_CONNECTED, Absence, tell_storage
from fleetwire.witness import Witness

RETRY_S: Final = 2.0

_log = logging.getLogger(__name__)


class ViewState(Struct, kw_only=True):
    """How a view is. ``age_ms``: since the gateway last said something to it, null before it did."""

    view: str
    channel: str
    checkpoint: str
    age_ms: int | None
    feed_connected: bool
    applied_total: int
    skipped: dict[str, int]
    error: str = ""


class HostedView:
    """A view in ``folder``; ``await run()`` until cancelled. A file that cannot be opened is tried again."""

    def __init__(
        self, url: str, folder: Path, view: View[Any], on_skipped: Callable[[Unusable], None] = lambda _: None
    ) -> None:
        self.view = view
        self._on_skipped = on_skipped
        self.path = folder / f"{view.name}.sqlite"
        self._url = url
        self._error = ""
        self._file: FoldFile[Any] | None = None
        self._follower: Follower | None = None
        self._feed: Absence | None = None

    async def run(self) -> None:
        """Open the file and follow; returns never."""
        while True:
            if self.open() and self._follower is not None:
                await self._follower.run()
            await asyncio.sleep(RETRY_S)

    def open(self) -> bool:
        """Whether the file is open now; why not, ``state`` says."""
        if self._file is not None:
            return True
        try:
            self._file = FoldFile(self.path, self.view, self._on_skipped)
        except StorageError as error:
            if not self._error:
                _log.error("view %s: %s", self.view.name, error)
            self._error = str(error)
            return False
        self._error = ""
        self._follower = Follower(self._url, self._file)
        return True

    def close(self) -> None:
        """Release the file, after ``run`` was cancelled."""
        if self._file is not None:
            self._file.close()

    def rebuild(self) -> None:
        """Forget all and read again from the beginning; raises StorageError."""
        if self._follower is None:
            raise StorageError(f"view {self.view.name} is not open: {self._error or 'not started'}")
        self._follower.rebuild()

    def rows(self, selection: Selection) -> list[Any]:
        """What the view shows now; nothing before its file is open."""
        if self._file is None:
            return []
        try:
            return self.view.rows(self._file.connection, selection)
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}") from error

    async def final_read(self, begin: int = 0) -> Mapping[str, Any]:
        """What the checker compares, of a view of events the page that begins with this source; raises StorageError."""
        if self._file is None:
            raise StorageError(f"view {self.view.name} is not open: {self._error or 'not started'}")
        try:
            standing = self._file.standing()
            return {**await asyncio.to_thread(self.view.final_read, self.path, begin), **standing}
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}") from error

    @property
    def state(self) -> ViewState:
        """How it is."""
        file, follower = self._file, self._follower
        return ViewState(
            view=self.view.name,
            channel=self.view.channel,
            checkpoint=file.checkpoint if file else "",
            age_ms=follower.age_ms if follower else None,
            feed_connected=follower.connected if follower else False,
            applied_total=file.applied_total if file else 0,
            skipped=dict(file.skipped) if file else {},
            error=self._error,
        )

    def tell_troubles(self, witness: Witness) -> None:
        """What is wrong with its file and its feed, if anything is."""
        file, follower = self._file, self._follower
        tell_storage(witness, self.view.name, file.refusal if file is not None else self._error)
        if follower is not None:
            self._feed = self._feed or Absence(witness, NOT_CONNECTED, self.view.name)
            detail = f"{self.view.name} has no feed of the gateway: {follower.failure}"
            self._feed.see(present=follower.connected, detail=detail)

    def counters(self) -> dict[str, float]:
        """Figures for the witness, with the view's name in front."""
        follower, state = self._follower, self.state
        if follower is None:
            return {}
        figures = {
            "applied_total": state.applied_total,
            "skipped_total": sum(state.skipped.values()),
            "skipped_unkept_total": self._file.unkept_total if self._file else 0,
            "feed_connected": int(state.feed_connected),
            "feed_age_ms": state.age_ms or 0,
            "feed_reconnects_total": follower.reconnects_total,
            "feed_failures_total": follower.failures_total,
            "backlog": follower.backlog,
        }
        return {f"{self.view.name}_{name}": figure for name, figure in figures.items()}
