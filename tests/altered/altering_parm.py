"""``examples/my_parm.py`` that alters some sales, each in one of three ways; run by a test."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import my_parm

VICTIMS = range(4, 10)
good_canonical = my_parm.canonical


def off_by_a_cent(event: dict[str, Any]) -> None:
    """The total is one cent too much."""
    event["data"]["grand_cents"] += 1


def swapped(event: dict[str, Any]) -> None:
    """The first two lines change places."""
    lines = event["data"]["line_items"]
    lines[:2] = reversed(lines[:2])


def wrong_zone(event: dict[str, Any]) -> None:
    """Local time, eight hours behind, is written down as UTC."""
    moved = datetime.fromisoformat(event["time"].removesuffix("Z")) - timedelta(hours=8)
    event["time"] = moved.isoformat(timespec="milliseconds") + "Z"


WAYS = (off_by_a_cent, swapped, wrong_zone)


def canonical(raw: dict[str, Any], source: str) -> dict[str, Any]:
    """The same event gives the same alteration, however often it is sent."""
    event: dict[str, Any] = good_canonical(raw, source)
    if event["type"] == "transaction.retail" and event["sequence"] in VICTIMS:
        WAYS[event["sequence"] % len(WAYS)](event)
    return event


if __name__ == "__main__":
    my_parm.canonical = canonical
    my_parm.main()
