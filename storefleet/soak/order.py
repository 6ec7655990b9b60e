"""What a soak is to play, as it was ordered on the command line, and the commands that order it again."""

from __future__ import annotations

import shlex
from typing import Final

from msgspec import Struct

from storefleet.soak.play import CONVERGENCE_LIMIT_S
from storefleet.soak.schedule import LONGEST_PAUSE_S, Step, each_alone, schedule_text

DEFAULT_MINUTES: Final = 5.0
LEAST_MINUTES: Final = 0.01
"""Over before any schedule that was given: behind it nothing is drawn."""


class Order(Struct, frozen=True, kw_only=True):
    """What was ordered on the command line.

    First ``play``, then with ``each`` every process with every kind of fault; all of these, however long they take. Then
    those that are drawn: ``schedules`` of them, or else as many as begin within the ``minutes``. Where neither is given
    it is DEFAULT_MINUTES, or none behind ``play``.
    """

    seed: int
    stores: int
    rate: str
    minutes: float | None = None
    schedules: int | None = None
    play: list[list[Step]] = []
    each: bool = False
    shrink: bool = False
    longest_pause_s: float = LONGEST_PAUSE_S
    limit_s: float = CONVERGENCE_LIMIT_S

    @property
    def given(self) -> list[list[Step]]:
        """The schedules that are not drawn."""
        return [*self.play, *(each_alone(self.seed, self.longest_pause_s) if self.each else [])]

    def enough(self, drawn: int, seconds: float) -> bool:
        """Whether no further schedule is to be drawn."""
        if self.schedules is not None:
            return drawn >= self.schedules
        minutes = self.minutes if self.minutes is not None else 0.0 if self.play else DEFAULT_MINUTES
        return seconds >= 60.0 * minutes

    def command(self, *, drawn: int | None = None) -> str:
        """The command that plays this again; ``drawn``: with exactly so many of those, if any was played."""
        words = self._lab_words()
        for steps in self.play:
            words += ["--play", schedule_text(steps)]
        words += ["--each"] if self.each else []
        schedules = drawn or self.schedules
        if drawn == 0 and self.given:
            words += ["--minutes", f"{LEAST_MINUTES:g}"]
        elif schedules is not None:
            words += ["--schedules", str(schedules)]
        elif self.minutes is not None:
            words += ["--minutes", f"{self.minutes:g}"]
        words += ["--shrink"] if self.shrink else []
        if self.longest_pause_s != LONGEST_PAUSE_S:
            words += ["--longest-pause", f"{self.longest_pause_s:g}"]
        return shlex.join(words)

    def command_alone(self, steps: list[Step]) -> str:
        """The command that plays one schedule and nothing else."""
        return shlex.join([*self._lab_words(), "--play", schedule_text(steps)])

    def _lab_words(self) -> list[str]:
        words = ["scripts/soak", "--seed", str(self.seed), "--stores", str(self.stores), "--rate", self.rate]
        return words + (["--converge-within", f"{self.limit_s:g}"] if self.limit_s != CONVERGENCE_LIMIT_S else [])

    def lab_options(self) -> list[str]:
        """Options of ``storefleet up``."""
        return ["--stores", str(self.stores), "--rate", self.rate, "--seed", str(self.seed)]
