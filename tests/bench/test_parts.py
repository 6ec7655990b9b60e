"""Every part, end to end and for real, in a tiny shape: the figures are there and of sane types. Nothing is timed."""

from __future__ import annotations

import pytest

from storefleet.bench import connect, hop, latency, pipeline, publish, recovery
from storefleet.bench.crew import Crew
from storefleet.bench.report import Figure
from storefleet.lab_options import descriptor_limit


def quiet(_: str) -> None:
    """Progress is for people."""


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    """The figures, every one of which has a number of its own, and says what it is of."""
    for figure in figures:
        assert figure.ours is not None, f"{figure.name}: {figure.note}"
        assert figure.what
        assert figure.shape
        assert figure.unit
    return {figure.name: figure for figure in figures}


def number(figure: Figure) -> float:
    """Its number, which it must have."""
    assert figure.ours is not None
    return figure.ours


def assert_compared(figure: Figure, *, pairs: int) -> None:
    """It has a baseline with a name, and a ratio of so many pairs between its lowest and its highest."""
    assert figure.baseline is not None
    assert figure.baseline_name
    assert figure.ratio is not None
    assert figure.ratio.pairs == pairs
    assert figure.ratio.minimum <= figure.ratio.median <= figure.ratio.maximum


def test_connect_measures_real_terminals_beside_aiomqtt(crew: Crew) -> None:
    """Terminals connect and subscribe; time, memory and CPU of one stand beside those of an aiomqtt client."""
    figures = by_name(connect.measure(connect.Shape(terminals=(30,), baseline_clients=5), crew, quiet))
    assert set(figures) == {f"connect.30.{key}" for key in ("seconds", "connects_per_s", "resident_kb", "cpu_ms")}
    for figure in figures.values():
        assert_compared(figure, pairs=1)
    assert number(figures["connect.30.seconds"]) * number(figures["connect.30.connects_per_s"]) == pytest.approx(30)


def test_connect_says_when_terminals_do_not_fit(crew: Crew) -> None:
    """More terminals than descriptors are refused with the number that fits, and no figure is invented."""
    too_many = descriptor_limit() + 1
    (figure,) = connect.measure(connect.Shape(terminals=(too_many,), baseline_clients=1), crew, quiet)
    assert figure.ours is None
    assert "terminals fit" in figure.note


def test_publish_takes_turns_with_both_baselines(crew: Crew) -> None:
    """Every load has a ratio to mosquitto_pub and one to aiomqtt, each of as many pairs as there were turns."""
    shape = publish.Shape(
        (publish.Load(3, 4), publish.Load(5, 1)), 3, messages=200, baseline_messages=200, aiomqtt_messages=40
    )
    figures = by_name(publish.measure(shape, crew, quiet))
    assert set(figures) == {
        f"publish.{load}.{baseline}" for load in ("3x4", "5x1") for baseline in ("mosquitto_pub", "aiomqtt")
    }
    for figure in figures.values():
        assert_compared(figure, pairs=3)
        assert figure.details["cpu_us_a_publish"] > 0


def test_publish_without_mosquitto_pub_says_so(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing baseline is a note, not an invented number; our own figure is there all the same."""
    monkeypatch.setattr(publish, "find_mosquitto_pub", lambda: None)
    shape = publish.Shape((publish.Load(2, 2),), 1, messages=50, baseline_messages=50, aiomqtt_messages=10)
    figure = by_name(publish.measure(shape, crew, quiet))["publish.2x2.mosquitto_pub"]
    assert figure.baseline is None
    assert figure.ratio is None
    assert "mosquitto_pub was not found" in figure.note


def test_hop_measures_round_trips_and_faults_through_the_real_chaos_process(crew: Crew) -> None:
    """Round trips are compared in turns, and a fault takes every live connection before its call returns."""
    figures = by_name(hop.measure(hop.Shape(round_trips=20, turns=2, connections=8, faults=2), crew, quiet))
    assert set(figures) == {"hop.added.p50", "hop.added.p99", "hop.fault.8", "hop.lift.8"}
    for figure in figures.values():
        assert_compared(figure, pairs=2)


def test_latency_compares_ledger_and_journal_of_a_whole_lab(crew: Crew) -> None:
    """Every event that was committed while it was held has a latency, with every hop proxied and with bare hops."""
    shape = latency.Shape(stores=2, terminals_per_store=2, rate_per_s=40, settle_s=0.5, hold_s=4.0, turns=1)
    figures = by_name(latency.measure(shape, crew, quiet))
    assert list(figures) == ["latency.p50", "latency.p90", "latency.p99", "latency.p99.9"]
    percentiles = [number(figure) for figure in figures.values()]
    assert percentiles == sorted(percentiles)
    assert figures["latency.p50"].details["events"] >= 20
    for figure in figures.values():
        assert_compared(figure, pairs=1)


@pytest.mark.timeout(600)
def test_pipeline_finds_a_flat_rate_and_the_cost_by_process(crew: Crew) -> None:
    """A rate that a small lab carries with ease is flat, and every process of the lab has its CPU time."""
    # A snapshot that comes late tilts the fitted line: over 10 s by a third of what it does over 5 s.
    shape = pipeline.Shape(2, 2, (40,), settle_s=2.0, hold_s=10.0, tries=5)  # no step is flat while the machine stalls
    figures = by_name(pipeline.measure(shape, crew, quiet))
    rate, cost = figures["pipeline.proxied"], figures["pipeline.proxied.cpu"]
    assert rate.lower_bound
    assert rate.baseline_name == "bare hops"
    assert {"broker-1_us", "chaos-1_us", "emulator-1_us", "parm-1_us", "lab_us"} <= set(cost.details)
    assert "chaos-1_us" not in figures["pipeline.bare.cpu"].details


def test_recovery_measures_both_losses_beside_a_restart(crew: Crew) -> None:
    """After the network's loss and after the broker's, all are online and every view agrees; a restart stands beside."""
    shape = recovery.Shape(network_stores=2, broker_stores=2, rate_per_s=20, outage_s=0.5)
    figures = by_name(recovery.measure(shape, crew, quiet))
    assert set(figures) == {
        f"recovery.{loss}.10.{what}" for loss in ("network", "broker") for what in ("online", "converged")
    }
    for figure in figures.values():
        assert_compared(figure, pairs=1)
    for loss in ("network", "broker"):
        assert number(figures[f"recovery.{loss}.10.online"]) <= number(figures[f"recovery.{loss}.10.converged"])
