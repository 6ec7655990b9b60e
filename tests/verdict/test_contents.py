"""More than one content under a key: corrupted, unless the terminal itself sent exactly these two."""

from __future__ import annotations

import pytest

from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.witness import ViewRead
from storefleet.verdict.check import check
from storefleet.verdict.history import History
from storefleet.verdict.result import Verdict
from tests.verdict.world import SOURCES, content, healthy, read_of, view

ONE, TWO, _ = SOURCES
STRANGER = "nobody.nowhere.s1.r1"
FORGED, CONFLICT = b"forged..", b"conflict"


def with_others(*others: tuple[int, bytes], held: ViewRead | None = None, planted: bool = False) -> History:
    """A run in which the gateway's read of one source has these others beside it."""
    history = healthy()
    reads = view(history, "gateway").read
    assert reads is not None
    assert history.ledger is not None
    reads[ONE] = held or reads[ONE]
    reads[ONE].others = [*others]
    if planted:
        history.ledger.sources[ONE].conflicts.add(3)
    return history


def corrupted(verdict: Verdict) -> list[str]:
    """The keys that are."""
    account = verdict.classes.get("corrupted")
    return [example.name for example in account.examples] if account else []


def holding(salt: int) -> ViewRead:
    """A read of all ten with another content of the third."""
    return read_of(ONE, IntervalSet([(1, 10)]), {3: salt})


@pytest.mark.parametrize(
    ("others", "held", "planted", "bad"),
    [
        ([(3, FORGED)], None, False, True),
        ([(3, CONFLICT)], None, True, False),
        ([(3, content(ONE, 3))], holding(5), True, True),  # it is sent only once the event was applied
        ([(3, content(ONE, 3))], holding(5), False, True),
        ([(3, FORGED)], holding(5), True, True),  # neither is the ledger's
        ([(3, CONFLICT), (3, FORGED)], None, True, True),  # a third one
    ],
)
def test_other_contents_are_corruption_unless_planted(
    others: list[tuple[int, bytes]], held: ViewRead | None, planted: bool, bad: bool
) -> None:
    """Whichever came first, and however the view was read."""
    verdict = check(with_others(*others, held=held, planted=planted))
    assert corrupted(verdict) == ([f"{ONE}.3"] if bad else [])
    assert verdict.validity == ("invalid" if bad else "valid")
    assert sum(verdict.counts.values()) == verdict.sent + verdict.invented


@pytest.mark.parametrize(("beside", "bad"), [(CONFLICT, False), (FORGED, True)])
def test_what_stands_beside_a_planted_conflict_is_what_its_terminal_sent(beside: bytes, bad: bool) -> None:
    """Where that can be made again."""
    history = with_others((3, beside), planted=True)
    history.planted_contents[Key(ONE, 3)] = CONFLICT
    assert corrupted(check(history)) == ([f"{ONE}.3"] if bad else [])


def test_the_example_names_both_contents() -> None:
    """The one that the view holds first."""
    verdict = check(with_others((3, FORGED)))
    (example,) = verdict.classes["corrupted"].examples
    assert example.expected == f"content {content(ONE, 3).hex()}"
    assert example.found == f"contents {content(ONE, 3).hex()} and {FORGED.hex()}"


def test_what_was_seen_only_as_another_content_is_corrupted_or_unexpected() -> None:
    """Where the ledger has the number, it is corrupted, not lost; where it has not, nobody sent it."""
    without_third = read_of(ONE, IntervalSet([(1, 2), (4, 10)]))
    verdict = check(with_others((3, FORGED), (11, FORGED), held=without_third))
    assert (corrupted(verdict), verdict.counts["lost"]) == ([f"{ONE}.3"], 0)
    assert [example.name for example in verdict.classes["unexpected"].examples] == [f"{ONE}.11"]
    (example,) = verdict.classes["corrupted"].examples
    assert example.found == f"content {FORGED.hex()}"


def test_a_strangers_other_contents_are_nobodys_event() -> None:
    """They are counted as a guest's; a whole event of a stranger is unexpected all the same."""
    history = healthy()
    reads = view(history, "gateway").read
    assert reads is not None
    reads[STRANGER] = ViewRead(intervals=[], hashes=b"", others=[(1, FORGED)])
    verdict = check(history)
    assert (verdict.validity, verdict.invented, verdict.guests) == ("valid", 0, {"gateway": {"untrue": 1}})
