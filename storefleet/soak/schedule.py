"""Which process suffers what, and when: a pure function of (seed, index), so that any schedule can be played again alone.

Schedules with an even index hit one process: in 27 of these in a row each process suffers each kind of fault once, in a
seeded order. Those with an odd index hit two different processes at random moments.
"""

from __future__ import annotations

import random
from itertools import product
from typing import Final, Literal, get_args

from msgspec import Struct

from fleetwire.errors import SettingsError

FaultKind = Literal["kill", "pause", "restart"]
"""SIGKILL; SIGSTOP for a while, then SIGCONT; SIGTERM. The lab starts again what ended."""
KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
PROCESSES: Final = (
    "emulator-1",
    "broker-1",
    "chaos-1",
    "parm-1",
    "sync_stage-1",
    "gateway-1",
    "poseidon-1",
    "olympus_dgs-1",
    "views-1",
)
LONGEST_PAUSE_S: Final = 20.0
SHORTEST_PAUSE_S: Final = 0.2
LONGEST_LEAD_S: Final = 2.0
"""Trade between the last recovery and the first fault of a schedule."""
LONGEST_GAP_S: Final = 6.0
"""Between the faults of a pair, when the first is no pause."""
SINGLES: Final = tuple(product(PROCESSES, KINDS))


class Step(Struct, frozen=True, kw_only=True):
    """One fault of a schedule. Seconds; ``duration_s`` is that of a pause, 0 for the others."""

    process: str
    kind: FaultKind
    at_s: float
    """After the schedule's begin."""
    duration_s: float = 0.0

    def __str__(self) -> str:
        length = f" for {self.duration_s:g} s" if self.kind == "pause" else ""
        return f"{self.kind} {self.process}{length} at {self.at_s:g} s"


def schedule(seed: int, index: int, *, longest_pause_s: float = LONGEST_PAUSE_S) -> list[Step]:
    """The steps of one schedule, by time; raises SettingsError for a pause or an index out of bounds."""
    if not SHORTEST_PAUSE_S <= longest_pause_s <= LONGEST_PAUSE_S:
        raise SettingsError(
            f"longest pause {longest_pause_s:g} s: expected {SHORTEST_PAUSE_S:g} to {LONGEST_PAUSE_S:g}"
        )
    if index < 0:
        raise SettingsError(f"schedule {index}: they are numbered from 0")
    draws = random.Random(f"{seed}/{index}")
    if index % 2 == 0:
        process, kind = _single(seed, index // 2)
        return [_step(draws, process, kind, _lead_s(draws), longest_pause_s)]
    first, second = draws.sample(PROCESSES, 2)
    one = _step(draws, first, draws.choice(KINDS), _lead_s(draws), longest_pause_s)
    gap_s = round(draws.uniform(0.0, one.duration_s or LONGEST_GAP_S), 2)
    return [one, _step(draws, second, draws.choice(KINDS), round(one.at_s + gap_s, 2), longest_pause_s)]


def _single(seed: int, number: int) -> tuple[str, FaultKind]:
    turn, place = divmod(number, len(SINGLES))
    order = list(SINGLES)
    random.Random(f"{seed}/turn {turn}").shuffle(order)
    return order[place]


def _step(draws: random.Random, process: str, kind: FaultKind, at_s: float, longest_pause_s: float) -> Step:
    duration_s = round(draws.uniform(SHORTEST_PAUSE_S, longest_pause_s), 2) if kind == "pause" else 0.0
    return Step(process=process, kind=kind, at_s=at_s, duration_s=duration_s)


def _lead_s(draws: random.Random) -> float:
    return round(draws.uniform(0.1, LONGEST_LEAD_S), 2)
