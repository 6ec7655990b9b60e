"""A run folder made by hand, file by file, of which every proof of an event's journey is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from fleetwire.content import HASH_BYTES
from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import packed_times
from fleetwire.witness import Snapshot, ViewRead
from storefleet.verdict.history import Ledger
from storefleet.verdict.journey import JOURNEY, VIEWS, JourneyStep, JourneyView
from storefleet.verdict.letter_file import End, Header, Letter
from storefleet.verdict.run_format import FinalRead, Plan, Reads, WitnessesHeader
from storefleet.verdict.witnesses_header import header_line
from tests.verdict.test_run_folder import write_ledger
from tests.verdict.world import SOURCES, START_MS, ledger

ONE, TWO, THREE = SOURCES
READ_MS = START_MS + 60_000


class SeenRun:
    """Its folder; each method writes one file, or adds to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plan = Plan(name="seen", started_at_ms=START_MS, steps=lab_steps())

    def foreign(self, *stages: str) -> None:
        """These stages are somebody else's."""
        steps = self.plan.steps
        self.plan.steps = [msgspec.structs.replace(step, foreign=step.stage in stages) for step in steps]

    def write_plan(self) -> None:
        """``plan.json``."""
        (self.folder / "plan.json").write_bytes(msgspec.json.encode(self.plan))

    def write_ledger(self, truth: Ledger | None = None) -> None:
        """Ten events of each source, a second apart, all told to be applied; or what is given."""
        write_ledger(self.folder / "ledger.sqlite", truth or ledger())

    def report(
        self,
        stage: str,
        at_s: float,
        taken: dict[str, list[tuple[int, int]]],
        *,
        handed_on: dict[str, list[tuple[int, int]]] | None = None,
        number: int = 0,
        instance: int = 1,
        incarnation: int = 1,
    ) -> None:
        """A line of the witnesses, ``at_s`` seconds after the start; ``handed_on`` None: all that was taken."""
        snapshot = Snapshot(
            stage=stage,
            instance=instance,
            incarnation=incarnation,
            at_ms=at(at_s),
            number=number,
            taken=taken,
            handed_on=taken if handed_on is None else handed_on,
        )
        self.line(msgspec.json.encode(snapshot))

    def line(self, line: bytes) -> None:
        """Any line of the witnesses."""
        path = self.folder / "witnesses.jsonl"
        if not path.exists():
            path.write_bytes(header_line(WitnessesHeader(run=self.plan.name, started_at_ms=START_MS)))
        with path.open("ab") as file:
            file.write(line + b"\n")

    def write_reads(self, views: dict[str, FinalRead]) -> None:
        """``reads.json``."""
        (self.folder / "reads.json").write_bytes(msgspec.json.encode(Reads(views=views)))

    def write_letters(self, *letters: Letter) -> None:
        """``letters.jsonl``."""
        lines = (Header(begun_at_ms=START_MS), *letters, End(end_at_ms=READ_MS))
        (self.folder / "letters.jsonl").write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def write_journeys(self, journeys: Any) -> None:
        """``journeys.json``."""
        (self.folder / "journeys.json").write_bytes(msgspec.json.encode(journeys))


def at(seconds: float) -> int:
    """Unix milliseconds, so long after the start; event ``n`` was committed at ``at(n)``."""
    return START_MS + round(seconds * 1000)


def lab_steps() -> list[JourneyStep]:
    """As a lab records them: its gateway has no witness."""
    return [msgspec.structs.replace(step, witnessed=step.witnessed and step.step != "gateway") for step in JOURNEY]


def views_with(**changes: Any) -> list[JourneyView]:
    """The views of a lab, each with these changes."""
    return [msgspec.structs.replace(view, **changes) for view in VIEWS]


def held(times_s: dict[int, float], source: str = ONE, *, timed: bool = True) -> FinalRead:
    """The final read of a view that holds these events of one source since these seconds."""
    numbers = sorted(times_s)
    times_ms = [at(times_s[number]) if times_s[number] else 0 for number in numbers]
    read = ViewRead(
        intervals=IntervalSet((number, number) for number in numbers).to_list(),
        hashes=bytes(HASH_BYTES * len(numbers)),
        applied_at_ms=packed_times(times_ms) if timed else b"",
    )
    return FinalRead(at_ms=READ_MS, events={source: read})
