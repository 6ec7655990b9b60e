"""Part ``publish``: QoS 1 publishes that a broker acknowledges, beside ``mosquitto_pub -l`` and aiomqtt.

Every measurement has a fresh broker to itself; ours and the baselines take turns, and the result is the median of the
ratios of neighbours. ``mosquitto_pub`` sends one line of a file a message over one connection; its start-up, measured
with one line in the same turn, is subtracted. It must not get more lines than there are packet ids: version 2.0.11 ends
when the id of its last line is acknowledged for the first time, and exits with 0 (150,000 lines: 18,930 sent). So the
broker is asked how many it received. Nobody subscribes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from statistics import median
from typing import Final, NamedTuple

import uvloop

from fleetwire.errors import FleetError
from storefleet.bench.baseline_library import MISSING, aiomqtt_is_there
from storefleet.bench.broker_count import until_received
from storefleet.bench.crew import Crew
from storefleet.bench.report import Figure, spread
from storefleet.broker import SBIN_FOLDERS

TIMEOUT_S: Final = 60.0
MOST_LINES: Final = 60_000
BIN_FOLDERS: Final = ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")
NO_MOSQUITTO_PUB: Final = (
    "mosquitto_pub was not found: no baseline by it (Debian, Ubuntu: sudo apt-get install mosquitto-clients)"
)


class Load(NamedTuple):
    """So many connections, each with so many in flight."""

    connections: int
    window: int


class Shape(NamedTuple):
    """What is published how often; ``pairs`` turns of ours and the baselines."""

    loads: tuple[Load, ...]
    pairs: int
    messages: int
    baseline_messages: int
    aiomqtt_messages: int
    payload_bytes: int = 250


class Turn(NamedTuple):
    """Acknowledged messages a second in one turn; 0 where there is no such baseline."""

    ours: float
    cpu_us: float
    mosquitto_pub: float
    aiomqtt: float


LOADS: Final = (Load(100, 20), Load(1_000, 1))
FULL: Final = Shape(LOADS, 3, messages=150_000, baseline_messages=MOST_LINES, aiomqtt_messages=5_000)
QUICK: Final = Shape(LOADS, 3, messages=40_000, baseline_messages=40_000, aiomqtt_messages=1_000)


def find_mosquitto_pub() -> str | None:
    """Path of the client, looked for as the broker is; None when it is not installed."""
    folders = (os.environ.get("PATH", os.defpath), *BIN_FOLDERS, *SBIN_FOLDERS)
    return shutil.which("mosquitto_pub", path=os.pathsep.join(folders))


def measure(shape: Shape, crew: Crew, say: Callable[[str], None]) -> list[Figure]:
    """Two figures for every load: beside mosquitto_pub and beside aiomqtt."""
    figures: list[Figure] = []
    for load in shape.loads:
        turns = []
        for number in range(shape.pairs):
            turns.append(_turn(shape, load, crew))
            say(
                f"publish: {load.connections:,} connections, {load.window} in flight, {number + 1} of {shape.pairs}:"
                f" {turns[-1].ours:,.0f}/s"
            )
        figures += _figures(shape, load, turns)
    return figures


def _turn(shape: Shape, load: Load, crew: Crew) -> Turn:
    ours, cpu_us = _ours(shape, load, crew)
    return Turn(ours, cpu_us, _mosquitto_pub(shape, crew), _aiomqtt(shape, load, crew))


def _ours(shape: Shape, load: Load, crew: Crew) -> tuple[float, float]:
    with crew.broker(load.connections) as port:
        found = crew.work("sessions", _task(port, shape, load, shape.messages), timeout_s=TIMEOUT_S + 10)
    if found["refused"]:
        raise FleetError(f"the broker refused {found['refused']:,} of {shape.messages:,} publishes")
    return shape.messages / found["seconds"], found["cpu_us"]


def _aiomqtt(shape: Shape, load: Load, crew: Crew) -> float:
    if not aiomqtt_is_there():
        return 0.0
    with crew.broker(load.connections) as port:
        found = crew.work("aiomqtt_clients", _task(port, shape, load, shape.aiomqtt_messages), timeout_s=TIMEOUT_S + 10)
    return float(shape.aiomqtt_messages / found["publish_seconds"])


def _task(port: int, shape: Shape, load: Load, messages: int) -> dict[str, object]:
    return {
        "port": port,
        "connections": load.connections,
        "window": load.window,
        "messages": messages,
        "payload_bytes": shape.payload_bytes,
        "timeout_s": TIMEOUT_S,
    }


def _mosquitto_pub(shape: Shape, crew: Crew) -> float:
    binary = find_mosquitto_pub()
    if binary is None:
        return 0.0
    line = b"x" * shape.payload_bytes + b"\n"
    many, one = crew.folder / "lines", crew.folder / "line"
    many.write_bytes(line * shape.baseline_messages)
    one.write_bytes(line)
    with crew.broker(1) as port:
        command = [binary, "-h", "127.0.0.1", "-p", str(port), "-V", "5", "-q", "1", "-t", "storefleet/bench", "-l"]
        startup_s = crew.feed(command, one, timeout_s=TIMEOUT_S)
        whole_s = crew.feed(command, many, timeout_s=TIMEOUT_S)
        uvloop.run(until_received(port, shape.baseline_messages + 1))
    return (shape.baseline_messages - 1) / max(1e-6, whole_s - startup_s)


def _figures(shape: Shape, load: Load, turns: list[Turn]) -> list[Figure]:
    name = f"publish.{load.connections}x{load.window}"
    text = f"{load.connections:,} connections, {load.window} in flight each, {shape.payload_bytes} B, no subscriber"
    ours = [turn.ours for turn in turns]
    baselines = (
        ("mosquitto_pub", "mosquitto_pub -l, 1 connection", [turn.mosquitto_pub for turn in turns], NO_MOSQUITTO_PUB),
        ("aiomqtt", "aiomqtt, same shape", [turn.aiomqtt for turn in turns], MISSING),
    )
    return [
        Figure(
            name=f"{name}.{key}",
            what="QoS 1 acknowledged",
            shape=text,
            unit="1/s",
            ours=median(ours),
            baseline_name=label if all(theirs) else "",
            baseline=median(theirs) if all(theirs) else None,
            ratio=spread(ours, theirs) if all(theirs) else None,
            note="" if all(theirs) else missing,
            details={"cpu_us_a_publish": median(turn.cpu_us for turn in turns)},
        )
        for key, label, theirs, missing in baselines
    ]
