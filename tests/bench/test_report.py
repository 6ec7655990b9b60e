"""The arithmetic of a report, the rule of a flat backlog, and what people and programs get to see."""

from __future__ import annotations

import signal

import msgspec
import pytest

from fleetwire.errors import FleetError, SettingsError
from storefleet.bench import broker_count, command, flatness
from storefleet.bench.broker_count import until_received
from storefleet.bench.crew import Crew
from storefleet.bench.interrupts import Interrupts
from storefleet.bench.process_usage import read_ps_time
from storefleet.bench.report import Figure, Goal, Machine, PartReport, Report, percentile, spread
from storefleet.bench.table import as_text
from tests.broker import Broker

MACHINE = Machine(system="Linux x86_64", cores=2, python="3.11.7", mosquitto="2.0.11", load_average=0.2)


def line(rate: float, *, start: float = 0.0, offset_s: float = 0.0, seconds: int = 8) -> list[tuple[float, float]]:
    """A count that grows evenly, read once a second."""
    return [(second + offset_s, start + rate * (second + offset_s)) for second in range(seconds + 1)]


def test_spread_is_of_neighbours() -> None:
    """Ratios are taken pair by pair, not of the medians."""
    found = spread([10.0, 30.0, 20.0], [10.0, 10.0, 40.0])
    assert found is not None
    assert (found.minimum, found.median, found.maximum, found.pairs) == (0.5, 1.0, 3.0, 3)
    assert spread([1.0], [0.0]) is None


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.9, 90), (0.99, 99), (0.999, 100), (1.0, 100)])
def test_percentile_is_the_nearest_rank(share: float, value: int) -> None:
    """A percentile is one of the values."""
    assert percentile([float(number) for number in range(1, 101)], share) == value


def test_steady_backlog_is_flat_even_when_snapshots_are_out_of_step() -> None:
    """Counts that are read at other times do not make a backlog grow."""
    step = flatness.judge(1_000, line(1_000, start=500), [line(1_000, offset_s=0.4), line(1_000, offset_s=0.9)])
    assert step is not None
    assert step.flat
    assert step.backlog == pytest.approx(500)
    assert step.growth == pytest.approx(0, abs=1e-6)


def test_growing_backlog_of_either_view_is_not_flat() -> None:
    """The slower view decides."""
    step = flatness.judge(1_000, line(1_000), [line(1_000), line(980)])
    assert step is not None
    assert not step.flat
    assert step.growth == pytest.approx(20)


def test_too_little_offered_is_not_flat() -> None:
    """A fleet that commits less than it was told has no flat backlog, however short the queue."""
    step = flatness.judge(1_000, line(970), [line(970), line(970)])
    assert step is not None
    assert not step.flat


def test_too_few_snapshots_are_no_step() -> None:
    """Two points are no evidence."""
    assert flatness.judge(1_000, line(1_000), [line(1_000, seconds=1)]) is None


def test_goal_beyond_what_was_tried_is_not_known() -> None:
    """A figure that is a lower bound can reach a goal but not miss it."""
    goal = Goal(by="ours", bound="at_least", now=100.0, design=1_000.0)
    figure = Figure(name="n", what="w", shape="s", unit="1/s", ours=500.0, lower_bound=True, goal=goal)
    assert figure.reaches(goal.now) is True
    assert figure.reaches(goal.design) is None
    figure.lower_bound = False
    assert figure.reaches(goal.design) is False


@pytest.mark.parametrize(("text", "seconds"), [("00:01.50", 1.5), ("01:02:03", 3723), ("2-00:00:01", 172_801)])
def test_ps_time_is_read_with_days_and_fractions(text: str, seconds: float) -> None:
    """Whatever ``ps`` makes of a CPU time."""
    assert read_ps_time(text) == seconds


def test_table_shows_ratio_goals_and_cautions() -> None:
    """A person sees number, baseline, ratio, both goals and what makes them worth less."""
    goal = Goal(by="ratio", bound="at_least", now=0.5, design=0.9)
    figure = Figure(
        name="publish", what="QoS 1 acknowledged", shape="100 connections", unit="1/s", ours=50_000.0,
        baseline_name="mosquitto_pub -l", baseline=80_000.0, ratio=spread([5.0, 6.0], [8.0, 10.0]), goal=goal,
    )  # fmt: skip
    part = PartReport(part="publish", status="measured", duration_s=3.0, figures=[figure])
    text = as_text(Report(quick=False, started_at_ms=0, machine=MACHINE, cautions=["busy"], parts=[part]))
    for expected in ("Mosquitto 2.0.11", "caution: busy", "50,000/s", "mosquitto_pub -l", "reached", "missed"):
        assert expected in text


def test_report_is_read_back_from_its_json() -> None:
    """A program gets every field, and the format's version."""
    part = PartReport(part="hop", status="skipped", duration_s=0.1, reason="no room")
    report = Report(quick=True, started_at_ms=1, machine=MACHINE, parts=[part])
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    assert report.format == 1


def test_unknown_part_is_refused_with_the_parts_there_are() -> None:
    """One line that names them, or the one that is meant."""
    with pytest.raises(SettingsError, match=r"no such part; did you mean 'latency'"):
        command.choose(["latencies"])
    with pytest.raises(SettingsError, match=r"no such part; .*connect.*publish"):
        command.choose(["qwertz"])


def test_failing_part_says_why_and_the_next_one_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one part cannot do is its reason; the exit status tells that a figure is missing."""

    def fails(_shape: object, _crew: Crew, _say: object) -> list[Figure]:
        raise FleetError("no broker here")

    def works(_shape: object, _crew: Crew, _say: object) -> list[Figure]:
        return [Figure(name="hop.added.p50", what="w", shape="s", unit="ms", ours=0.1)]

    monkeypatch.setitem(command.PARTS, "connect", command.Part(fails, 1, 1))
    monkeypatch.setitem(command.PARTS, "hop", command.Part(works, 1, 1))
    parts = list(command.measure_parts({"connect": 1, "hop": 1}, lambda _: None))
    assert [(part.status, part.reason) for part in parts] == [("skipped", "no broker here"), ("measured", "")]
    assert parts[1].figures[0].goal is not None
    assert command.exit_status(Report(quick=True, started_at_ms=0, machine=MACHINE, parts=parts)) == 3


def test_failing_worker_is_one_line(crew: Crew) -> None:
    """A worker that cannot do its task gives its last line, not a traceback."""
    with pytest.raises(FleetError, match=r"worker sessions ended with status 1: .*port"):
        crew.work("sessions", {"port": "none"}, timeout_s=30)


def test_interrupt_waits_for_what_must_be_whole() -> None:
    """A signal while a process is being started is raised behind it; at any other time at once."""
    done = []

    def start(interrupts: Interrupts) -> None:
        with interrupts.held():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            start(interrupts)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert done == ["whole"]


async def test_broker_that_received_too_little_is_found_out(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline that did not send everything fails with the number that arrived."""
    monkeypatch.setattr(broker_count, "SAYS_WITHIN_S", 3.0)
    with pytest.raises(FleetError, match="has received 0 of 5 publishes"):
        await until_received(broker.port, 5)
