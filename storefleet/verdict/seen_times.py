"""When the events of a finding were last seen, or seen first: entered from all files of the run folder, for a few keys.

The checker knows the places; journeys, reads and reports say when something was there
(:mod:`storefleet.verdict.sightings`). Nothing is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec.structs import replace

from fleetwire.errors import BadPayload
from fleetwire.identity import Key
from storefleet.verdict.findings import EVENTS
from storefleet.verdict.result import Example, Finding, Verdict
from storefleet.verdict.run_format import Plan
from storefleet.verdict.sightings import Sighting, sightings


def enter_times(verdict: Verdict, folder: Path, plan: Plan) -> None:
    """Enter them into the findings about events; where nobody says when, nothing is entered."""
    keys = {key for finding in verdict.findings if finding.code in EVENTS for key in _keys(finding.keys)}
    if keys:
        found = sightings(folder, plan, keys)
        verdict.findings = [
            _timed(finding, found) if finding.code in EVENTS else finding for finding in verdict.findings
        ]


def _keys(examples: Iterable[Example]) -> Iterable[Key]:
    for example in examples:
        try:
            yield Key.parse(example.name)
        except BadPayload:
            continue


def _timed(finding: Finding, found: dict[Key, list[Sighting]]) -> Finding:
    keys = [_of_key(example, found) for example in finding.keys]
    if finding.from_ms:
        return replace(finding, keys=keys)
    seen_ms = [example.first_seen_at_ms for example in keys if example.first_seen_at_ms]
    if not seen_ms:
        return replace(finding, keys=keys)
    return replace(finding, keys=keys, from_ms=min(seen_ms), until_ms=max(seen_ms), since="seen")


def _of_key(example: Example, found: dict[Key, list[Sighting]]) -> Example:
    seen = [sighting for key in _keys([example]) for sighting in found.get(key, [])]
    last = _earliest([one for one in seen if one.step == example.last_seen_step])
    first = _earliest([one for one in seen if one.stage == example.first_missing])
    return replace(
        example,
        last_seen_at_ms=last.at_ms if last else 0,
        last_seen_exactly=last.exact if last else True,
        first_seen_at_ms=first.at_ms if first else 0,
    )


def _earliest(seen: Sequence[Sighting]) -> Sighting | None:
    return min(seen, key=lambda one: one.at_ms, default=None)
