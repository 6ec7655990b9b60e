"""Whether aiomqtt, the baseline client, is there; it is an extra of the package, so it may not be."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

MISSING: Final = "aiomqtt is not installed (extra 'aiomqtt'): no baseline by it"


def aiomqtt_is_there() -> bool:
    """Found without importing it."""
    return find_spec("aiomqtt") is not None
