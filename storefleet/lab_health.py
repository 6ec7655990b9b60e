"""How a lab's processes fare, as ``status`` tells it: enough to see from outside that it has come back from a fault."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from storefleet.lab import Lab
from storefleet.processes import Child
from storefleet.verdict.machine import LAB_PROCESS

STALLS_TOLD: Final = 100
"""The newest of those that the lab measured itself."""


def health_of(lab: Lab) -> dict[str, Any]:
    """The keys ``processes``, ``terminals`` and ``stalls`` of a status."""
    seen = lab.observatory
    figures = [row for (stage, _), row in seen.instances.items() if stage == "emulator"]
    stalls = [stall for stall in seen.stalls if stall.process == LAB_PROCESS][-STALLS_TOLD:]
    return {
        "processes": {name: _process(lab, child) for name, child in lab.processes.children.items()},
        "terminals": {
            "online": round(seen.total("emulator", "online")),
            "of": lab.plan.terminals,
            "at_ms": min((row.at_ms for row in figures), default=0),
        },
        "stalls": msgspec.to_builtins(stalls),
    }


def _process(lab: Lab, child: Child) -> dict[str, Any]:
    return {
        "process_id": child.identity.process_id if child.identity else 0,
        "running": child.running,
        "ready": child.running and _has_said_ready(lab, child),
        "restarts": child.restarts,
        "last_exit": child.last_exit,
    }


def _has_said_ready(lab: Lab, child: Child) -> bool:
    """Whether this incarnation of it has: our broker never says so, and a user's command need not."""
    stage, _, instance = child.name.rpartition("-")
    if stage == "broker" or stage in lab.plan.commands:
        return True
    member = lab.control.members.get((stage, int(instance)))
    return member is not None and member.ready and member.incarnation == child.incarnation
