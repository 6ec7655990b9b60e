"""What PARM says to be applied is bounded, and never by shutting out whoever speaks now."""

from __future__ import annotations

import pytest

from fleetwire.outcomes import MAXIMUM_RANGES
from parm_stub import applied as module
from parm_stub.applied import Applied


def held(applied: Applied) -> dict[str, list[tuple[int, int]]]:
    """Its content, the longest silent source first."""
    return {source: numbers.to_list() for source, numbers in applied.items()}


def test_a_new_source_always_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many sources the one that was silent longest is forgotten, and may come again."""
    monkeypatch.setattr(module, "SOURCE_LIMIT", 2)
    applied = Applied()
    for source, sequence in (("a", 1), ("b", 1), ("a", 2), ("c", 1)):
        applied.add(source, sequence)
    assert held(applied) == {"a": [(1, 2)], "c": [(1, 1)]}
    applied.add("b", 2)
    assert held(applied) == {"c": [(1, 1)], "b": [(2, 2)]}


def test_a_new_interval_always_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many intervals in all it is the same; what closes a gap, or comes again, takes no room."""
    monkeypatch.setattr(module, "INTERVAL_LIMIT", 3)
    applied = Applied()
    for source, sequence in (("a", 1), ("b", 1), ("b", 3), ("b", 2), ("b", 2), ("b", 7)):
        applied.add(source, sequence)
    assert held(applied) == {"a": [(1, 1)], "b": [(1, 3), (7, 7)]}
    applied.add("b", 9)
    assert held(applied) == {"b": [(1, 3), (7, 7), (9, 9)]}


def test_one_source_keeps_its_newest_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a source with more intervals than an outcome has room for the lower half goes, and makes room for others."""
    monkeypatch.setattr(module, "INTERVAL_LIMIT", MAXIMUM_RANGES + 10)
    applied, half = Applied(), MAXIMUM_RANGES // 2
    for number in range(MAXIMUM_RANGES + 1):
        applied.add("a", 1 + 2 * number)
    assert (len(applied["a"]), applied["a"].last) == (half + 1, 1 + 2 * MAXIMUM_RANGES)
    for number in range(half + 9):
        applied.add(f"s{number}", 1)
    assert "a" in applied
    applied.add("b", 1)
    assert (len(applied), "a" in applied) == (half + 10, False)
