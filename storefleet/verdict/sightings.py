"""Everything that proves when each step of the journey had an event, from all files of a run folder.

| evidence | says |
|---|---|
| ``ledger`` | when a terminal committed it; that a stage rejected it |
| ``journey`` | what a stage remembers of its newest 20,000 events: when it came, when and how it was handed on |
| ``read`` | since when a view holds it, by its final read |
| ``witness`` | by when a stage had reported it, and until when it had not |
| ``letter`` | by when the lab had heard that a stage could not use it |
| ``acknowledged`` | by when a party that does not report had it: by its word (PUBACK, HTTP 201) to who handed it on |
| ``downstream`` | by when it had passed: what lies behind has it |

Of several proofs the earliest counts, since each is true. A stage of somebody else's proves nothing by its own word, but by
what lies behind it. An event that the ledger does not know was made up on the way, nobody knows where: it has passed the
party right before whoever took it, and nothing follows for those before that. Work and memory grow with the number of keys:
ask for a few hundred at most. A file that is missing or damaged gives fewer sightings.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from fleetwire.dead_letters import printable
from fleetwire.errors import SettingsError
from fleetwire.identity import Key
from fleetwire.ledger_format import LEDGER_FILE_NAME
from fleetwire.packed_times import END_OF_TIME_MS
from fleetwire.witness import Step
from storefleet.verdict.events_read import Found, events_read
from storefleet.verdict.journey import JourneyStep, JourneyView
from storefleet.verdict.journeys_file import JOURNEYS_FILE_NAME, Journeys, instance_of, read_journeys
from storefleet.verdict.ledger_entries import LedgerEntries, LedgerEntry, ledger_entries
from storefleet.verdict.letter_file import LETTERS_FILE_NAME, Letter, read_letters
from storefleet.verdict.run_format import READS_FILE_NAME, WITNESSES_FILE_NAME, Plan
from storefleet.verdict.witnessed_events import Report, witnessed_events

EVIDENCE: Final = {
    "ledger": "had it",
    "journey": "took it",
    "read": "holds it",
    "witness": "took it",
    "letter": "could not use it",
    "acknowledged": "acknowledged it",
    "downstream": "passed, by what lies behind",
}
"""Kind of proof, the one that says most first -> what the stage did, where no proof says more."""
_RANK: Final = {code: rank for rank, code in enumerate(EVIDENCE)}
LETTER_LIMIT: Final = 16
"""So many letters of one event are looked at: the first ones."""
DID_CHARACTERS: Final = 200


class Sighting(Struct, frozen=True, kw_only=True):
    """One instance of a stage had an event. Times are unix milliseconds."""

    step: str
    stage: str
    instance: int = 0
    """0: not known."""
    at_ms: int
    """When it was there."""
    exact: bool = True
    """False: it was there by ``at_ms``, and not yet at ``after_ms``."""
    after_ms: int = 0
    """0: not known."""
    handed_on_ms: int = 0
    """When the next party had it by its own word; 0: not known."""
    handed_on_exact: bool = True
    """False: it had it by then."""
    attempt: int = 0
    """Which sending of it was the first to come here; 0: not known."""
    did: str = ""
    """E.g. ``committed``, ``stored``, ``applied``, ``rejected: schema``, ``dead letter: schema: no data``."""
    evidence: str = ""
    """A row of EVIDENCE."""


def sightings(
    folder: Path,
    plan: Plan,
    keys: Collection[Key],
    *,
    ledger: LedgerEntries | None = None,
    remembered: Journeys | None = None,
) -> dict[Key, list[Sighting]]:
    """What a run folder proves of each of these events, in the order of ``plan.steps``; within a step the earliest first.

    A step is there once for each instance that had the event, and absent where nothing is known. ``ledger``: what the
    caller has read of it; ``remembered``: what stages say now, beside the journeys that the folder has. Raises
    SettingsError when there is no such folder.
    """
    if not folder.is_dir():
        raise SettingsError(f"{folder} is no run folder; name one such as runs/<time>-<name>")
    evidence = _gather(folder, plan, keys, ledger, remembered or {})
    return {key: _journey(key, plan.steps, evidence) for key in keys}


class _Gathered(NamedTuple):
    """All that the files say of the wanted events."""

    ledger: LedgerEntries
    journeys: list[Journeys]
    found: dict[Key, list[Found]]
    reports: dict[Key, list[Report]]
    letters: dict[Key, list[Letter]]
    views: dict[str, JourneyView]


def _gather(
    folder: Path, plan: Plan, keys: Collection[Key], ledger: LedgerEntries | None, remembered: Journeys
) -> _Gathered:
    if ledger is None:
        ledger = ledger_entries(folder / LEDGER_FILE_NAME, keys)
    committed_ms = {key: entry.committed_at_ms for key, entry in ledger.events.items()}
    views = {view.view: view for view in plan.views if view.holds == "events"}
    return _Gathered(
        ledger=ledger,
        journeys=[remembered, read_journeys(folder / JOURNEYS_FILE_NAME, {str(key) for key in keys})],
        found=events_read(folder / READS_FILE_NAME, views, keys),
        reports=witnessed_events(folder / WITNESSES_FILE_NAME, plan, keys, committed_ms),
        letters=_letters(folder / LETTERS_FILE_NAME, keys),
        views=views,
    )


def _letters(path: Path, keys: Collection[Key]) -> dict[Key, list[Letter]]:
    wanted: dict[tuple[str, int | None], list[Letter]] = {key: [] for key in keys}
    letters = read_letters(path)
    for letter in letters.heard if letters is not None else ():
        known = wanted.get((letter.source, letter.sequence))
        if known is not None and len(known) < LETTER_LIMIT:
            known.append(letter)
    return {key: wanted[key] for key in keys}


# -- one event ---------------------------------------------------------------------------------------------------------


def _journey(key: Key, steps: Sequence[JourneyStep], gathered: _Gathered) -> list[Sighting]:
    """All proofs of one event, by step and instance as one."""
    by_step: dict[str, list[Sighting]] = {step.step: [] for step in steps}
    for proof in _proofs(key, steps, gathered):
        by_step[proof.step].append(proof)
    for step in steps:
        before = by_step.get(step.after, ()) if _is_silent(step) else ()
        by_step[step.step] += [_acknowledged(step, one) for one in before if one.handed_on_ms]
        by_step[step.step] = _united(by_step[step.step])
    _enter_passages(steps, by_step, committed=key in gathered.ledger.events)
    return [one for step in steps for one in by_step[step.step]]


def _proofs(key: Key, steps: Sequence[JourneyStep], gathered: _Gathered) -> Iterator[Sighting]:
    """All that names the event itself, with the kinds of proof in any order."""
    first_of_stage = {step.stage: step for step in reversed(steps)}
    entry = gathered.ledger.events.get(key)
    if entry is not None and steps:
        yield from _by_ledger(steps[0], first_of_stage, entry)
    for journeys in gathered.journeys:
        for process, remembered in journeys.items():
            stage, instance = instance_of(process) or ("", 0)
            if str(key) in remembered and stage in first_of_stage and not first_of_stage[stage].foreign:
                yield _by_journey(first_of_stage[stage], instance, remembered[str(key)])
    by_name = {step.step: step for step in steps}
    for found in gathered.found.get(key, ()):
        view = gathered.views[found.view]
        if view.step in by_name:
            yield _by_read(by_name[view.step], view, found)
    for report in gathered.reports.get(key, ()):
        yield _by_witness(first_of_stage[report.stage], report)
    for letter in gathered.letters[key]:
        if letter.stage in first_of_stage and 0 < letter.at_ms < END_OF_TIME_MS:
            yield _by_letter(first_of_stage[letter.stage], letter)


def _by_ledger(first: JourneyStep, of_stage: dict[str, JourneyStep], entry: LedgerEntry) -> Iterator[Sighting]:
    """Its commit, and what the terminal was told by a stage: a rejection, or by one without a witness that it applied it.

    ``applied`` of a stage with a witness is what the verdict judges by what that stage holds, and proves nothing here.
    """
    yield Sighting(step=first.step, stage=first.stage, at_ms=entry.committed_at_ms, did="committed", evidence="ledger")
    for told in entry.told:
        step = of_stage.get(told.stage)
        if step is not None and (told.verdict == "rejected" or step.foreign or not step.witnessed):
            did = f"rejected: {_text(told.reason)}" if told.verdict == "rejected" else "applied"
            yield Sighting(step=step.step, stage=step.stage, at_ms=told.at_ms, exact=False, did=did, evidence="ledger")


def _by_journey(step: JourneyStep, instance: int, remembered: Step) -> Sighting:
    return Sighting(
        step=step.step,
        stage=step.stage,
        instance=instance,
        at_ms=remembered.taken_ms,
        handed_on_ms=remembered.handed_on_ms,
        attempt=remembered.attempt,
        did=_text(remembered.did),
        evidence="journey",
    )


def _by_read(step: JourneyStep, view: JourneyView, found: Found) -> Sighting:
    """A view that reads the step over a hop, or that the lab itself heard, had it a little later than the step."""
    did = f"skipped: {_text(found.skipped)}" if found.skipped else ""
    exact = found.exact and not view.hop and not view.heard
    return Sighting(step=step.step, stage=step.stage, at_ms=found.at_ms, exact=exact, did=did, evidence="read")


def _by_witness(step: JourneyStep, report: Report) -> Sighting:
    return Sighting(
        step=step.step,
        stage=step.stage,
        instance=report.instance,
        at_ms=report.by_ms,
        exact=False,
        after_ms=report.after_ms,
        handed_on_ms=report.handed_on_by_ms,
        handed_on_exact=False,
        evidence="witness",
    )


def _by_letter(step: JourneyStep, letter: Letter) -> Sighting:
    return Sighting(
        step=step.step,
        stage=step.stage,
        at_ms=letter.at_ms,
        exact=False,
        did=_text(
            f"dead letter: {letter.reason}: {letter.detail}" if letter.detail else f"dead letter: {letter.reason}"
        ),
        evidence="letter",
    )


def _acknowledged(step: JourneyStep, before: Sighting) -> Sighting:
    return Sighting(step=step.step, stage=step.stage, at_ms=before.handed_on_ms, exact=False, evidence="acknowledged")


def _text(said: str) -> str:
    return printable(said)[:DID_CHARACTERS]


# -- several proofs of one -------------------------------------------------------------------------------------------


def _united(proofs: list[Sighting]) -> list[Sighting]:
    """One sighting for each instance; what tells of no instance is the only one's, or stands for itself beside several."""
    instances = {one.instance for one in proofs} - {0}
    if len(instances) == 1:
        (only,) = instances
        proofs = [replace(one, instance=only) for one in proofs]
    ordered = sorted(proofs, key=attrgetter("instance"))
    united = [_as_one(list(group)) for _, group in groupby(ordered, key=attrgetter("instance"))]
    return sorted(united, key=attrgetter("at_ms", "instance"))


def _as_one(proofs: list[Sighting]) -> Sighting:
    """The earliest says when; of the rest, whichever says most."""
    proofs.sort(key=lambda one: _RANK[one.evidence])
    first = min(proofs, key=lambda one: (one.at_ms, not one.exact))
    handed_on = min(proofs, key=lambda one: (not one.handed_on_ms, not one.handed_on_exact, one.handed_on_ms))
    after_ms = max((one.after_ms for one in proofs if one.after_ms < first.at_ms), default=0)
    return replace(
        first,
        after_ms=0 if first.exact else after_ms,
        handed_on_ms=handed_on.handed_on_ms,
        handed_on_exact=handed_on.handed_on_exact,
        attempt=next((one.attempt for one in proofs if one.attempt), 0),
        did=", ".join(dict.fromkeys(one.did for one in proofs if one.did)) or EVIDENCE[first.evidence],
    )


# -- what follows for the others --------------------------------------------------------------------------------------


def _enter_passages(steps: Sequence[JourneyStep], by_step: dict[str, list[Sighting]], *, committed: bool) -> None:
    """Where a step behind has it, one of which nothing is known has passed it on, and another had it no later."""
    named = {step.step for step in steps if by_step[step.step]}
    behind: dict[str, list[str]] = {step.step: [] for step in steps}
    for step in reversed(steps):
        children = [child for child in behind[step.step] if committed or child in named]
        by_ms = min((one.at_ms for child in children for one in by_step[child]), default=0)
        if by_ms and (committed or _is_silent(step)):
            by_step[step.step] = _no_later(by_step[step.step], by_ms) or [_passed(step, by_ms)]
        if step.after in behind:
            behind[step.after].append(step.step)


def _no_later(seen: list[Sighting], by_ms: int) -> list[Sighting]:
    """Of several instances nobody knows which of them it had passed by then."""
    if len(seen) != 1 or seen[0].exact or not seen[0].after_ms < by_ms < seen[0].at_ms:
        return seen
    return [replace(seen[0], at_ms=by_ms)]


def _is_silent(step: JourneyStep) -> bool:
    """It does not report, so that it may have had what nobody told of; the first step's report is the ledger."""
    return bool(step.after) and (step.foreign or not step.witnessed)


def _passed(step: JourneyStep, by_ms: int) -> Sighting:
    did = EVIDENCE["downstream"]
    return Sighting(step=step.step, stage=step.stage, at_ms=by_ms, exact=False, did=did, evidence="downstream")
