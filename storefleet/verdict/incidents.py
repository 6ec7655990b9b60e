"""What happened at hops and to processes, in words, which may be the reason of what is found: by plan and log of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from storefleet.verdict.clock_text import clock
from storefleet.verdict.history import FOREVER_MS, Incident
from storefleet.verdict.lab_record import describe
from storefleet.verdict.log_file import KINDS, Happening
from storefleet.verdict.machine import LAB_PROCESS, Stall
from storefleet.verdict.result import FaultAccount

PIECES_APART_MS: Final = 500
"""The lab notes a long standstill piece by piece; pieces that are no further apart are one."""
OVER: Final[dict[str, tuple[str, ...]]] = {
    "end": ("restart", "start"),
    "trouble_on": ("trouble_off",),
    "heard_in_part": (),
}
"""Kind of happening that is an incident -> those of the same process or file that end it; none: it is over at once."""


def incidents(
    faults: Iterable[FaultAccount], stalls: Iterable[Stall], happenings: Iterable[Happening] = ()
) -> list[Incident]:
    """All of them, by when they began."""
    found = [_of_fault(fault) for fault in faults]
    found += _of_stalls(stall for stall in stalls if stall.process != LAB_PROCESS)
    found += _of_happenings(happenings)
    return sorted(found, key=lambda one: one.from_ms)


def _of_fault(fault: FaultAccount) -> Incident:
    words = f"{describe(fault)}, from {clock(fault.begin_ms)}"
    return Incident(fault.hop, fault.begin_ms, fault.end_ms or FOREVER_MS, words, "fault")


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
        for from_ms, until_ms in own:
            words = f"{process} stood still for {(until_ms - from_ms) / 1000:.1f} s, from {clock(from_ms)}"
            yield Incident(_stage(process), from_ms, until_ms, words, "standstill")


def _of_happenings(happenings: Iterable[Happening]) -> Iterator[Incident]:
    """Ends that nobody asked for, and what stages said was wrong with them, until it was over."""
    lasting: list[tuple[Happening, tuple[str, ...]]] = []
    for one in happenings:
        ended = [pair for pair in lasting if pair[0].who == one.who and one.kind in pair[1] and _fits(pair[0], one)]
        for pair in ended:
            lasting.remove(pair)
            yield _of_happening(pair[0], one.at_ms)
        if one.kind in OVER:
            if OVER[one.kind]:
                lasting.append((one, OVER[one.kind]))
            else:
                yield _of_happening(one, one.at_ms)
    for left, _ in lasting:
        yield _of_happening(left, FOREVER_MS)


def _fits(begin: Happening, end: Happening) -> bool:
    """Of several troubles of one process, the one whose words the end repeats."""
    return begin.kind != "trouble_on" or begin.text.partition(":")[0] == end.text.partition(";")[0]


def _of_happening(one: Happening, until_ms: int) -> Incident:
    if one.kind == "end":
        words = f"{one.who} ended unasked at {clock(one.at_ms)}: {one.text}"
        return Incident(_stage(one.who), one.at_ms, until_ms, words, "end")
    said = one.text if one.kind == "trouble_on" else f"{KINDS[one.kind].words}: {one.text}"
    how_long = "" if until_ms == one.at_ms else ", to the end" if until_ms == FOREVER_MS else f" to {clock(until_ms)}"
    words = f"{one.who}: {said}, at {clock(one.at_ms)}{how_long}"
    return Incident(_stage(one.who), one.at_ms, until_ms, words, "trouble")


def _stage(process: str) -> str:
    return process.rpartition("-")[0] or process
