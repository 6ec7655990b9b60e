"""What was done to a lab while it ran, in plain words; printed above its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from storefleet.run_record import FaultRecord, RunRecord
from storefleet.verdict.run_format import PLAN_FILE_NAME


def story(folder: Path) -> list[str]:
    """Lines about the fleet, its faults and restarts; none for a run that no lab wrote."""
    try:
        record = msgspec.json.decode((folder / PLAN_FILE_NAME).read_bytes(), type=RunRecord)
    except (OSError, UnicodeDecodeError, msgspec.DecodeError):
        return []
    plan = record.lab
    lines = [f"{plan.stores:,} stores, {plan.terminals:,} terminals, seed {plan.seed}, {plan.rate_per_s:g} events/s"]
    lines += [f"fault: {describe(fault)}" for fault in record.faults]
    lines += [f"restarted: {name} after {', '.join(exits)}" for name, exits in sorted(record.restarts.items())]
    return lines


def describe(fault: FaultRecord) -> str:
    """One fault in one line: what, where, how long, and whether it took effect by the hop's own word."""
    attributes = " ".join(f"{name} {value}" for name, value in fault.attributes.items())
    seconds = f" for {(fault.end_ms - fault.begin_ms) / 1000:.1f} s" if fault.end_ms else ", not lifted"
    itself = ", ended by itself" if fault.ended_by_itself else ""
    return f"{fault.type} of {attributes or 'everything'} on {fault.hop}{seconds}{itself}{_effect(fault.evidence)}"


def plain_command(what: str, params: Mapping[str, Any]) -> str:
    """What a person told the lab, in a line: ``trade rate_per_s 50``."""
    return " ".join([what, *(f"{name} {value}" for name, value in params.items())])


def _effect(evidence: Any) -> str:
    rows = evidence if isinstance(evidence, list) else ()
    found = [one for one in rows if isinstance(one, dict) and "found" in one]
    if not found:
        return ""
    counts = (one.get("links_affected_total", 0) for one in found)
    connections = sum(count for count in counts if isinstance(count, int))
    return f"; {found[0]['found']}: {connections:,} connections felt it"
