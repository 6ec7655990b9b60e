"""What a report can possibly say: the check at every door through which a witness's words come, live or from a file.

The types check most of it as they are decoded (:data:`fleetwire.intervals.Interval`); here stands what a type cannot say.
No line of Python runs for each source, but for those whose numbers have gaps, and for these at the live door alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, starmap
from operator import gt
from typing import Any, Final, TypeVar

import msgspec

from fleetwire.intervals import Interval
from fleetwire.packed_times import END_OF_TIME_MS
from fleetwire.troubles import CODE_CHARACTERS, DETAIL_CHARACTERS, TROUBLES_LIMIT
from fleetwire.witness import SET_NAMES, Holding, Snapshot

Report = TypeVar("Report")
SOURCE_CHARACTERS: Final = 256
"""No stage of ours takes a longer source: an event's key has at most 250 characters wherever one is read."""
LARGEST_NUMBER: Final = 1_000_000
"""No instance, and no incarnation, has a greater one."""
LARGEST_COUNT: Final = 2**53
NAMES_LIMIT: Final = 1_000
"""So many counters, reasons and views a report may name."""


class Impossible(msgspec.ValidationError):
    """A report that no witness can have written; the text says what in it cannot be."""


def possible(report: Report) -> Report:
    """The report itself, as it comes from a file that a door has let it into; raises Impossible unless it can be one.

    Of a partly decoded one, what is there is looked at. Intervals that overlap or do not ascend pass: whoever unites them
    puts them in order.
    """
    _require_head(report)
    for name in SET_NAMES:
        if sets := getattr(report, name, None):
            _require_forwards(sets, name)
    return report


def possible_in_all(report: Snapshot) -> Snapshot:
    """The report itself, as it comes from a stage; raises Impossible unless it can be one in every part."""
    _require_head(report)
    for name in SET_NAMES:
        require_ordered(getattr(report, name), name)
    for view, holding in report.holdings.items():
        _require_holding(holding, f"holdings of {view[:SOURCE_CHARACTERS]}")
    _require_troubles(report.troubles)
    return report


def _require_troubles(troubles: Mapping[str, str]) -> None:
    if len(troubles) > TROUBLES_LIMIT:
        raise Impossible(f"more than {TROUBLES_LIMIT} troubles at once")
    if troubles and not 0 < min(map(len, troubles)) <= max(map(len, troubles)) <= CODE_CHARACTERS:
        raise Impossible(f"troubles: a code is empty, or longer than {CODE_CHARACTERS} characters")
    if any(len(detail) > DETAIL_CHARACTERS for detail in troubles.values()):
        raise Impossible(f"troubles: particulars of more than {DETAIL_CHARACTERS} characters")


def _require_holding(holding: Holding, what: str) -> None:
    require_ordered(holding.sources, what)
    digests = holding.digests.values()
    if digests and not 0 <= min(digests) <= max(digests) < 2**64:
        raise Impossible(f"{what}: a digest is no number of 64 bits")
    if not 0 <= holding.epoch <= LARGEST_COUNT:
        raise Impossible(f"{what}: epoch {holding.epoch}")


def require_ordered(sets: Mapping[str, list[Interval]], what: str) -> None:
    """Raises Impossible unless every source has intervals that ascend and do not touch one another."""
    if not sets:
        return
    if max(map(len, sets)) > SOURCE_CHARACTERS:
        raise Impossible(f"{what}: a source of more than {SOURCE_CHARACTERS} characters")
    _require_forwards(sets, what)
    if max(map(len, sets.values())) > 1:
        for source, intervals in sets.items():
            if len(intervals) > 1 and any(map(_touch, intervals, intervals[1:])):
                raise Impossible(f"{what}: the intervals of {source} overlap or do not ascend")


def _require_forwards(sets: Mapping[str, list[Interval]], what: str) -> None:
    if any(starmap(gt, chain.from_iterable(sets.values()))):
        raise Impossible(f"{what}: an interval ends before it begins")


def _touch(interval: Interval, following: Interval) -> bool:
    return following[0] <= interval[1]


def _require_head(report: Any) -> None:
    if not 0 < report.at_ms < END_OF_TIME_MS:
        raise Impossible(f"at_ms {report.at_ms} is no time")
    if not (0 < report.instance <= LARGEST_NUMBER and 0 < report.incarnation <= LARGEST_NUMBER):
        raise Impossible(f"there is no instance {report.instance} of incarnation {report.incarnation}")
    for name in ("number", "duplicates_absorbed", "unnoted_total", "loop_stall_ms"):
        if not 0 <= getattr(report, name, 0) < LARGEST_COUNT:
            raise Impossible(f"{name} is {getattr(report, name)}")
    if getattr(report, "loop_stall_ms", 0) > report.at_ms:
        raise Impossible(f"loop_stall_ms is {report.loop_stall_ms}, longer than there is time")
    if not 0 < len(report.stage) <= SOURCE_CHARACTERS:
        raise Impossible("the name of its stage is empty or too long")
    for name, least in (("rejects", 0), ("counters", -LARGEST_COUNT), ("state", None), ("holdings", None)):
        values = getattr(report, name, None)
        if not values:
            continue
        if len(values) > NAMES_LIMIT or max(map(len, values)) > SOURCE_CHARACTERS:
            raise Impossible(
                f"{name}: more than {NAMES_LIMIT} names, or one of more than {SOURCE_CHARACTERS} characters"
            )
        if least is not None and not least <= min(values.values()) <= max(values.values()) <= LARGEST_COUNT:
            raise Impossible(f"{name}: a figure that cannot be")
