"""Part ``hop``: what a hop of the chaos process adds to a round trip, and how fast a fault reaches live connections.

The round trip is that of an event that a client publishes to its own subscription on the real broker, straight and
through the hop in turns. The time of a fault is that of the control call as the lab sees it, until the hop says done.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from statistics import median
from typing import Any, Final, NamedTuple

import uvloop

from fleetwire.errors import FleetError
from fleetwire.mqtt import Endpoint, Message, MqttError, Session, SessionGroup, SessionOptions
from fleetwire.settings import StageSettings
from storefleet.bench.crew import Crew
from storefleet.bench.report import Figure, percentile, spread
from storefleet.bench.round_trips import round_trips_ms
from storefleet.control_server import ControlServer
from storefleet.lab_options import descriptor_limit, require_descriptors, terminals_that_fit
from storefleet.own_python import own_process
from storefleet.ports import Ports
from storefleet.stage_credentials import credential_file

HOP: Final = "terminals-broker"
FAULT: Final = "bench"
READY_S: Final = 30.0
CONNECT_S: Final = 60.0


class Shape(NamedTuple):
    """``turns`` of ``round_trips`` each way; a fault on so many connections, added and lifted ``faults`` times."""

    round_trips: int
    turns: int
    connections: int
    faults: int
    payload_bytes: int = 250


FULL: Final = Shape(round_trips=1_000, turns=5, connections=5_000, faults=5)
QUICK: Final = Shape(round_trips=300, turns=3, connections=1_000, faults=3)


class Turn(NamedTuple):
    """Ascending round trips in milliseconds, of one turn."""

    direct: list[float]
    proxied: list[float]


class FaultTimes(NamedTuple):
    """Milliseconds of every control call."""

    add: list[float]
    lift: list[float]


def measure(shape: Shape, crew: Crew, say: Callable[[str], None]) -> list[Figure]:
    """Two figures for the round trip, two for a fault."""
    fits = min(shape.connections, terminals_that_fit(descriptor_limit()))
    note = f"{fits:,} of {shape.connections:,} connections fit the descriptors" if fits < shape.connections else ""
    shape = shape._replace(connections=fits)
    require_descriptors(fits)
    with crew.broker(fits) as port, contextlib.closing(Ports()) as ports:
        return uvloop.run(_measure(shape, (port, ports.reserve()), crew, say, note))


async def _measure(
    shape: Shape, ports: tuple[int, int], crew: Crew, say: Callable[[str], None], note: str
) -> list[Figure]:
    port, hop_port = ports
    async with _chaos(port, hop_port, crew) as control:
        turns = []
        for number in range(shape.turns):
            say(f"hop: {shape.round_trips} round trips each way, {number + 1} of {shape.turns}")
            turns.append(await asyncio.to_thread(_turn, shape, port, hop_port))
        idle = await _faults(control, shape.faults, expected=0)
        say(f"hop: {shape.connections:,} connections, then {shape.faults} faults")
        group = await _connect(hop_port, shape.connections)
        try:
            loaded = await _faults(control, shape.faults, expected=shape.connections)
        finally:
            await group.close(timeout_s=5.0)
    return [*_round_trip_figures(shape, turns), *_fault_figures(shape, loaded, idle, note)]


@contextlib.asynccontextmanager
async def _chaos(broker_port: int, hop_port: int, crew: Crew) -> AsyncIterator[ControlServer]:
    """The real chaos process with one hop, and the control plane that tells it of faults."""
    control = ControlServer(secrets.token_urlsafe(24), on_snapshot=_ignore, client_handlers={})
    address = await control.start()
    control.credentials.write(crew.folder, "chaos", 1)
    hop = {
        "name": HOP,
        "listen": f"127.0.0.1:{hop_port}",
        "upstream": f"127.0.0.1:{broker_port}",
        "protocol": "mqtt",
    }
    credential = str(credential_file(crew.folder, "chaos", 1))
    settings = StageSettings(stage="chaos", control=address, token_file=credential, options=json.dumps({"hops": [hop]}))
    try:
        own = own_process("chaos")
        with crew.running(own.command, environment={**own.environment, **settings.environment()}):
            await _until_ready(control)
            yield control
    finally:
        await control.stop()


def _ignore(_: object) -> None:
    """Snapshots are not needed here."""


async def _until_ready(control: ControlServer) -> None:
    try:
        async with asyncio.timeout(READY_S):
            while not any(member.ready for member in control.stage("chaos")):
                control.changed.clear()
                await control.changed.wait()
    except TimeoutError as error:
        raise FleetError(f"the chaos process was not ready within {READY_S:g} s") from error


def _turn(shape: Shape, port: int, hop_port: int) -> Turn:
    return Turn(
        round_trips_ms(port, shape.round_trips, shape.payload_bytes),
        round_trips_ms(hop_port, shape.round_trips, shape.payload_bytes),
    )


class _Idle:
    """The handler of connections that only stand there."""

    def __init__(self, expected: int) -> None:
        self._missing = expected
        self.complete = asyncio.Event()

    def on_connected(self, _session: Session, _session_present: bool, /) -> None:
        """Counted."""
        self._missing -= 1
        if self._missing <= 0:
            self.complete.set()

    def on_message(self, session: Session, message: Message, /) -> None:
        """Nothing is subscribed to."""

    def on_published(self, session: Session, token: object, reason_code: int, /) -> None:
        """Nothing is published."""

    def on_subscribed(self, session: Session, reason_codes: tuple[int, ...], /) -> None:
        """Nothing is subscribed to."""

    def on_disconnected(self, session: Session, error: MqttError, /) -> None:
        """It comes back by itself; the evidence of the fault says how many there were."""


async def _connect(port: int, connections: int) -> SessionGroup:
    group, handler = SessionGroup(Endpoint(host="127.0.0.1", port=port)), _Idle(connections)
    for number in range(connections):
        group.open(SessionOptions(client_id=f"taco.west.s{number:05d}.r01", keep_alive_s=600), handler)
    try:
        async with asyncio.timeout(CONNECT_S):
            await handler.complete.wait()
    except TimeoutError as error:
        await group.close(timeout_s=1.0)
        raise FleetError(f"{connections:,} connections through the hop did not stand within {CONNECT_S:g} s") from error
    return group


async def _faults(control: ControlServer, count: int, *, expected: int) -> FaultTimes:
    times = FaultTimes([], [])
    added = {"hop": HOP, "name": FAULT, "type": "partition", "attributes": {"region": "west"}}
    for _ in range(count):
        times.add.append(await _timed(control, "add_fault", added))
        taken = (await control.call("chaos", "faults"))[0][0]["evidence"]["links_selected"]
        if taken != expected:
            raise FleetError(f"the fault took {taken:,} connections, expected {expected:,}")
        times.lift.append(await _timed(control, "remove_fault", {"hop": HOP, "name": FAULT}))
    return times


async def _timed(control: ControlServer, method: str, params: dict[str, Any]) -> float:
    started_s = time.perf_counter()
    await control.call("chaos", method, params)
    return (time.perf_counter() - started_s) * 1000


def _round_trip_figures(shape: Shape, turns: list[Turn]) -> list[Figure]:
    text = f"{shape.payload_bytes} B publish to itself, 1 connection, {shape.turns} x {shape.round_trips:,} each way"
    figures = []
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        direct = [percentile(turn.direct, share) for turn in turns]
        proxied = [percentile(turn.proxied, share) for turn in turns]
        figures.append(
            Figure(
                name=f"hop.added.{name}",
                what=f"added by a hop to a round trip, {name}",
                shape=text,
                unit="ms",
                ours=median(through - straight for through, straight in zip(proxied, direct, strict=True)),
                baseline_name=f"direct round trip, {name}",
                baseline=median(direct),
                ratio=spread(proxied, direct),
                note="the ratio is that of the whole round trips, through the hop to direct",
                details={"through_the_hop_ms": median(proxied)},
            )
        )
    return figures


def _fault_figures(shape: Shape, loaded: FaultTimes, idle: FaultTimes, note: str) -> list[Figure]:
    rows = (
        ("fault", "a fault on live connections", loaded.add, idle.add),
        ("lift", "lifting it", loaded.lift, idle.lift),
    )
    return [
        Figure(
            name=f"hop.{key}.{shape.connections}",
            what=what,
            unit="ms",
            note=note,
            shape=f"partition of {shape.connections:,} connections, control call included, median of {shape.faults}",
            ours=median(ours),
            baseline_name="the same call, no connection",
            baseline=median(baseline),
            ratio=spread(ours, baseline),
            details={"slowest_ms": max(ours)},
        )
        for key, what, ours, baseline in rows
    ]
