"""Measures whether writes to a disk hang, by writing as the stages do: into the page cache, never asking for the disk.

SQLite with ``synchronous=OFF`` waits for a disk only where a plain write does: too many dirty pages, a journal that does not
get on, a file system that is frozen or gone. A flush would wait for the disk itself, which nobody of ours does. A disk
that is full refuses: that is no wait, however long it takes to say so, and neither is any other error. Only a write that
hangs while it is asked about counts before anybody knows how it ends.

The probe has a thread of its own, which nobody waits for: a write that never comes back holds up nothing but itself.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import IO, Final

INTERVAL_S: Final = 0.25
BLOCK: Final = bytes(4096)
BLOCKS: Final = 16
"""The file grows to so many blocks; then they are written over, as a write-ahead log is."""
KEPT_WAITS: Final = 100

_log = logging.getLogger(__name__)


class DiskProbe:
    """Writes a block into a file without a name in ``folder``, again and again, and tells which writes hung."""

    def __init__(self, folder: Path, floor_s: float) -> None:
        """A write hung if it took ``floor_s`` or longer."""
        self._folder = folder
        self._floor_s = floor_s
        self.measures = False
        """A write has come back, or hangs: the figures mean something."""
        self._file: IO[bytes] | None = None
        self._written = 0
        self._began_s: float | None = None
        """The write under way; monotonic clock, like all times here."""
        self._ended: deque[tuple[float, float]] = deque(maxlen=KEPT_WAITS)
        self._told_until_s = 0.0
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin to write."""
        threading.Thread(target=self._run, name="disk probe", daemon=True).start()

    def stop(self) -> None:
        """No further write begins; the one under way is left to itself."""
        self._stopping.set()

    def waits(self) -> list[tuple[float, float]]:
        """Spans in which writes hung, from and until by the monotonic clock, each moment told once.

        A write that still hangs is told piece by piece.
        """
        spans = []
        while self._ended:
            spans.append(self._ended.popleft())
        began_s, now_s = self._began_s, time.monotonic()
        if began_s is not None and now_s - began_s >= self._floor_s:
            self.measures = True
            spans.append((began_s, now_s))
        untold = [(max(began_s, self._told_until_s), ended_s) for began_s, ended_s in spans]
        self._told_until_s = max((ended_s for _, ended_s in spans), default=self._told_until_s)
        return [(began_s, ended_s) for began_s, ended_s in untold if ended_s > began_s]

    def write(self) -> None:
        """One block; raises OSError."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by _run
        os.pwrite(self._file.fileno(), BLOCK, self._written % BLOCKS * len(BLOCK))
        self._written += 1

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._time_one()
                self._stopping.wait(INTERVAL_S)
        finally:
            if self._file is not None:
                self._file.close()

    def _time_one(self) -> None:
        began_s = self._began_s = time.monotonic()
        try:
            self.write()
        except OSError as error:
            _log.debug("no block can be written into %s: %s", self._folder, error.strerror)
        else:
            self.measures = True
            ended_s = time.monotonic()
            if ended_s - began_s >= self._floor_s:
                self._ended.append((began_s, ended_s))
        self._began_s = None
