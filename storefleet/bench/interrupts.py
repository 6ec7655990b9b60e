"""Ctrl-C for a benchmark: at once, but never in the middle of starting a process, which would leave it to nobody."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Within ``with Interrupts()`` SIGINT and SIGTERM raise KeyboardInterrupt; for the main thread only."""

    def __init__(self) -> None:
        self._holders = 0
        self._pending = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._on_signal) for number in NUMBERS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What the block does is done wholly; a signal that came meanwhile is raised behind it."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
        self._raise_pending()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._pending = True
        self._raise_pending()

    def _raise_pending(self) -> None:
        if self._pending and not self._holders:
            self._pending = False
            raise KeyboardInterrupt
