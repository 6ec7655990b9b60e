"""Interval sets behave like plain sets of numbers, and are always disjoint, apart and ascending."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.intervals import IntervalSet

NUMBERS = st.integers(1, 60)
RANGES = st.tuples(NUMBERS, st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
STEPS = st.lists(NUMBERS.map(lambda number: (number, number)) | RANGES, max_size=30)


def built(steps: list[tuple[int, int]]) -> tuple[IntervalSet, set[int]]:
    """An interval set and the plain set that it should be."""
    return IntervalSet(steps), {number for first, last in steps for number in range(first, last + 1)}


def check(found: IntervalSet, model: set[int]) -> None:
    """The set holds exactly these numbers, in the only form that it may have."""
    assert set(found.numbers()) == model
    assert list(found.numbers()) == sorted(model)
    assert found.count == len(model)
    assert found.last == max(model, default=0)
    assert bool(found) == bool(model)
    assert len(found) == len(found.to_list())
    pairs = found.to_list()
    assert all(first <= last for first, last in pairs)
    assert all(left[1] + 1 < right[0] for left, right in pairwise(pairs))


@given(STEPS)
def test_ranges_add_up(steps: list[tuple[int, int]]) -> None:
    """After any ranges the set holds their union, and says of every number whether it is there."""
    found, model = built(steps)
    check(found, model)
    assert [number in found for number in range(75)] == [number in model for number in range(75)]


@given(STEPS, st.lists(NUMBERS, max_size=40))
def test_single_numbers(steps: list[tuple[int, int]], numbers: list[int]) -> None:
    """Adding a number says whether it was new."""
    found, model = built(steps)
    for number in numbers:
        assert found.add(number) == (number not in model)
        model.add(number)
        check(found, model)


@given(STEPS, NUMBERS)
def test_touching(steps: list[tuple[int, int]], number: int) -> None:
    """A number touches the set exactly when adding it makes no new interval."""
    found, _ = built(steps)
    before, touches = len(found), found.touches(number)
    found.add(number)
    assert touches == (len(found) <= before)


@given(STEPS, STEPS)
def test_set_arithmetic(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    """Difference, intersection and update are those of sets; the first two change nothing."""
    (one, one_model), (other, other_model) = built(left), built(right)
    check(one.difference(other), one_model - other_model)
    check(one.intersection(other), one_model & other_model)
    check(one, one_model)
    check(other, other_model)
    one.update(other)
    check(one, one_model | other_model)
    check(other, other_model)


@given(STEPS)
def test_arithmetic_with_itself(steps: list[tuple[int, int]]) -> None:
    """A set less itself is empty, and with itself is itself."""
    found, model = built(steps)
    check(found.difference(found), set())
    check(found.intersection(found), model)
    found.update(found)
    check(found, model)


@given(STEPS, RANGES)
def test_overlapping(steps: list[tuple[int, int]], span: tuple[int, int]) -> None:
    """The overlapping intervals are those of ours that share a number with the span, whole and ascending."""
    found, _ = built(steps)
    expected = [(first, last) for first, last in found.to_list() if first <= span[1] and last >= span[0]]
    assert list(found.overlapping(*span)) == expected


@given(STEPS, STEPS)
def test_equality(left: list[tuple[int, int]], right: list[tuple[int, int]]) -> None:
    """Sets are equal exactly when they hold the same numbers, and lists of lists make the same set."""
    (one, one_model), (other, other_model) = built(left), built(right)
    assert (one == other) == (one_model == other_model)
    assert one == IntervalSet([list(pair) for pair in one.to_list()])
    assert one != one.to_list()


@given(STEPS, NUMBERS)
def test_a_copy_is_independent(steps: list[tuple[int, int]], number: int) -> None:
    """Neither a set nor its copy sees what is added to the other."""
    found, model = built(steps)
    copied = found.copy()
    copied.add(number)
    check(found, model)
    check(copied, model | {number})
    found.add_range(1, 80)
    check(copied, model | {number})


def test_a_range_has_a_direction() -> None:
    """A range that ends before it begins is refused, and changes nothing."""
    found = IntervalSet([(5, 6)])
    with pytest.raises(ValueError, match=r"3\.\.2 ends before it begins"):
        found.add_range(3, 2)
    assert found == IntervalSet([(5, 6)])


def test_a_set_has_no_hash() -> None:
    """A set that can change is no key of a dictionary; its text names its intervals."""
    with pytest.raises(TypeError, match="unhashable"):
        hash(IntervalSet())
    assert repr(IntervalSet([(1, 2), (4, 4)])) == "IntervalSet([(1, 2), (4, 4)])"


def test_numbers_in_order_are_one_interval() -> None:
    """However many events flow without a gap, they are one interval."""
    found = IntervalSet()
    for number in range(1, 100_001):
        found.add(number)
    assert found.to_list() == [(1, 100_000)]
