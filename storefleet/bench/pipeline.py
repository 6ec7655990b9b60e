"""Part ``pipeline``: the highest rate that the whole lab carries with a flat backlog, and what a transaction costs.

Rates are offered in steps; each settles, is held and judged (:mod:`storefleet.bench.flatness`). A step that is not
flat is tried once more after its backlog is gone, then the step halfway to the last flat one. First every hop is
proxied, then bare.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from storefleet.bench.crew import Crew
from storefleet.bench.flatness import RULE, Step, judge
from storefleet.bench.lab_run import DRAIN_S, LAST_VIEWS, Counts, run_lab, trade, void_note
from storefleet.bench.process_usage import cpu_seconds, machine_cpu_seconds
from storefleet.bench.report import Figure, spread
from storefleet.lab import Lab
from storefleet.run import Run

MACHINE: Final = "machine"
OTHERS_CORES_MATTER: Final = 0.2


class Shape(NamedTuple):
    """The fleet, the rates in ascending order, and how long each settles and is held."""

    stores: int
    terminals_per_store: int
    rates: tuple[int, ...]
    settle_s: float
    hold_s: float
    tries: int = 2

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"{self.stores} stores, {self.stores * self.terminals_per_store} terminals, every view on,"
            f" {self.hold_s:g} s a step after {self.settle_s:g} s"
        )


FULL: Final = Shape(200, 3, (1_000, 1_500, 2_000, 2_500, 3_000, 3_500, 4_000, 4_500, 5_000), settle_s=3.0, hold_s=8.0)
QUICK: Final = Shape(200, 3, (500, 1_000), settle_s=1.5, hold_s=4.0, tries=1)


class Held(NamedTuple):
    """A step, the CPU microseconds a transaction of every process during it, and what was not ours of the machine."""

    step: Step
    cpu_us: dict[str, float]
    others_cores: float

    @property
    def cpu_total_us(self) -> float:
        """All processes together."""
        return sum(self.cpu_us.values())

    @property
    def by_cost(self) -> list[tuple[str, float]]:
        """The dearest process first."""
        return sorted(self.cpu_us.items(), key=lambda item: -item[1])


class Search:
    """One lab's search for its highest flat step; ``held`` is what was tried, in order."""

    def __init__(self, shape: Shape, label: str, say: Callable[[str], None]) -> None:
        self._shape = shape
        self._say = say
        self.label = label
        self.held: list[Held] = []
        self.void = ""
        """Why it does not count."""

    @property
    def best(self) -> Held | None:
        """The highest flat step."""
        return max((held for held in self.held if held.step.flat), key=lambda held: held.step.offered, default=None)

    @property
    def disturbed(self) -> str:
        """What others did to the machine while a step was not flat, when it matters."""
        most = max((held.others_cores for held in self.held if not held.step.flat), default=0.0)
        if most < OTHERS_CORES_MATTER:
            return ""
        return f"other processes took up to {most:.1f} cores while a step was not flat, so it may carry more"

    @property
    def counted(self) -> Held | None:
        """The highest flat step, when the run's verdict lets it count."""
        return None if self.void else self.best

    async def script(self, run: Run) -> None:
        """Step by step until one is not flat."""
        last_flat = 0
        for rate in self._shape.rates:
            if not await self._is_flat(run, rate):
                halfway = (last_flat + rate) // 2
                if last_flat and self._shape.tries > 1:
                    await self._hold(run, halfway)
                return
            last_flat = rate

    async def _is_flat(self, run: Run, rate: int) -> bool:
        for _ in range(self._shape.tries):
            held = await self._hold(run, rate)
            if held is not None and held.step.flat:
                return True
        return False

    async def _hold(self, run: Run, rate: int) -> Held | None:
        await trade(run, rate)
        await asyncio.sleep(self._shape.settle_s)
        counts, before, started_s = Counts(run.lab), _cpu_now(run.lab), time.monotonic()
        await counts.watch(self._shape.hold_s)
        elapsed_s, after = time.monotonic() - started_s, _cpu_now(run.lab)
        step = judge(rate, counts.series["emulator"], [counts.series[stage] for stage in LAST_VIEWS])
        if step is None:
            self._say(f"pipeline, {self.label}: {rate:,}/s: too few snapshots to judge")
            return None
        held = _held(step, {name: (after[name] - before[name]) / elapsed_s for name in after if name in before})
        self.held.append(held)
        self._tell(held)
        if not step.flat:
            await run.drain(DRAIN_S)
        return held

    def _tell(self, held: Held) -> None:
        step = held.step
        self._say(
            f"pipeline, {self.label}: {step.offered:,.0f}/s offered, {step.achieved:,.0f}/s committed,"
            f" backlog {step.backlog:,.0f} growing {step.growth:,.1f}/s, {held.cpu_total_us:.0f} us CPU each,"
            f" others took {held.others_cores:.1f} cores: {'flat' if step.flat else 'not flat'}"
        )


def _held(step: Step, cores: dict[str, float]) -> Held:
    """``cores`` by process: CPU seconds a second."""
    machine = cores.pop(MACHINE, sum(cores.values()))
    each = {name: used * 1e6 / max(1.0, step.achieved) for name, used in cores.items()}
    return Held(step, each, max(0.0, machine - sum(cores.values())))


def _cpu_now(lab: Lab) -> dict[str, float]:
    machine_s = machine_cpu_seconds()
    return cpu_of_processes(lab) | ({} if machine_s is None else {MACHINE: machine_s})


def cpu_of_processes(lab: Lab) -> dict[str, float]:
    """CPU seconds so far of every process of a lab, the broker and the lab itself among them, by name."""
    ids = {name: child.identity.process_id for name, child in lab.processes.children.items() if child.identity}
    found = {name: cpu_seconds(process_id) for name, process_id in {**ids, "lab": os.getpid()}.items()}
    return {name: seconds for name, seconds in found.items() if seconds is not None}


def measure(shape: Shape, crew: Crew, say: Callable[[str], None]) -> list[Figure]:
    """The highest flat rate with every hop proxied and with bare hops, and the CPU of each."""
    proxied = _search(shape, bare_hops=False, crew=crew, say=say)
    bare = _search(shape, bare_hops=True, crew=crew, say=say)
    return [
        _rate_figure("pipeline.proxied", shape, proxied, bare),
        _rate_figure("pipeline.bare", shape, bare, None),
        _cpu_figure("pipeline.proxied.cpu", shape, proxied, bare),
        _cpu_figure("pipeline.bare.cpu", shape, bare, None),
    ]


def _search(shape: Shape, *, bare_hops: bool, crew: Crew, say: Callable[[str], None]) -> Search:
    search = Search(shape, "bare hops" if bare_hops else "every hop proxied", say)
    fleet = {"stores": shape.stores, "terminals_per_store": shape.terminals_per_store}
    search.void = void_note(run_lab(search.script, fleet, bare_hops=bare_hops, crew=crew))
    if not search.void and search.best is None:
        search.void = "; ".join(filter(None, (f"no step was flat, not even {shape.rates[0]:,}/s", search.disturbed)))
    say(f"pipeline, {search.label}: {search.void or 'the verdict is valid'}")
    return search


def _rate_figure(name: str, shape: Shape, ours: Search, baseline: Search | None) -> Figure:
    best, other = ours.counted, baseline.counted if baseline is not None else None
    figure = Figure(
        name=name,
        what=f"transactions, {ours.label}",
        shape=shape.text,
        unit="1/s",
        note=ours.void or RULE,
        details=dict(_step_details(ours)),
    )
    if best is not None:
        figure.ours = best.step.achieved
        figure.lower_bound = best.step.offered == shape.rates[-1]
    if ours.disturbed and not ours.void:
        figure.note = f"{ours.disturbed}; {figure.note}"
    if other is not None:
        figure.baseline_name, figure.baseline = "bare hops", other.step.achieved
    if best is not None and other is not None:
        figure.ratio = spread([best.step.achieved], [other.step.achieved])
    return figure


def _step_details(search: Search) -> Iterator[tuple[str, float]]:
    for number, held in enumerate(search.held, start=1):
        prefix = f"step_{number}.{held.step.offered:.0f}_offered"
        yield f"{prefix}.committed_per_s", round(held.step.achieved, 1)
        yield f"{prefix}.backlog", round(held.step.backlog, 1)
        yield f"{prefix}.backlog_growth_per_s", round(held.step.growth, 1)
        yield f"{prefix}.cpu_us_a_transaction", round(held.cpu_total_us, 1)
        yield f"{prefix}.others_cores", round(held.others_cores, 2)
        yield f"{prefix}.flat", float(held.step.flat)


def _cpu_figure(name: str, shape: Shape, ours: Search, baseline: Search | None) -> Figure:
    best, other = ours.counted, baseline.counted if baseline is not None else None
    figure = Figure(name=name, what=f"CPU a transaction, {ours.label}", shape=shape.text, unit="us", note=ours.void)
    if best is None:
        return figure
    if not best.cpu_us:
        figure.note = "CPU times are not available here: neither /proc nor ps gives them"
        return figure
    figure.shape = f"at {best.step.offered:,.0f}/s, all processes, broker and lab included"
    figure.ours = best.cpu_total_us
    figure.note = "by process: " + ", ".join(f"{process} {value:.0f}" for process, value in best.by_cost)
    figure.details = {f"{process}_us": round(value, 1) for process, value in best.by_cost}
    if other is not None and other.cpu_us:
        figure.baseline_name, figure.baseline = f"bare hops at {other.step.offered:,.0f}/s", other.cpu_total_us
        figure.ratio = spread([figure.ours], [figure.baseline])
    return figure
