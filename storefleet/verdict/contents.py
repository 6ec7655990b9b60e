"""Events under whose key more than one content was seen: corrupted, unless the terminal itself sent two.

A planted conflict is exactly one other content, the one that the terminal sent, where that can be made again; it is sent
after the event was applied, so what came first, or is held, is the ledger's. Whatever else stands there was put there by
somebody else. What was seen only as other content, never as the event itself, is corrupted as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from fleetwire.content import HASH_BYTES
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.history import SourceLedger


def contents_of(read: ViewRead, sequence: int) -> list[bytes]:
    """All contents that were seen under a number, the one that the view holds first; none: it has none, or keeps none."""
    held = [content for _, content in _held_of(read, [sequence])]
    return [*held, *(content for number, content in read.others if number == sequence)]


def contradicted(ledger: SourceLedger, read: ViewRead, planted: Mapping[int, bytes]) -> tuple[IntervalSet, IntervalSet]:
    """Numbers with other contents, as (what is corrupted by it, what a planted conflict explains).

    ``planted``: what the terminal sent beside an event, as far as it could be made again; of others any content will do.
    """
    others: dict[int, set[bytes]] = defaultdict(set)
    for number, content in read.others:
        others[number].add(content)
    held = dict(_held_of(read, sorted(others)))
    bad, explained = IntervalSet(), IntervalSet()
    for number in sorted(others):
        right = number in ledger.conflicts and held.get(number) == _content(ledger, number)
        beside = others[number] - {held.get(number)}
        as_planted = right and len(beside) == 1 and (number not in planted or planted[number] in beside)
        (explained if as_planted else bad).add(number)
    return bad, explained


def _content(ledger: SourceLedger, number: int) -> bytes:
    """The ledger's; none where it lacks the event."""
    return ledger.hash_of(number) if number in ledger.sequences else b""


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
