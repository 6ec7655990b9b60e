"""When a view is behind and when it is back, by a clock that the test moves."""

from __future__ import annotations

from storefleet.views_behind import Distance, ViewsBehind
from tests.storefleet_units.noted import Noted

TILL = "taco.west.s0001.r01"
NOTHING = Distance(frozenset(), 0)


def missing(*numbers: int, away: int) -> Distance:
    """A view of events that lacks these first."""
    return Distance({(TILL, number) for number in numbers}, away)


def test_what_is_under_way_is_not_behind() -> None:
    """While a lab trades something is always missing; as long as it is always something else, the view keeps up."""
    noted = Noted()
    views = ViewsBehind(noted.note)
    for second in range(20):
        views.look(1_000 * second, {"sales": missing(second // 2, away=40)})
    assert noted.rows == []


def test_an_event_that_stays_missing_is_behind_and_its_coming_back() -> None:
    """Told once each: when the oldest has been missing for two seconds, and when no such one is left, how far and long."""
    noted = Noted()
    views = ViewsBehind(noted.note)
    views.look(10_000, {"sales": missing(7, away=3), "orders": missing(7, away=3)})
    views.look(11_999, {"sales": missing(7, 9, away=80), "orders": NOTHING})
    assert noted.rows == []
    for at_ms, away in ((12_000, 90), (13_000, 120), (14_000, 60)):
        views.look(at_ms, {"sales": missing(7, 9, away=away), "orders": missing(8, away=1)})
        views.look(at_ms, {"orders": missing(at_ms, away=1)})
    views.look(15_000, {"sales": missing(50, away=5), "orders": NOTHING})
    views.look(16_000, {"sales": NOTHING, "orders": NOTHING})
    assert noted.rows == [
        ("view_behind", "sales", "90 off the truth, for 2.0 s", 12_000),
        ("view_back", "sales", "after 5.0 s, at most 120 off the truth", 15_000),
    ]


def test_it_can_be_behind_again() -> None:
    """Each time with a distance of its own."""
    noted = Noted()
    views = ViewsBehind(noted.note)
    for at_ms, distance in ((0, 9), (2_000, 9), (3_000, 0), (10_000, 2), (12_500, 2), (13_000, 0)):
        marks = frozenset({"a register"}) if distance else frozenset()
        views.look(100_000 + at_ms, {"store_board": Distance(marks, distance)})
    assert [text for _, _, text, _ in noted.rows] == [
        "9 off the truth, for 2.0 s",
        "after 3.0 s, at most 9 off the truth",
        "2 off the truth, for 2.5 s",
        "after 3.0 s, at most 2 off the truth",
    ]
