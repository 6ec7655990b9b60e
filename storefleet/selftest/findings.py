"""What a verdict reports, as counted lines, so that two verdicts can be compared whole.

Everything that speaks against a run or names an event, place, view or register is a line; ``ok`` is what is left and
has none. A line that has a place or view in it differs when that does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from storefleet.verdict.blame import Address
from storefleet.verdict.result import Invalid, Unknown, Verdict

OF_NO_VIEW: Final = ("recovered", "rejected")
"""Classes in which no view is wrong: the first that was read stands for all, so that it changes with what was read."""

Findings: TypeAlias = "Counter[str]"


def findings(verdict: Verdict) -> Findings:
    """All that the verdict reports."""
    result: Findings = Counter({line: count for line, count in _figures(verdict) if count})
    result.update(_reasons(verdict))
    result.update(_examples(verdict))
    for letter in verdict.letters:
        result[letter_line(letter.stage, letter.reason, letter.key, letter.explained_by)] += letter.count
    for account in verdict.places:
        result[place_line(account.what, tuple(account.places))] += account.count
    for view in verdict.views:
        if view.validity != "valid":
            result[f"view {view.view} is {view.validity}"] += 1
        if view.difference_count:
            result[f"differences in {view.view}"] += view.difference_count
    return result


def _figures(verdict: Verdict) -> Iterator[tuple[str, int]]:
    yield from ((f"class {name}", count) for name, count in verdict.counts.items() if name != "ok")
    yield "events that nobody sent", verdict.invented
    yield "counts that do not add up", sum(verdict.counts.values()) - verdict.sent - verdict.invented
    yield "rejected unexpectedly", verdict.rejected_unexpectedly
    yield "sent again", verdict.resent
    yield "sent again needlessly", verdict.resent_needlessly
    yield "sent again, and nobody knows why", verdict.resent_not_known
    yield from ((f"rejected as {reason}", count) for reason, count in verdict.rejected_by_reason.items())
    yield "dead letters: at least", verdict.dead_letters_at_least
    for line, counts in ((dead_letter_line, verdict.dead_letters), (guest_line, verdict.guests)):
        for stage, reasons in counts.items():
            yield from ((line(stage, reason), count) for reason, count in reasons.items())


def _reasons(verdict: Verdict) -> Iterator[str]:
    names = {view.view for view in verdict.views}
    for wrong in verdict.invalid:
        yield reason_line("invalid", wrong.code, _name(wrong, names))
    for unsure in verdict.unknown:
        of_stage = unsure.code in ("stage_dead", "witness_full")
        name = unsure.detail.partition(":")[0] if of_stage else _name(unsure, names)
        yield reason_line("unknown", unsure.code, name)


def _name(reason: Invalid | Unknown, views: set[str]) -> str:
    head = reason.detail.partition(":")[0]
    return head if head in views else ""


def _examples(verdict: Verdict) -> Iterator[str]:
    for name, account in verdict.classes.items():
        for example in account.examples:
            yield event_line(name, example.name, example.view, tuple(example.places))
    for view in verdict.views:
        for example in view.differences:
            yield f"differs: {example.name} in {view.view}"


def reason_line(kind: str, code: str, name: str = "") -> str:
    """``invalid`` or ``unknown`` for a code; ``name``: the view or stage that it is about."""
    return f"{kind} {code} {name}".rstrip()


def dead_letter_line(stage: str, reason: str) -> str:
    """So many dead letters."""
    return f"dead letters of {stage}: {reason}"


def guest_line(stage: str, reason: str) -> str:
    """So many of them under names that are none of the fleet's."""
    return f"guests: {stage} {reason}"


def letter_line(stage: str, reason: str, key: str, explained_by: str = "") -> str:
    """One message with its dead letters, or so many with one explanation."""
    return f"letter of {stage}: {reason} {key}: {explained_by or 'nothing explains it'}"


def place_line(what: str, places: Address) -> str:
    """So many of a class (or ``healed``) at an address."""
    return f"{what} at {' > '.join(places)}"


def event_line(name: str, key: str, view: str, places: Address) -> str:
    """One event by name, and the view that is wrong about it."""
    where = "" if name in OF_NO_VIEW else f" in {view or 'no view'}"
    return f"{name}: {key}{where} at {' > '.join(places)}"


def of_class(name: str, keys: Iterable[str], view: str, places: Address | None) -> Findings:
    """What events of a class must show as; ``places`` None: a class that has no address."""
    result: Findings = Counter(event_line(name, key, view, places or ()) for key in keys)
    count = result.total()
    result[f"class {name}"] = count
    if places is not None:
        result[place_line(name, places)] = count
    return result


def difference(found: Findings, expected: Findings) -> tuple[list[str], list[str]]:
    """What was expected and not reported, and what was reported and not expected."""
    missing, surplus = Counter(expected), Counter(found)
    missing.subtract(found)
    surplus.subtract(expected)
    return _texts(missing), _texts(surplus)


def _texts(lines: Findings) -> list[str]:
    return [line if count == 1 else f"{line} ({count} times)" for line, count in lines.items() if count > 0]
