"""Every terminal holds a socket: room is made at the start, or the fleet is refused with the number that fits."""

from __future__ import annotations

import resource
from typing import Final

from fleetwire.errors import SettingsError

RESERVED: Final = 64
"""Descriptors for everything that is no terminal: the ledger, the control plane, the loop."""


def make_room(terminals: int) -> None:
    """Raise this process's own limit as far as it takes; raises SettingsError when the hard limit is below."""
    needed = terminals + RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise SettingsError(
            f"{terminals} terminals need {needed} descriptors, the hard limit is {hard}: {max(0, hard - RESERVED)} "
            f"terminals fit here; use fewer, more shards, or raise the limit (ulimit -Hn {needed})"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
