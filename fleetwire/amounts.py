"""What one event adds to its store's sales of a business day: the one rule that ledger, views and checker share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NOTHING: Final = (0, 0)
RETAIL: Final = "transaction.retail"
VOID: Final = "transaction.void"


def sales_contribution(event_type: str, data: Mapping[str, object]) -> tuple[int, int]:
    """How many transactions and how many signed cents the event adds to the sales total.

    A sale, return or post-void is one transaction of its own ``grand_cents``, which are signed already (a RETURN and a
    void are negative). Training transactions and all other events add nothing. ``data`` is the event's decoded data.
    """
    if event_type == RETAIL:
        if data.get("training_mode"):
            return NOTHING
    elif event_type != VOID:
        return NOTHING
    cents = data.get("grand_cents")
    return (1, cents) if type(cents) is int else NOTHING
