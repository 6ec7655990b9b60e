"""Findings in words: the verdict's first lines, the same on a screen, in ``report.txt`` and in ``junit.xml``.

A line says one thing. A command stands on a line of its own, unbroken, so that it can be copied.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final, NamedTuple

from storefleet.verdict.clock_text import clock
from storefleet.verdict.result import Example, Finding, FindingPlace, Suspect, Verdict

WIDTH: Final = 120
_MARGIN: Final = "          "
_MEANINGS: Final = {
    "valid": "everything that was sent arrived as it should",
    "invalid": "something is wrong, and it is proven",
    "unknown": "no failure proven, evidence incomplete",
}
FIELDS_SHOWN: Final = 3
GUEST: Final = "a guest's: no terminal of this fleet has that name"


class _Ends(NamedTuple):
    """What it means to be at the near end of a place, and at the far one."""

    near: str = "last seen"
    far: str = "first missing"


_ENDS: Final[dict[str, _Ends]] = {
    "corrupted": _Ends("last right at", "first wrong at"),
    "unexpected": _Ends("not seen at", "first seen at"),
    "stale": _Ends("in time at", "late at"),
}
_LOST: Final = _Ends()


def headline(verdict: Verdict, name: str) -> str:
    """The first line: the verdict, and the gravest finding; of a valid run, what healed by itself."""
    word, told = verdict.validity.upper(), verdict.findings
    of = f"  {name}: " if name else "  "
    if verdict.validity == "valid" and told:
        return f"{word}, with {' and '.join(map(_told, told))}{of}{_MEANINGS['valid']}"
    if verdict.validity != "invalid" or not told:
        return f"{word}{of}{_MEANINGS[verdict.validity]}"
    more = f"; {len(told) - 1} more finding{'s' * (len(told) > 2)}" if len(told) > 1 else ""
    return f"{word}{of}{told[0].what}{_briefly(told[0])}{more}"


def _told(finding: Finding) -> str:
    words = {"healed": "event{} healed", "restarts": "restart{}", "repeats": "repeat{} absorbed"}[finding.code]
    where = _briefly(finding) if finding.code == "healed" else ""
    where = where if where.startswith(", suspect") else where.removeprefix(",")
    return f"{finding.count:,} {words.format('s' * (finding.count != 1))}{where}"


def _briefly(finding: Finding) -> str:
    """Where, in a few words: of several places the first."""
    if not finding.places or finding.code == "restarts":
        return ""
    place = finding.places[0]
    if not place.places:
        return ""
    if len(place.places) == 1 and {suspect.name for suspect in place.suspects} <= {*place.places}:
        return f", {_in(place)}"
    if place.suspects:
        return f", {_suspects(place.suspects)}"
    return f", {_between(place)}" if place.places else ""


def finding_lines(finding: Finding, *, spans: bool = False, faults: bool = False) -> Iterator[str]:
    """What, where, when, what next, and the first keys.

    ``spans``: every hop and stage of a place, too. ``faults``: the run had some.
    """
    yield from textwrap.wrap(finding.what, WIDTH, subsequent_indent="  ")
    for number, place in enumerate(finding.places):
        yield from _wrapped("where" if number == 0 else "", _where(place, alone=len(finding.places) == 1))
        if spans and len(place.places) > 1:
            yield from _wrapped("", " > ".join(place.places))
    if finding.since:
        yield from _wrapped("when", _when(finding))
    told = {suspect.why for place in finding.places for suspect in place.suspects}
    for words in finding.meanwhile:
        if words not in told:
            yield from _wrapped("during", words)
    if faults and finding.until_ms and not finding.meanwhile:
        yield from _wrapped("during", "no fault was in force")
    if finding.next_command:
        yield f"  {'next':<7} {finding.next_command}"
    for key in finding.keys:
        yield from textwrap.wrap(_key(finding, key), WIDTH, initial_indent="  ", subsequent_indent=_MARGIN)


def _wrapped(word: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=f"  {word:<7} ", subsequent_indent=_MARGIN)


def _where(place: FindingPlace, *, alone: bool) -> str:
    count = "" if alone or not place.count else f"{place.count:,} "
    if place.detail and len(place.places) <= 1 and not place.last_seen:
        text = place.detail if not place.suspects or place.places == [place.suspects[0].name] else ""
        text = text or f"{place.detail}; suspect: {_named(place.suspects)}"
        return f"{count}{text}"
    if len(place.places) == 1:
        why = f": {place.suspects[0].why}" if place.suspects and place.suspects[0].why else ""
        detail = f", {place.detail}" if place.detail else ""
        return f"{count}{_in(place)}{detail}{why}"
    suspects = f"; suspect: {_named(place.suspects)}" if place.suspects else ""
    return f"{count}{_between(place)}{suspects}"


def _in(place: FindingPlace) -> str:
    """Of a place that is one stage or hop."""
    name = place.places[0]
    yours = " (yours)" if any(suspect.yours and suspect.name == name for suspect in place.suspects) else ""
    return f"{_at_place(name)}{yours}"


def _at_place(name: str) -> str:
    """Names of hops, and of no stage, have a dash."""
    return f"on hop {name}" if "-" in name else f"at {name}"


def _between(place: FindingPlace) -> str:
    if not place.places:
        return "nobody knows where"
    if place.last_seen and place.first_missing:
        return f"between {place.last_seen} and {place.first_missing}"
    return f"from {place.places[0]} to {place.places[-1]}"


def _suspects(suspects: list[Suspect]) -> str:
    return f"suspect: {' or '.join(_who(suspect) for suspect in suspects)}"


def _named(suspects: list[Suspect]) -> str:
    return ", or ".join(f"{_who(suspect)}{f': {suspect.why}' if suspect.why else ''}" for suspect in suspects)


def _who(suspect: Suspect) -> str:
    return f"{suspect.name} (yours)" if suspect.yours else suspect.name


def _when(finding: Finding) -> str:
    if finding.until_ms == finding.from_ms:
        return f"{finding.since} {clock(finding.from_ms)} UTC"
    return f"{finding.since} {clock(finding.from_ms)} to {clock(finding.until_ms)} UTC"


def _key(finding: Finding, key: Example) -> str:
    return f"{key.name}   {'; '.join(filter(None, _of_key(finding, key)))}".rstrip()


def _of_key(finding: Finding, key: Example) -> Iterator[str]:
    if finding.code == "stale" and len(key.places) == 1:
        yield f"held up {_at_place(key.places[0])}"
        yield key.found
        return
    if key.last_seen and key.first_missing and finding.code not in ("duplicated", "rejected"):
        near, far = _ENDS.get(finding.code, _LOST)
        came = f" {clock(key.first_seen_at_ms)}" if finding.code == "unexpected" and key.first_seen_at_ms else ""
        seen = "" if finding.code == "unexpected" else _at(key)
        yield f"{near} {key.last_seen}{seen}, {far} {key.first_missing}{came}"
        if key.guest:
            yield GUEST
        yield from (f"{one.path}: expected {one.expected}, found {one.found}" for one in key.fields[:FIELDS_SHOWN])
        if finding.code == "corrupted" and not key.fields:
            yield f"expected {key.expected}, found {key.found}"
        if finding.code == "stale":
            yield key.found
        return
    if key.fields:
        yield from (f"{one.path}: expected {one.expected}, found {one.found}" for one in key.fields[:FIELDS_SHOWN])
    yield (
        f"expected {key.expected}, found {key.found}" if key.expected and not key.fields and finding.view else key.found
    )
    yield f"in {key.view}" if key.view and not finding.view and finding.code != "rejected" else ""


def _at(key: Example) -> str:
    if not key.last_seen_at_ms:
        return ""
    return f" {'' if key.last_seen_exactly else 'by '}{clock(key.last_seen_at_ms)}"
