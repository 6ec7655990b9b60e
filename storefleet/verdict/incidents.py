"""What happened at hops and to processes, in words: faults and standstills, which may be the reason of what is found."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from storefleet.verdict.clock_text import clock
from storefleet.verdict.history import FOREVER_MS, Incident
from storefleet.verdict.lab_record import describe
from storefleet.verdict.machine import LAB_PROCESS, Stall
from storefleet.verdict.result import FaultAccount

PIECES_APART_MS: Final = 500
"""The lab notes a long standstill piece by piece; pieces that are no further apart are one."""


def incidents(faults: Iterable[FaultAccount], stalls: Iterable[Stall]) -> list[Incident]:
    """All of them, by when they began."""
    found = [_of_fault(fault) for fault in faults]
    found += _of_stalls(stall for stall in stalls if stall.process != LAB_PROCESS)
    return sorted(found, key=lambda one: one.from_ms)


def _of_fault(fault: FaultAccount) -> Incident:
    return Incident(
        fault.hop, fault.begin_ms, fault.end_ms or FOREVER_MS, f"{describe(fault)}, from {clock(fault.begin_ms)}"
    )


def _of_stalls(stalls: Iterable[Stall]) -> Iterator[Incident]:
    """A process that did not run, as long as it did not."""
    spans: dict[str, list[list[int]]] = {}
    for stall in sorted(stalls, key=lambda stall: stall.at_ms):
        until_ms = stall.at_ms + math.ceil(stall.duration_ms)
        own = spans.setdefault(stall.process, [])
        if own and stall.at_ms - own[-1][1] <= PIECES_APART_MS:
            own[-1][1] = max(own[-1][1], until_ms)
        else:
            own.append([stall.at_ms, until_ms])
    for process, own in spans.items():
        stage = process.rpartition("-")[0] or process
        for from_ms, until_ms in own:
            words = f"{process} stood still for {(until_ms - from_ms) / 1000:.1f} s, from {clock(from_ms)}"
            yield Incident(stage, from_ms, until_ms, words)
