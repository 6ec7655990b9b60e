"""Plants one anomaly after the other into a run's facts, has the checker judge, and compares what it reports.

The checker that judges is the one that judges runs. Every plant has a number; its place is drawn from (seed, number),
so that one command repeats it alone. In one plant of four, a stage of the journey is taken for somebody else's, without
a witness: spans widen, everything else must stay.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Final

from msgspec import Struct, field

from storefleet.selftest.findings import Findings, difference, findings
from storefleet.selftest.ground import Ground, Impossible
from storefleet.selftest.plants import PLANTS
from storefleet.selftest.plants_of_runs import Whole
from storefleet.verdict.check import check
from storefleet.verdict.history import History

FOREIGN_ONE_IN: Final = 4


class Failure(Struct, frozen=True, kw_only=True):
    """A plant that was not reported as it must be."""

    number: int
    plant: str
    foreign: str
    """The stage that was taken for somebody else's; '' for none."""
    missing: list[str]
    surplus: list[str]


class SelfTest(Struct, kw_only=True):
    """What came of all plants; ``impossible``: plant -> what the run lacks for it."""

    seed: int
    planted: dict[str, int] = field(default_factory=dict)
    with_foreign_stage: int = 0
    impossible: dict[str, str] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    @property
    def found(self) -> int:
        """How many were reported as they must be."""
        return sum(self.planted.values()) - len(self.failures)


def self_test(history: History, *, seed: int, numbers: Iterable[int]) -> SelfTest:
    """Plant the anomalies of these numbers, one at a time. The history is left as it was; it must be of a valid run."""
    ground = Ground(history)
    baselines: dict[str, Findings] = {}
    result = SelfTest(seed=seed)
    names = list(PLANTS)
    with _quiet_checker():
        for number in numbers:
            name = names[number % len(names)]
            ground.random = Random(f"{seed}/{number}")
            foreign = _draw_foreign(ground)
            _play(ground, name, number, foreign=foreign, baselines=baselines, result=result)
    return result


def _play(
    ground: Ground, name: str, number: int, *, foreign: str, baselines: dict[str, Findings], result: SelfTest
) -> None:
    history = ground.history
    try:
        if foreign:
            ground.make_foreign(foreign)
        if foreign not in baselines:
            baselines[foreign] = findings(check(history))
        expected = PLANTS[name](ground)
        found = findings(check(history))
    except Impossible as error:
        result.impossible[name] = str(error)
        return
    finally:
        ground.undo()
    result.planted[name] = result.planted.get(name, 0) + 1
    result.with_foreign_stage += bool(foreign)
    wanted = expected.findings if isinstance(expected, Whole) else Counter(baselines[foreign]) + expected
    missing, surplus = difference(found, wanted)
    if missing or surplus:
        result.failures.append(Failure(number=number, plant=name, foreign=foreign, missing=missing, surplus=surplus))


def _draw_foreign(ground: Ground) -> str:
    """A stage of ours behind the terminals that has a witness, now and then; '' for none."""
    ours = sorted({stage.stage for stage in ground.history.stages[1:] if stage.witnessed})
    return ground.random.choice(ours) if ours and ground.random.randrange(FOREIGN_ONE_IN) == 0 else ""


@contextmanager
def _quiet_checker() -> Iterator[None]:
    """The checker is made to fail on purpose: its traceback is no news."""
    logger = logging.getLogger(check.__module__)
    disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = disabled
