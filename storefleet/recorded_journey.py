"""One event's journey: every step of its run, and what is known there, from all evidence that the run folder has.

A running lab is asked for what its stages remember; ledger and witnesses are in its run folder while it runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict, replace

from fleetwire.errors import SettingsError
from fleetwire.identity import Key
from fleetwire.ledger_format import LEDGER_FILE_NAME
from fleetwire.witness import Step
from storefleet.control_client import call_lab
from storefleet.ledger_outcomes import last_resolved_key
from storefleet.verdict.journey import JourneyStep
from storefleet.verdict.journeys_file import JOURNEYS_FILE_NAME, Journeys, possible_journeys, read_journeys
from storefleet.verdict.ledger_entries import LedgerEntries, LedgerEntry, Told, ledger_entries
from storefleet.verdict.plan_check import usable
from storefleet.verdict.run_folder import read_plan
from storefleet.verdict.sightings import Sighting, sightings


class JourneyRow(Struct, frozen=True, kw_only=True):
    """One step of the run's journey; ``sighting`` None: it was not seen there."""

    step: str
    stage: str
    foreign: bool = False
    sighting: Sighting | None = None


class Outcome(Struct, frozen=True, kw_only=True):
    """What the ledger says of the event."""

    ledger: bool
    """The ledger can be read."""
    terminal: bool
    """The event's source is a terminal of the ledger."""
    committed: bool
    """The terminal has committed it."""
    sent: int = 0
    """How often it was sent."""
    sent_again_ms: int = 0
    """When it was sent last, if more than once; unix milliseconds."""
    told: list[Told] = []
    """What the terminal was told of it; empty: no outcome."""


class RecordedJourney(Struct, frozen=True, kw_only=True):
    """``steps``: process (``parm-1``) -> what it remembers; ``rows``: every step, in the order of the journey."""

    key: str
    steps: dict[str, Step]
    rows: list[JourneyRow]
    outcome: Outcome

    @property
    def seen(self) -> bool:
        """Whether anybody knows the event."""
        return any(row.sighting is not None for row in self.rows)


def recorded_journey(folder: Path, key: str | None) -> RecordedJourney:
    """The journey of one event (``key`` None: the newest with an outcome); raises SettingsError, BadPayload."""
    chosen = Key.parse(key) if key is not None else last_resolved_key(folder / LEDGER_FILE_NAME)
    if chosen is None:
        raise SettingsError(f"{folder}: no event of this run has an outcome")
    return _journey(folder, chosen, read_journeys(folder / JOURNEYS_FILE_NAME, {str(chosen)}))


def live_journey(lab: str | None, key: str | None) -> RecordedJourney:
    """The same in a running lab (``lab`` None: the only one); raises SettingsError, BadPayload, ControlError."""
    answer: dict[str, Any] = call_lab(lab, "journey", {"last": True} if key is None else {"key": key})
    chosen = Key.parse(answer["key"])
    return _journey(Path(answer["run_folder"]), chosen, possible_journeys(answer["steps"], str(chosen)))


def _journey(folder: Path, key: Key, remembered: Journeys) -> RecordedJourney:
    plan, _ = read_plan(folder)
    usable(plan)
    ledger = ledger_entries(folder / LEDGER_FILE_NAME, [key])
    seen = sightings(folder, plan, [key], ledger=ledger, remembered=remembered)[key]
    rows = [row for step in plan.steps for row in _rows(step, [one for one in seen if one.step == step.step])]
    steps = {process: known[str(key)] for process, known in remembered.items()}
    return RecordedJourney(key=str(key), steps=steps, rows=rows, outcome=_outcome(ledger, key))


def _rows(step: JourneyStep, seen: list[Sighting]) -> list[JourneyRow]:
    row = JourneyRow(step=step.step, stage=step.stage, foreign=step.foreign)
    return [replace(row, sighting=one) for one in seen] or [row]


def _outcome(ledger: LedgerEntries, key: Key) -> Outcome:
    entry: LedgerEntry | None = ledger.events.get(key)
    said = asdict(entry) if entry is not None else {}
    said.pop("committed_at_ms", None)
    return Outcome(ledger=ledger.readable, terminal=key.source in ledger.sources, committed=entry is not None, **said)
