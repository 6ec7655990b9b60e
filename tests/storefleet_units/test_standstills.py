"""A standstill is one happening in the log, however many pieces it comes in and whoever tells of it."""

from __future__ import annotations

from storefleet.standstills import Standstills
from storefleet.verdict.machine import LAB_PROCESS, Stall
from tests.storefleet_units.noted import Noted


def test_one_piece_is_one_line() -> None:
    """With its beginning, length and cause; nothing more is said when it is over."""
    noted = Noted()
    standstills = Standstills(noted.note)
    standstills.hear(Stall("parm-1", 10_000, 700.0))
    standstills.look(60_000)
    assert noted.rows == [("standstill", "parm-1", "0.7 s (event loop)", 10_000)]


def test_pieces_without_a_pause_are_one_standstill() -> None:
    """Told when it is noticed, and once more, in all, when it is over; what comes later is another one."""
    noted = Noted()
    standstills = Standstills(noted.note)
    for at_ms in (10_000, 11_000, 12_000, 13_000):
        standstills.hear(Stall(LAB_PROCESS, at_ms, 900.0, "disk_wait"))
        standstills.look(at_ms + 1_000)
    standstills.look(15_400)
    assert len(noted.rows) == 1
    standstills.look(15_401)
    standstills.hear(Stall(LAB_PROCESS, 20_000, 500.0, "cpu_steal"))
    assert noted.rows == [
        ("standstill", "lab", "0.9 s (disk wait)", 10_000),
        ("standstill", "lab", "3.9 s in 4 pieces, over now (disk wait)", 10_000),
        ("standstill", "lab", "0.5 s (cpu steal)", 20_000),
    ]


def test_the_next_standstill_ends_the_one_before() -> None:
    """Also where nobody looks in between, and each process has its own."""
    noted = Noted()
    standstills = Standstills(noted.note)
    for process, at_ms in (("a-1", 1_000), ("a-1", 2_000), ("b-1", 2_000), ("a-1", 9_000)):
        standstills.hear(Stall(process, at_ms, 1_000.0))
    assert [(who, text, at_ms) for _, who, text, at_ms in noted.rows] == [
        ("a-1", "1.0 s (event loop)", 1_000),
        ("b-1", "1.0 s (event loop)", 2_000),
        ("a-1", "2.0 s in 2 pieces, over now (event loop)", 1_000),
        ("a-1", "1.0 s (event loop)", 9_000),
    ]


def test_a_stop_by_signal_is_told_by_its_signals() -> None:
    """Its pieces, and what the stage says of itself afterwards or too early, are the same stop; later ones are not."""
    noted = Noted()
    standstills = Standstills(noted.note)
    standstills.stopped("views-1", 10_000)
    standstills.hear(Stall("views-1", 10_000, 1_000.0))
    standstills.hear(Stall("views-1", 10_050, 7_000.0))
    standstills.running("views-1", 17_000)
    standstills.hear(Stall("views-1", 10_050, 6_950.0))
    standstills.hear(Stall("views-1", 30_000, 600.0))
    assert noted.rows == [
        ("stopped", "views-1", "", 10_000),
        ("running", "views-1", "after 7.0 s", 17_000),
        ("standstill", "views-1", "0.6 s (event loop)", 30_000),
    ]
