"""Background tasks that a stage cannot live without: one that ends by an error takes the process with it.

A stage whose writer is dead looks alive and does nothing. A process that ended is seen, and is started again.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any, Final

EXIT_STATUS: Final = 70
_log = logging.getLogger(__name__)


def start(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """Run this as a task of that name; the caller keeps it, and cancels it when the stage stops."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_end_with)
    return task


def _end_with(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("%s ended: %s; ending", task.get_name(), error, exc_info=error)
        os._exit(EXIT_STATUS)
