"""What the verdicts of many small labs must be, as rules over values: no lab is run here.

* A healthy lab on a machine that has too little time is never invalid. At most one in ten is unknown, and then only since
  the machine stood still, which a process outside the lab has measured too.
* A lab whose processes suffer is valid all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct, field

from storefleet.soak.beside import Standstill
from storefleet.verdict.result import Validity

UNKNOWN_ONE_IN: Final = 10
STALLED: Final = "machine_stalled"

Kind = Literal["healthy", "suffering"]


class SteadyRun(Struct, kw_only=True):
    """One lab from start to verdict."""

    kind: Kind
    seed: int
    validity: Validity | None = None
    """None: it left no verdict."""
    reasons: list[str] = field(default_factory=list)
    """Codes of the verdict's reasons for invalid and unknown."""
    seconds: float = 0.0
    suffered: list[str] = field(default_factory=list)
    """The schedules that were played."""
    seen: list[Standstill] = field(default_factory=list)
    """What the probe saw of the standstills by which the lab excused itself."""
    problem: str = ""
    """What went wrong on the way to the verdict."""
    run_folder: str = ""
    """Kept where something is to be looked at; else empty."""

    @property
    def wrong(self) -> str:
        """Which rule this run alone breaks; empty when none."""
        if self.validity is None:
            return "it left no verdict"
        if self.kind == "suffering":
            return "" if self.validity == "valid" else f"it is {self.validity}"
        if self.validity == "invalid":
            return "it is invalid"
        if self.validity == "unknown" and set(self.reasons) != {STALLED}:
            return "it is unknown for another reason than a machine that stood still"
        if self.validity == "unknown" and not self.seen:
            return "it is unknown, and nobody else saw the machine stand still"
        return ""

    def __str__(self) -> str:
        reasons = f" ({', '.join(self.reasons)})" if self.reasons else ""
        parts = [f"{self.kind}, seed {self.seed}: {self.validity or 'no verdict'}{reasons}, {self.seconds:.1f} s"]
        parts += [f"the probe saw {one.until_ms - one.from_ms:,} ms" for one in self.seen]
        parts += [f"suffered {schedule}" for schedule in self.suffered]
        parts += [text for text in (self.problem, self.run_folder) if text]
        return "; ".join(parts)


def broken_rules(runs: Sequence[SteadyRun]) -> Iterator[str]:
    """Every rule that does not hold, in a line."""
    for run in runs:
        if run.wrong:
            yield f"{run.kind}, seed {run.seed}: {run.wrong}"
    healthy = [run for run in runs if run.kind == "healthy"]
    unknown = sum(run.validity == "unknown" for run in healthy)
    allowed = len(healthy) // UNKNOWN_ONE_IN
    if unknown > allowed:
        yield f"{unknown} of {len(healthy)} healthy runs are unknown; at most {allowed} may be"


def summary(runs: Sequence[SteadyRun]) -> str:
    """How many of each kind were what, in a line."""
    parts = []
    for kind in dict.fromkeys(run.kind for run in runs):
        counts = Counter(run.validity or "without verdict" for run in runs if run.kind == kind)
        found = ", ".join(f"{count} {validity}" for validity, count in counts.items())
        parts.append(f"{sum(counts.values())} {kind}: {found}")
    return "; ".join(parts) or "nothing was run"
