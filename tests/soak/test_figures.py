"""Slopes, and what a report makes of schedules: computed by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storefleet.soak.figures import WARM_UP_S, Sample, growth, slope_per_minute
from storefleet.soak.play import Played, machine_ms
from storefleet.soak.report import Failure, JudgedLab, Report, convergence_of, hits_of, plain_text
from storefleet.soak.schedule import Step
from storefleet.verdict.machine import Stall

KILL = Step(process="parm-1", kind="kill", at_s=1.0)
PAUSE = Step(process="views-1", kind="pause", at_s=1.0, duration_s=3.0)


@given(st.floats(-100, 100), st.lists(st.floats(-1000, 1000), min_size=1, max_size=5))
def test_one_slope_is_found_whatever_the_levels(per_s: float, levels: list[float]) -> None:
    """Series on the same slope have it in common, however far apart they lie."""
    series = [[(float(at_s), level + per_s * at_s) for at_s in range(5)] for level in levels]
    assert slope_per_minute(series) == pytest.approx(60 * per_s, abs=0.01)


def test_too_few_points_have_no_slope() -> None:
    """Two points, or points at one moment, say nothing."""
    assert slope_per_minute([[(0.0, 1.0), (1.0, 2.0)]]) is None
    assert slope_per_minute([[(0.0, 1.0)] * 5]) is None


def test_a_restart_is_no_shrinking_and_a_start_no_leak() -> None:
    """Memory grows by 1 MB a minute in both processes of one name, after a warm-up that is steep."""
    samples = []
    for process_id, begin_s in ((1, 0), (2, 100)):
        for second in range(60):
            size = 1_000_000 * min(second, WARM_UP_S) + second * 1_000_000 / 60
            samples.append(Sample("parm-1", process_id, begin_s + second, round(size), 60 - second))
    (found,) = growth(samples)
    assert found.mb_per_minute == pytest.approx(1.0, abs=0.01)
    assert (found.samples, found.first_mb) == (120, 0.0)


def test_a_backlog_that_comes_and_goes_has_no_slope_and_one_that_stays_has() -> None:
    """Only what is left once everything has converged counts: here 10 events more each minute."""
    samples = [Sample("parm-1", 1, 60.0 * minute + 30, 1, 500 - 50 * minute) for minute in range(5)]
    samples += [Sample("parm-1", 1, 60.0 * minute, 1, 10 * minute, settled=True) for minute in range(5)]
    (found,) = growth(samples)
    assert (found.most_backlog, found.most_settled_backlog, found.backlog_per_minute) == (500, 40, 10.0)


def test_a_process_without_backlog_has_none() -> None:
    """Where nothing is counted nothing is claimed."""
    (found,) = growth([Sample("chaos-1", 1, float(second), 1, None) for second in range(5)])
    assert (found.most_backlog, found.most_settled_backlog, found.backlog_per_minute) == (None, None, None)


def report_of(*schedules: Played) -> Report:
    """A report of a valid run."""
    failures = [Failure(index=one.index, why=one.failure, command="again") for one in schedules if one.failure]
    return Report(
        seed=7, command="again", labs=[JudgedLab(run_folder="runs/x", validity="valid")], validity="valid",
        limit_s=10.0, seconds=60.0, schedules=list(schedules),
        hits=hits_of(list(schedules)), convergence=convergence_of(list(schedules)), growth=[], failures=failures,
    )  # fmt: skip


def test_a_report_counts_hits_and_names_the_worst_schedule() -> None:
    """Hits are counted by process and kind, of what did hit; of each view median, worst, and where the worst was."""
    report = report_of(
        Played(index=4, steps=[KILL], hit=[KILL], converged_ms={"orders": 1000}),
        Played(index=5, steps=[KILL, PAUSE], hit=[KILL, PAUSE], converged_ms={"orders": 3000}),
        Played(index=6, steps=[PAUSE, KILL]),
    )
    assert report.hits["parm-1"] == {"kill": 2, "pause": 0, "restart": 0}
    assert report.hits["views-1"] == {"kill": 0, "pause": 1, "restart": 0}
    assert report.hits["lab"] == {"kill": 0, "pause": 0}
    (orders,) = report.convergence
    assert (orders.median_ms, orders.worst_ms, orders.worst_index) == (2000, 3000, 5)
    assert report.exit_status == 0
    assert "orders" in plain_text(report)


def test_ten_seconds_are_the_limit() -> None:
    """Later than that fails a valid run with status 1, unless the machine itself stood still for the difference."""
    assert report_of(Played(index=0, steps=[KILL], converged_ms={"orders": 10_000})).exit_status == 0
    late = report_of(Played(index=0, steps=[KILL], converged_ms={"orders": 10_100, "fleet": 400}))
    assert late.exit_status == 1
    assert "'orders': 10100" in late.failures[0].why
    assert "fleet" not in late.failures[0].why
    assert report_of(Played(index=0, steps=[KILL], converged_ms={"orders": 10_100}, stalled_ms=200)).exit_status == 0


def test_a_view_that_never_came_fails() -> None:
    """Its schedule can be played alone, and a soak that played nothing proves nothing."""
    assert report_of(Played(index=0, steps=[KILL], problem="not converged within 30 s: sales")).exit_status == 1
    assert report_of().exit_status == 3


def test_a_lab_that_is_busy_with_itself_is_no_machine_that_stood_still() -> None:
    """Only what no lab can make by itself is taken off, and only since the last process was back."""
    stalls = [
        Stall("lab", 500, 1_000.0, "cpu_steal"),
        Stall("lab", 2_000, 5_000.0, "event_loop"),
        Stall("lab", 3_000, 600.0, "disk_wait"),
    ]
    assert machine_ms(stalls, 1_000) == 500 + 600
