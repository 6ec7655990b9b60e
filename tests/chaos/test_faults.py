"""Faults on live connections: each kind, its lease, its victims, its evidence, and the calls that go wrong."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable

import pytest
from msgspec import Struct

from chaos import registry
from chaos.active_fault import ActiveFault, FaultSettings
from chaos.fault import Client, Passage
from chaos.link import RESET_ON_CLOSE
from chaos.noop import Noop
from chaos.partition import Partition
from fleetwire.errors import ControlError
from tests.chaos.peers import CONNACK, HOP, EchoServer, HopBench, connect_frame, publish_frame, until

MakeHop = Callable[..., HopBench]
WEST, EAST = "taco.west.s0001.r01", "taco.east.s0002.r01"


class Terminal:
    """An MQTT client by hand, against the echo server that answers a CONNECT with a CONNACK and echoes."""

    def __init__(self, hop: HopBench, client_id: str) -> None:
        self.hop = hop
        self.greeting = connect_frame(client_id)

    async def open(self, *, answered: bool = True) -> Terminal:
        """Connect and send CONNECT."""
        self.reader, self.writer = await self.hop.connect()
        self.writer.write(self.greeting)
        if answered:
            assert await self.read(len(CONNACK) + len(self.greeting)) == CONNACK + self.greeting
        return self

    async def read(self, size: int) -> bytes:
        """Bytes from the hop, within 40 s."""
        async with asyncio.timeout(40):
            return await self.reader.readexactly(size)

    async def echoes(self, data: bytes) -> bool:
        """Whether these bytes come back."""
        self.writer.write(data)
        return await self.read(len(data)) == data

    def silent(self) -> bool:
        """Whether nothing came that was not read."""
        return not self.reader._buffer  # type: ignore[attr-defined]  # the only way to look without waiting


@pytest.fixture
async def hop(echo: EchoServer, make_hop: MakeHop) -> HopBench:
    """An mqtt hop in front of the echo server."""
    echo.first = CONNACK
    return await make_hop(echo.address, protocol="mqtt", client_id_prefix="lab1-").start()


async def test_partition_holds_and_releases_in_order(hop: HopBench, echo: EchoServer) -> None:
    """What a region sends while it is cut off arrives when the fault is lifted, in order and complete."""
    west, east = await Terminal(hop, "lab1-" + WEST).open(), await Terminal(hop, "lab1-" + EAST).open()
    await hop.call("add_fault", name="cut", type="partition", attributes={"region": "west"})
    frames = [publish_frame(b"%05d" % number * 40) for number in range(5_000)]
    sender = asyncio.create_task(_send(west, frames))
    assert await east.echoes(publish_frame(b"east trades on"))
    await until(lambda: hop.count("held_links") == 1, "the west link is held")
    assert bytes(echo.received[0]) == west.greeting
    (state,) = await hop.call("faults")
    assert state["evidence"]["found"] == "confirmed"
    assert (state["evidence"]["links_selected"], state["evidence"]["links_held"]) == (1, 1)
    assert 0 < state["evidence"]["bytes_held"] < 2 * 1024 * 1024
    await hop.call("remove_fault", name="cut")
    assert await west.read(sum(map(len, frames))) == b"".join(frames)
    await sender
    assert hop.count("held_links") == 0


async def test_partition_holds_both_directions(hop: HopBench, echo: EchoServer) -> None:
    """The server's bytes are held as well as the client's."""
    west = await Terminal(hop, WEST).open()
    await hop.call("add_fault", name="cut", type="partition", attributes={"region": "west"}, stream="downstream")
    west.writer.write(publish_frame(b"goes up"))
    await until(lambda: len(echo.received[0]) > len(west.greeting), "the frame went up")
    await until(lambda: hop.count("held_links") == 1, "the echo is held")
    assert west.silent()
    await hop.call("remove_fault", name="cut")
    assert await west.read(len(publish_frame(b"goes up"))) == publish_frame(b"goes up")


async def test_partition_holds_a_connect(hop: HopBench, echo: EchoServer) -> None:
    """A new client of the region is accepted, its CONNECT goes on when the fault is lifted, or never if it gave up."""
    state = await hop.call("add_fault", name="cut", type="partition", attributes={"store": "taco.west.s0001"})
    assert state["evidence"]["found"] == "inconclusive"
    patient = await Terminal(hop, WEST).open(answered=False)
    hasty = await Terminal(hop, "taco.west.s0001.k01").open(answered=False)
    await until(lambda: hop.count("held_links") == 2, "both CONNECTs are held")
    (state,) = await hop.call("faults")
    assert (state["evidence"]["connects_held"], state["evidence"]["connects_held_total"]) == (2, 2)
    assert state["evidence"]["found"] == "confirmed"
    hasty.writer.close()
    await until(lambda: hop.count("connects_abandoned_total") == 1, "the client that gave up is forgotten")
    assert echo.received == []
    await hop.call("remove_fault", name="cut")
    assert await patient.read(len(CONNACK)) == CONNACK
    await until(lambda: hop.count("links_open") == 1, "one link is left")
    assert bytes(echo.received[0]) == patient.greeting
    assert hop.count("connack_0x00_total") == 1


async def test_links_that_gave_up_meanwhile_are_closed(hop: HopBench, echo: EchoServer) -> None:
    """A client that left during the partition is closed at the upstream when it is lifted, after its last bytes."""
    west = await Terminal(hop, WEST).open()
    await hop.call("add_fault", name="cut", type="partition", attributes={"brand": "taco"})
    last = publish_frame(b"last words")
    west.writer.write(last)
    west.writer.close()
    await until(lambda: hop.count("held_links") == 1, "the last words are held")
    assert echo.ends == []
    await hop.call("remove_fault", name="cut")
    await until(lambda: hop.count("links_open") == 0, "the link is closed")
    assert bytes(echo.received[0]) == west.greeting + last


async def test_an_end_does_not_cross_a_partition(hop: HopBench, echo: EchoServer) -> None:
    """Neither side hears of the other's end before the fault is lifted; then both do, and nothing is left."""
    west, other = await Terminal(hop, WEST).open(), await Terminal(hop, "taco.west.s0001.r02").open()
    await hop.call("add_fault", name="cut", type="partition", attributes={"region": "west"})
    west.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    west.writer.transport.abort()
    await until(lambda: hop.count("held_links") == 1, "the client's reset is held")
    await echo.stop()
    await until(lambda: hop.count("held_links") == 2, "the upstream's end is held")
    assert hop.count("links_open") == 2
    assert not other.reader.at_eof()
    await hop.call("remove_fault", name="cut")
    await until(lambda: hop.count("links_open") == 1, "the link of the client that reset is gone")
    assert await other.reader.read() == b""
    other.writer.close()
    await until(lambda: hop.count("links_open") == 0, "both links ended")


async def test_connect_in_single_bytes(hop: HopBench, echo: EchoServer) -> None:
    """A CONNECT that comes byte by byte is understood, and goes on only when its client id is known."""
    reader, writer = await hop.connect()
    greeting = connect_frame("lab1-" + WEST, properties=b"\x11\x00\x00\x00\x3c")
    for byte in greeting[:-1]:
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    await until(lambda: hop.count("links_open") == 1, "the link is there")
    assert echo.received == []
    assert hop.count("connects_total") == 0
    writer.write(greeting[-1:])
    assert await reader.readexactly(len(CONNACK + greeting)) == CONNACK + greeting
    state = await hop.call("add_fault", name="cut", type="partition", attributes={"client_id": WEST})
    assert state["evidence"]["links_selected"] == 1


async def test_editing_a_partition_moves_it(hop: HopBench) -> None:
    """A changed fault lets go of those it no longer selects and takes those it now does."""
    west, east = await Terminal(hop, WEST).open(), await Terminal(hop, EAST).open()
    await hop.call("add_fault", name="cut", type="partition", attributes={"region": "west"})
    west.writer.write(publish_frame(b"w"))
    await until(lambda: hop.count("held_links") == 1, "west is held")
    await hop.call("change_fault", name="cut", attributes={"region": "east"})
    assert await west.read(3) == publish_frame(b"w")
    east.writer.write(publish_frame(b"e"))
    await until(lambda: hop.count("held_links") == 1, "east is held")
    await hop.call("change_fault", name="cut", attributes={"region": "north"})
    assert await east.read(3) == publish_frame(b"e")


async def test_latency_delays_in_order_and_lets_go_at_once(hop: HopBench) -> None:
    """Latency delays each chunk, keeps order over a thousand chunks, and frees what it held when it is lifted."""
    west = await Terminal(hop, WEST).open()
    await hop.call("add_fault", name="slow", type="latency", attributes={"latency": 120, "jitter": 20})
    begin_s = time.monotonic()
    assert await west.echoes(publish_frame(b"x" * 100))
    assert time.monotonic() - begin_s >= 0.095
    frames = [publish_frame(b"%04d" % number) for number in range(1_000)]
    assert await west.echoes(b"".join(frames))
    await hop.call("change_fault", name="slow", attributes={"latency": 60_000, "jitter": 0})
    west.writer.write(publish_frame(b"stuck"))
    await until(lambda: hop.count("held_links") == 1, "the echo is held")
    state = await hop.call("remove_fault", name="slow")
    assert (state["ended"], state["evidence"]["found"]) == ("removed", "confirmed")
    assert await west.read(7) == publish_frame(b"stuck")


@pytest.mark.parametrize("seed", range(5))
async def test_no_byte_is_lost_while_faults_come_and_go(hop: HopBench, seed: int) -> None:
    """Faults added, edited and removed in any order while frames flow both ways: every byte arrives, in order."""
    draw = random.Random(seed)
    west = await Terminal(hop, WEST).open()
    frames = [publish_frame(draw.randbytes(draw.choice((5, 200, 20_000)))) for _ in range(600)]
    sender = asyncio.create_task(_send(west, frames))
    reader = asyncio.create_task(west.reader.readexactly(sum(map(len, frames))))
    kinds = [
        ("latency", {"latency": 3, "jitter": 3}, {"latency": 1}),
        ("partition", {"region": "west"}, {"region": "east"}),
        ("noop", {}, {}),
    ]
    at_work: dict[str, int] = {}
    for number in range(60):
        if at_work and draw.random() < 0.5:
            name = draw.choice(list(at_work))
            if draw.random() < 0.4:
                await hop.call("change_fault", name=name, attributes=kinds[at_work[name]][2])
            else:
                del at_work[name]
                await hop.call("remove_fault", name=name)
        else:
            name, kind = f"f{number}", draw.randrange(3)
            at_work[name] = kind
            stream = draw.choice(("upstream", "downstream", "both"))
            await hop.call("add_fault", name=name, type=kinds[kind][0], attributes=kinds[kind][1], stream=stream)
        await asyncio.wait([reader], timeout=0.004)
    for name in at_work:
        await hop.call("remove_fault", name=name)
    async with asyncio.timeout(40):
        assert await reader == b"".join(frames)
    await sender


async def test_down_closes_and_refuses_until_lifted(hop: HopBench) -> None:
    """While a hop is down its links are closed and connects refused; then it serves the same port again."""
    west = await Terminal(hop, WEST).open()
    await hop.call("add_fault", name="off", type="down")
    assert await west.reader.read() == b""
    with pytest.raises(ConnectionRefusedError):
        await hop.connect()
    (state,) = await hop.call("faults")
    assert state["evidence"]["links_closed_total"] == 1
    await hop.call("remove_fault", name="off")
    await Terminal(hop, WEST).open()


async def test_lease_ends_a_fault(hop: HopBench) -> None:
    """A fault that nobody renews lifts itself, one that is renewed stays."""
    west = await Terminal(hop, WEST).open()
    await hop.call("add_fault", name="cut", type="partition", attributes={"region": "west"}, lease_s=0.15)
    await hop.call("add_fault", name="kept", type="noop", lease_s=0.15)
    state = await hop.call("renew_fault", name="kept", lease_s=60)
    assert state["lease_s"] == 60
    assert state["ends_in_s"] > 59
    assert await west.echoes(publish_frame(b"late"))
    assert hop.count("leases_ended_total") == 1
    assert [(state["name"], state["ended"]) for state in await hop.call("faults")] == [("kept", ""), ("cut", "lease")]
    with pytest.raises(ControlError, match="no fault 'cut'"):
        await hop.call("renew_fault", name="cut")


class _DropEmpty(Struct, frozen=True):
    """A packet fault for this test: publishes without a body are dropped."""

    def apply(self, chunk: bytes, passage: Passage) -> None:
        passage.forward(chunk)

    def apply_packet(self, packet: bytes, passage: Passage) -> None:
        if packet == b"\x30\x00":
            passage.drop(packet)
        else:
            passage.forward(packet)


async def test_packet_fault_attaches_in_mid_frame(
    hop: HopBench, echo: EchoServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packet fault added in the middle of a frame leaves that frame alone and cuts the ones after it."""
    monkeypatch.setitem(registry.FAULT_TYPES, "drop_empty", registry.FaultType(_DropEmpty, "upstream"))
    west = await Terminal(hop, WEST).open()
    long = publish_frame(b"\x30\x00" * 500)
    west.writer.write(long[:301])
    assert await west.read(301) == long[:301]
    await hop.call("add_fault", name="drop", type="drop_empty")
    west.writer.write(long[301:] + b"\x30\x00" + publish_frame(b"after")[:4])
    assert await west.read(len(long) - 301) == long[301:]
    await until(lambda: len(echo.received[0]) == len(west.greeting + long), "nothing of the packet begun has passed")
    await hop.call("remove_fault", name="drop")
    west.writer.write(publish_frame(b"after")[4:] + b"\x30\x00")
    assert await west.read(9) == publish_frame(b"after") + b"\x30\x00"


async def test_mismatch_when_the_glob_fits_nobody(hop: HopBench) -> None:
    """A fault that selects none of the clients present says so."""
    await Terminal(hop, WEST).open()
    state = await hop.call("add_fault", name="cut", type="partition", attributes={"client_id": "taco.noth.*"})
    assert state["evidence"]["found"] == "mismatch"


async def test_opaque_clients_pass_untouched(hop: HopBench) -> None:
    """A client that speaks no MQTT passes through an mqtt hop, counted, and is never cut off."""
    await hop.call("add_fault", name="cut", type="partition", attributes={"client_id": "*"})
    reader, writer = await hop.connect()
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert await reader.readexactly(len(CONNACK) + 18) == CONNACK + b"GET / HTTP/1.1\r\n\r\n"
    assert hop.count("links_opaque_total") == 1


async def test_silent_client_is_closed(hop: HopBench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that does not say who it is does not keep its connection for ever."""
    monkeypatch.setattr("chaos.link.GREETING_TIMEOUT_S", 0.05)
    reader, _ = await hop.connect()
    assert await reader.read() == b""
    assert hop.count("greetings_overdue_total") == 1


async def test_fault_on_two_thousand_live_connections(hop: HopBench) -> None:
    """A partition takes hold on, and lets go of, 2,000 live connections; the times are printed."""
    ids = [f"taco.{region}.s{number:04}.r01" for number in range(1_000) for region in ("west", "east")]
    for first in range(0, len(ids), 100):
        await asyncio.gather(*(Terminal(hop, client_id).open() for client_id in ids[first : first + 100]))
    begin_s = time.perf_counter()
    state = await hop.call("add_fault", name="cut", type="partition", attributes={"client_id": "taco.*"})
    added_s = time.perf_counter()
    await hop.call("remove_fault", name="cut")
    lifted_s = time.perf_counter()
    print(f"2,000 links: added in {(added_s - begin_s) * 1e3:.1f} ms, lifted in {(lifted_s - added_s) * 1e3:.1f} ms")
    assert state["evidence"]["links_selected"] == 2_000


@pytest.mark.parametrize(
    ("method", "params", "says"),
    [
        ("add_fault", {"hop": "nowhere", "name": "a", "type": "noop"}, f"no hop 'nowhere' here; known: {HOP}"),
        ("add_fault", {"name": "a", "type": "earthquake"}, "known: down, latency, noop, partition"),
        ("add_fault", {"name": "a", "type": "latency", "attributes": {"latncy": 5}}, "latncy.*latency, jitter"),
        ("add_fault", {"name": "a", "type": "latency", "attributes": {"latency": -1}}, "latency"),
        ("add_fault", {"name": "a", "type": "latency", "attributes": {"latency": "5"}}, "latency"),
        ("add_fault", {"name": "a", "type": "partition"}, "needs a brand, region, store or client_id"),
        ("add_fault", {"name": "a", "type": "noop", "lease_s": 3601}, "lease_s"),
        ("add_fault", {"name": "a", "type": "noop", "lease_s": 0}, "lease_s"),
        ("add_fault", {"name": "a", "type": "noop", "toxicity": 1.5}, "toxicity"),
        ("add_fault", {"name": "a", "type": "noop", "stream": "sideways"}, "stream"),
        ("add_fault", {"name": "a", "type": "noop", "colour": "red"}, "colour"),
        ("add_fault", {"name": "there", "type": "noop"}, "already"),
        ("change_fault", {"name": "there", "attributes": {"x": 1}}, "x"),
        ("remove_fault", {"name": "gone"}, "no fault 'gone'.*there"),
    ],
)
async def test_wrong_calls_say_what_is_wrong(hop: HopBench, method: str, params: dict[str, object], says: str) -> None:
    """Every wrong call is refused with one clear line and changes nothing."""
    await hop.call("add_fault", name="there", type="noop")
    with pytest.raises(ControlError, match=says):
        await hop.call(method, **params)
    assert [state["name"] for state in await hop.call("faults")] == ["there"]


async def test_packet_faults_need_an_mqtt_hop(
    echo: EchoServer, make_hop: MakeHop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault on packets is refused where there are none."""
    monkeypatch.setitem(registry.FAULT_TYPES, "drop_empty", registry.FaultType(_DropEmpty, "upstream"))
    hop = await make_hop(echo.address, protocol="http").start()
    with pytest.raises(ControlError, match="no mqtt hop"):
        await hop.call("add_fault", name="drop", type="drop_empty")


def _victims(seed: int, name: str, toxicity: float, attributes: dict[str, object]) -> set[str]:
    settings = FaultSettings(
        name=name, type="noop", attributes=attributes, stream="both", toxicity=toxicity, lease_s=1.0
    )
    active = ActiveFault(settings, Noop(), seed=seed)
    ids = [f"taco.west.s{number:04}.r01" for number in range(1_000)]
    return {one for number, one in enumerate(ids) if active.takes(Client(one, known=True, number=number))}


def test_victims_come_from_the_seed() -> None:
    """Victims stay the same over edits, grow with toxicity, and differ by seed and by fault."""
    some = _victims(1, "a", 0.3, {})
    assert 250 < len(some) < 350
    assert some == _victims(1, "a", 0.3, {"edited": True})
    assert some < _victims(1, "a", 0.6, {})
    assert some != _victims(2, "a", 0.3, {})
    assert some != _victims(1, "b", 0.3, {})
    assert _victims(1, "a", 0.0, {}) == set()


@pytest.mark.parametrize(
    ("globs", "client_id", "selected"),
    [
        ({"region": "west"}, WEST, True),
        ({"region": "west"}, "west.taco.s1.r1", False),
        ({"region": "w*t"}, WEST, True),
        ({"region": "west"}, "taco.west.s1.r1.extra", False),
        ({"brand": "taco", "region": "east"}, WEST, False),
        ({"store": "s0001"}, WEST, True),
        ({"store": "taco.west.s0001"}, WEST, True),
        ({"store": "taco.east.s0001"}, WEST, False),
        ({"client_id": "taco.west.*"}, WEST, True),
        ({"client_id": "taco.west"}, WEST, False),
        ({"client_id": "*"}, "", True),
        ({"region": "*"}, "parm-1", False),
    ],
)
def test_partition_selects(globs: dict[str, str], client_id: str, selected: bool) -> None:
    """Globs fit the words of a terminal's id, or the whole client id."""
    assert Partition(**globs).selects(Client(client_id, known=True, number=1)) is selected


async def _send(terminal: Terminal, frames: list[bytes]) -> None:
    for frame in frames:
        terminal.writer.write(frame)
        await terminal.writer.drain()
