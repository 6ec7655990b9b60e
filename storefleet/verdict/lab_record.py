"""What ``plan.json`` of a lab's run tells beyond the plan that judges it: commands, faults, the fleet and its shape.

A run that no lab has recorded tells of none of these, and what cannot be one of them is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from fleetwire import bounded_json
from storefleet.verdict.result import FaultAccount

_Part = TypeVar("_Part", bound=Struct)


class LabCommand(Struct, frozen=True, kw_only=True):
    """What a person told the running lab."""

    at_ms: int = 0
    what: str = ""


class LabFault(Struct, frozen=True, kw_only=True):
    """A fault as :class:`storefleet.run_record.FaultRecord` has it."""

    hop: str = ""
    name: str = ""
    type: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    begin_ms: int = 0
    end_ms: int = 0
    evidence: Any = None
    ended_by_itself: bool = False


class LabShape(Struct, frozen=True, kw_only=True):
    """Of :class:`storefleet.plan.LabPlan` what a report names, and the fleet as the emulator took it."""

    fleet: dict[str, Any] = field(default_factory=dict)
    stores: int = 0
    terminals: int = 0
    seed: int = 0
    rate_per_s: float = 0.0


class LabRecord(Struct, frozen=True, kw_only=True):
    """All of that."""

    commands: list[LabCommand] = field(default_factory=list)
    faults: list[LabFault] = field(default_factory=list)
    lab: LabShape = LabShape()


def lab_record(plan_content: bytes) -> LabRecord:
    """Read it from the content of ``plan.json``; what a lab cannot have written is empty."""
    return LabRecord(
        commands=_read(plan_content, _Commands).commands,
        faults=_read(plan_content, _Faults).faults,
        lab=_read(plan_content, _Lab).lab,
    )


class _Commands(Struct):
    commands: list[LabCommand] = []


class _Faults(Struct):
    faults: list[LabFault] = []


class _Lab(Struct):
    lab: LabShape = LabShape()


def _read(content: bytes, part: type[_Part]) -> _Part:
    try:
        return bounded_json.decode(content, type=part)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return part()


def account_faults(faults: Iterable[LabFault]) -> list[FaultAccount]:
    """Each in words: on whom it was, and what the hop says that it did."""
    return [
        FaultAccount(
            name=fault.name,
            type=fault.type,
            hop=fault.hop,
            of=" ".join(f"{name} {value}" for name, value in fault.attributes.items()) or "everything",
            begin_ms=fault.begin_ms,
            end_ms=fault.end_ms,
            ended_by_itself=fault.ended_by_itself,
            effect=_effect(fault.evidence),
        )
        for fault in faults
    ]


def _effect(evidence: object) -> str:
    pieces = evidence if isinstance(evidence, list) else []
    found = [one for one in pieces if isinstance(one, dict) and "found" in one]
    if not found:
        return ""
    counts = (one.get("links_affected_total", 0) for one in found)
    connections = sum(count for count in counts if isinstance(count, int))
    return f"{found[0]['found']}: {connections:,} connections felt it"


def describe(fault: FaultAccount) -> str:
    """One fault in one line: what, on whom, where, how long, and whether it took effect by the hop's own word."""
    seconds = f" for {(fault.end_ms - fault.begin_ms) / 1000:.1f} s" if fault.end_ms else ", not lifted"
    itself = ", ended by itself" if fault.ended_by_itself else ""
    effect = f"; {fault.effect}" if fault.effect else ""
    return f"{fault.type} of {fault.of} on {fault.hop}{seconds}{itself}{effect}"
