"""The numbers to reach, by the name of a figure: those of now, and the final ones of the design."""

from __future__ import annotations

from typing import Final

from storefleet.bench.report import Goal

GOALS: Final[dict[str, Goal]] = {
    "connect.10000.seconds": Goal(by="ours", bound="at_most", now=5.0, design=3.0),
    "connect.10000.resident_kb": Goal(by="ours", bound="at_most", now=8.0, design=5.0),
    "publish.100x20.mosquitto_pub": Goal(by="ratio", bound="at_least", now=0.5, design=0.9),
    "publish.1000x1.mosquitto_pub": Goal(by="ratio", bound="at_least", design=0.35),
    "pipeline.proxied": Goal(by="ours", bound="at_least", now=1_500, design=2_500),
    "pipeline.bare": Goal(by="ours", bound="at_least", design=4_000),
    "pipeline.proxied.cpu": Goal(by="ours", bound="at_most", design=800),
    "latency.p99": Goal(by="ours", bound="at_most", design=25.0),
    "hop.added.p50": Goal(by="ours", bound="at_most", design=0.3),
    "hop.fault.5000": Goal(by="ours", bound="at_most", design=60.0),
    "recovery.network.5000.online": Goal(by="ours", bound="at_most", now=10.0),
    "recovery.broker.10000.online": Goal(by="ours", bound="at_most", design=5.0),
}
