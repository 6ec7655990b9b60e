"""Plans of labs that nobody starts."""

from __future__ import annotations

from typing import Any

from storefleet.plan import LabPlan


def lab_plan(**changes: Any) -> LabPlan:
    """A plan of two stores, with changes."""
    fields: dict[str, Any] = {
        "name": "lab-one", "fleet": {}, "terminals": 6, "stores": 2, "brands": {"taco": "nested"},
        "heartbeat_interval_s": 30.0, "seed": 7, "rate_per_s": 200.0,
    }  # fmt: skip
    return LabPlan(**{**fields, **changes})
