"""Events under whose key more than one content was seen: corrupted, unless the terminal itself sent two.

A planted conflict is exactly one other content, and one of the two is the ledger's; whatever stands beside these two was
put there by somebody else. What was seen only as other content, never as the event itself, is corrupted as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from fleetwire.content import HASH_BYTES
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.history import SourceLedger

CONTENTS_OF_A_CONFLICT: Final = 2


def contents_of(read: ViewRead, sequence: int) -> list[bytes]:
    """All contents that were seen under a number, the one that the view holds first; none: it has none, or keeps none."""
    held = [content for _, content in _held_of(read, [sequence])]
    return [*held, *(content for number, content in read.others if number == sequence)]


def contradicted(ledger: SourceLedger, read: ViewRead) -> tuple[IntervalSet, IntervalSet]:
    """Numbers with other contents, as (what is corrupted by it, what a planted conflict explains)."""
    others: dict[int, set[bytes]] = defaultdict(set)
    for number, content in read.others:
        others[number].add(content)
    for number, content in _held_of(read, sorted(others)):
        others[number].add(content)
    bad, explained = IntervalSet(), IntervalSet()
    for number in sorted(others):
        planted = number in ledger.conflicts and _is_planted(ledger, number, others[number])
        (explained if planted else bad).add(number)
    return bad, explained


def _held_of(read: ViewRead, numbers: list[int]) -> Iterator[tuple[int, bytes]]:
    """What the view holds of ascending numbers, in one pass over all that it holds."""
    start, waiting = 0, iter(numbers)
    number = next(waiting, None)
    for first, last in read.intervals if read.hashes else ():
        while number is not None and number <= last:
            if number >= first:
                at = start + (number - first) * HASH_BYTES
                yield number, read.hashes[at : at + HASH_BYTES]
            number = next(waiting, None)
        start += (last - first + 1) * HASH_BYTES


def _is_planted(ledger: SourceLedger, number: int, contents: set[bytes]) -> bool:
    return len(contents) == CONTENTS_OF_A_CONFLICT and number in ledger.sequences and ledger.hash_of(number) in contents
