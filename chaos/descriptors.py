"""How many links this process may have: a link takes two descriptors, and the operating system's limit is hard."""

from __future__ import annotations

import logging
import resource
from pathlib import Path
from typing import Final

from fleetwire.errors import SettingsError

RESERVE: Final = 64
"""Descriptors kept for listeners, the control plane, logs and the interpreter's own files."""
DESCRIPTOR_LIMIT: Final = 1_000_000

_log = logging.getLogger(__name__)


class LinkBudget:
    """Counts the links of all hops of this process against the limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.links = 0

    def take(self) -> bool:
        """Room for one more link; False when there is none."""
        if self.links >= self.limit:
            return False
        self.links += 1
        return True

    def give_back(self) -> None:
        """A link ended."""
        self.links -= 1


def raise_limit() -> int:
    """Raise the soft limit of descriptors to the hard one as far as the system lets us; returns what we have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTOR_LIMIT if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTOR_LIMIT)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        _log.warning("descriptors stay limited to %d (hard limit %d): %s", soft, hard, error)
        return soft
    return wanted


def link_limit(descriptors: int) -> int:
    """Links that fit into so many descriptors; raises SettingsError when not one does."""
    limit = (descriptors - RESERVE - _open_now()) // 2
    if limit < 1:
        raise SettingsError(
            f"{descriptors} descriptors are too few for a hop (2 a connection, {RESERVE} in reserve): raise ulimit -n"
        )
    return limit


def _open_now() -> int:
    folder = Path("/dev/fd")
    return sum(1 for _ in folder.iterdir()) if folder.is_dir() else RESERVE
