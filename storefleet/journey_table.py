"""One event's journey as a person reads it: each stage's time, and what it did."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from rich.table import Table

from storefleet.live import STAGE_LABELS

ORDER: Final = ("emulator", "parm", "sync_stage", "gateway", "poseidon", "views", "olympus_dgs")


def journey_rows(steps: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Stage, time taken (UTC), milliseconds since the first step, what it did; in the order of the journey."""
    ordered = sorted(steps.items(), key=lambda item: (_rank(item[0]), item[1]["taken_ms"]))
    if not ordered:
        return []
    first_ms = min(step["taken_ms"] for _, step in ordered)
    return [
        (_label(name), _clock(step["taken_ms"]), f"+{step['taken_ms'] - first_ms} ms", _did(step))
        for name, step in ordered
    ]


def journey_table(key: str, steps: dict[str, Any]) -> Table:
    """The journey as Rich draws it."""
    table = Table(title=f"journey of {key}")
    for heading in ("stage", "at (UTC)", "since commit", "what it did"):
        table.add_column(heading)
    for row in journey_rows(steps):
        table.add_row(*row)
    return table


def _rank(name: str) -> int:
    stage = name.rpartition("-")[0]
    return ORDER.index(stage) if stage in ORDER else len(ORDER)


def _label(name: str) -> str:
    stage, _, instance = name.rpartition("-")
    return STAGE_LABELS.get(stage, stage) + (f" {instance}" if instance != "1" else "")


def _clock(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M:%S.%f}"[:-3]


def _did(step: dict[str, Any]) -> str:
    parts = [step.get("did") or "took it"]
    if step.get("handed_on_ms"):
        parts.append(f"handed on after {step['handed_on_ms'] - step['taken_ms']} ms")
    if step.get("attempt", 1) > 1:
        parts.append(f"attempt {step['attempt']}")
    return ", ".join(parts)
