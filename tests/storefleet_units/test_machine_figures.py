"""What Linux says of its CPUs: real texts, missing and broken ones, and the rule for stolen time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefleet.machine_figures import CpuTimes, cpu_times, stood_still_ms, waited_us

STAT = """\
cpu  1105371 12 182032 941170 2582 3 25149 653 77 5
cpu0 538797 0 88391 487878 592 0 12278 322 0 0
cpu1 566573 0 93641 453291 1989 0 12871 330 0 0
intr 12080533 0 0 0 26
ctxt 29798632
"""
PRESSURE = """\
some avg10=72.19 avg60=86.26 avg300=69.47 total=4619763462
full avg10=0.00 avg60=0.00 avg300=0.00 total=17
"""


def test_cpu_times_of_a_real_text() -> None:
    """What ran is user, nice, system and interrupts, not idle time, and not guests, who are among the users."""
    assert cpu_times(STAT) == CpuTimes(ran=1105371 + 12 + 182032 + 3 + 25149, stolen=653)


@pytest.mark.parametrize(
    "text",
    ["", "\n", "cpu", "cpu  1 2 3 4 5 6 7", "cpu0 1 2 3 4 5 6 7 8", "cpu  1 2 3 4 5 6 7 -8", "cpu  1 2 3 4 5 6 7 x",
     "cpu  1 2 3 4 5 6 7 8.5", "cpu  1 2 3 4 5 6 7 ²", "cpu  1 2 3 4 5 6 7 " + "9" * 4_000, "intr 1\n" + STAT],
    ids=["empty", "empty line", "no figures", "no stolen time", "one cpu", "negative", "a word", "a fraction",
         "not ascii", "too long", "another line first"],
)  # fmt: skip
def test_cpu_times_that_are_not_told(text: str) -> None:
    """A kernel that does not tell stolen time, and whatever is no figure, is None: not measured, which is not 0."""
    assert cpu_times(text) is None


def test_waiting_of_a_real_text() -> None:
    """Microseconds in which some process waited; those in which all did are another line."""
    assert waited_us(PRESSURE) == 4619763462


@pytest.mark.parametrize(
    "text", ["", "some", "some avg10=1", "some total=", "some total=-1", "some total=x", "full total=5", "\n\n"]
)
def test_waiting_that_is_not_told(text: str) -> None:
    """A text without the figure is None."""
    assert waited_us(text) is None


@given(st.text(max_size=200))
def test_no_text_breaks_the_parsers(text: str) -> None:
    """Whatever a file says, the answer is figures or None."""
    for found in (cpu_times(text), cpu_times("cpu " + text)):
        assert found is None or min(found) >= 0
    assert (waited_us("some " + text) or 0) >= 0


@pytest.mark.parametrize(
    ("ran", "stolen", "expected_ms"),
    [
        (200, 0, 0.0),
        (190, 10, 0.0),
        (101, 99, 0.0),
        (100, 100, 500.0),
        (50, 150, 750.0),
        (0, 200, 1_000.0),
        (0, 20, 200.0),
        (30, 70, 700.0),
    ],
    ids=["busy", "a twentieth", "under half", "half", "three quarters", "all", "all of little", "half of one CPU"],
)  # fmt: skip
def test_stolen_time(ran: int, stolen: int, expected_ms: float) -> None:
    """Two CPUs for a second, 100 ticks each: from half of the wanted time on its share counts, never more than it was."""
    before = CpuTimes(1_000, 50)
    assert stood_still_ms(before, CpuTimes(1_000 + ran, 50 + stolen), 1_000.0, 100) == pytest.approx(expected_ms)


def test_stolen_time_that_runs_backwards() -> None:
    """Some kernels take stolen time back; that is no standstill."""
    assert stood_still_ms(CpuTimes(1_000, 500), CpuTimes(900, 400), 1_000.0, 100) == 0.0
    assert stood_still_ms(CpuTimes(1_000, 500), CpuTimes(900, 600), 1_000.0, 100) == 1_000.0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has /proc/stat")
def test_this_machines_own_words() -> None:
    """The kernel that runs this test is understood."""
    found = cpu_times(Path("/proc/stat").read_text(encoding="ascii"))
    assert found is not None
    assert found.ran > 0
