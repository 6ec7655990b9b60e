"""Which process suffers what, and when: a value with a text form, which is printed and can be read back.

``kill parm-1 at 0.5 s; pause lab for 3.2 s at 1.1 s`` is a schedule; whatever was played can be played again from it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Final, Literal, cast, get_args

from msgspec import Struct

from fleetwire.errors import SettingsError
from storefleet.verdict.machine import LAB_PROCESS

FaultKind = Literal["kill", "pause", "restart"]
"""SIGKILL; SIGSTOP for a while, then SIGCONT; SIGTERM. The lab starts again what ended; the soak does so for the lab."""
KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)
CHILDREN: Final = (
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
KINDS_OF: Final[dict[str, tuple[FaultKind, ...]]] = {
    **dict.fromkeys(CHILDREN, KINDS),
    # SIGTERM asks the lab for its verdict: that is the end of the run, and no fault.
    LAB_PROCESS: ("kill", "pause"),
}
PROCESSES: Final = tuple(KINDS_OF)
SINGLES: Final = tuple((process, kind) for process, kinds in KINDS_OF.items() for kind in kinds)
LONGEST_PAUSE_S: Final = 20.0
SHORTEST_PAUSE_S: Final = 0.2
SHORTEST_LEAD_S: Final = 0.1
LONGEST_LEAD_S: Final = 2.0
"""Trade between the last recovery and the first fault of a schedule."""
LONGEST_GAP_S: Final = 6.0
"""Between the faults of a pair."""
LATEST_S: Final = 60.0
"""No step that is read begins later; those that are drawn begin within the lead and the gap."""
STEP_LIMIT: Final = 10

_STEP: Final = re.compile(
    r"(?P<kind>[a-z]+) (?P<process>[a-z0-9_-]+)(?: for (?P<duration>\d+(?:\.\d+)?) s)? at (?P<at>\d+(?:\.\d+)?) s"
)


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


def schedule_text(steps: Sequence[Step]) -> str:
    """The text that :func:`read_schedule` takes."""
    return "; ".join(map(str, steps))


def read_schedule(text: str) -> list[Step]:
    """Read one schedule, of at most STEP_LIMIT steps; times are rounded to 0.01 s. Raises SettingsError."""
    steps = [_read_step(part.strip()) for part in text.split(";")]
    if len(steps) > STEP_LIMIT:
        raise SettingsError(f"--play: {len(steps)} steps in one schedule; at most {STEP_LIMIT} are played together")
    return steps


def _read_step(text: str) -> Step:
    found = _STEP.fullmatch(text)
    kind, process = (found["kind"], found["process"]) if found else ("", "")
    if found is None or kind not in KINDS or (found["duration"] is None) == (kind == "pause"):
        form = "'kill parm-1 at 0.5 s', 'restart parm-1 at 0.5 s' or 'pause parm-1 for 3 s at 0.5 s'"
        raise SettingsError(f"--play {text[:80]!r}: expected {form}, several in one schedule divided by ';'")
    if process not in KINDS_OF:
        raise SettingsError(f"--play {text[:80]!r}: no process {process}; there are {', '.join(PROCESSES)}")
    if kind not in KINDS_OF[process]:
        raise SettingsError(f"--play {text[:80]!r}: {kind} would end the run, whose lab it is; kill or pause it")
    at_s, duration_s = round(float(found["at"]), 2), round(float(found["duration"] or 0), 2)
    if at_s > LATEST_S or (kind == "pause" and not SHORTEST_PAUSE_S <= duration_s <= LONGEST_PAUSE_S):
        bounds = f"at most {LATEST_S:g} s after the begin, pauses of {SHORTEST_PAUSE_S:g} to {LONGEST_PAUSE_S:g} s"
        raise SettingsError(f"--play {text[:80]!r}: expected {bounds}")
    return Step(process=process, kind=cast("FaultKind", kind), at_s=at_s, duration_s=duration_s)


def each_alone(seed: int, longest_pause_s: float) -> list[list[Step]]:
    """Every process with every kind of fault once, one a schedule, in an order and at moments that the seed gives."""
    draws = random.Random(seed)
    return [
        [
            Step(
                process=process,
                kind=kind,
                at_s=round(draws.uniform(SHORTEST_LEAD_S, LONGEST_LEAD_S), 2),
                duration_s=round(draws.uniform(SHORTEST_PAUSE_S, longest_pause_s), 2) if kind == "pause" else 0.0,
            )
        ]
        for process, kind in draws.sample(SINGLES, len(SINGLES))
    ]
