"""A real Mosquitto behind a hop, aiomqtt in front of it: a region is cut off and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiomqtt

from tests.broker import Broker
from tests.chaos.peers import HOP, HopBench, until

WEST, EAST = "taco.west.s0001.r01", "taco.east.s0001.r01"


async def _collect(client: aiomqtt.Client, log: list[str]) -> None:
    async for message in client.messages:
        assert isinstance(message.payload, bytes)
        log.append(f"{message.topic} {message.payload.decode()}")


async def test_a_region_is_cut_off_and_comes_back(broker: Broker, make_hop: Callable[..., HopBench]) -> None:
    """West is silent and its will fires by keep-alive while east trades on; lifted, west's word arrives, both work."""
    hop = await make_hop(f"{broker.host}:{broker.port}", protocol="mqtt").start()
    log: list[str] = []
    will = aiomqtt.Will("will/west", b"gone", qos=1)
    async with (
        aiomqtt.Client(broker.host, broker.port, identifier="observer", timeout=40) as observer,
        aiomqtt.Client(
            "127.0.0.1", hop.port, identifier=EAST, protocol=aiomqtt.ProtocolVersion.V311, timeout=40
        ) as east,
    ):
        await observer.subscribe("#", qos=1)
        collector = asyncio.create_task(_collect(observer, log))
        west = aiomqtt.Client("127.0.0.1", hop.port, identifier=WEST, keepalive=4, will=will, timeout=40)
        await west.__aenter__()
        await west.publish("sales/west", b"1", qos=1)
        await hop.call("add_fault", name="cut", type="partition", attributes={"region": "west"})
        held = asyncio.create_task(west.publish("sales/west", b"2", qos=0))
        await east.publish("sales/east", b"1", qos=1)
        await until(lambda: "will/west gone" in log, "the broker published west's will by keep-alive")
        assert log == ["sales/west 1", "sales/east 1", "will/west gone"]
        await held
        back = asyncio.create_task(_publish_anew(hop.port))
        await until(lambda: hop.count("connects_total") == 3, "west's new CONNECT reached the hop")
        await east.publish("sales/east", b"2", qos=1)
        assert not back.done()
        state = await hop.call("remove_fault", name="cut")
        await back
        await until(lambda: "sales/west 3" in log, "west trades again")
        await east.publish("sales/east", b"3", qos=1)
        await until(lambda: "sales/east 3" in log, "east trades on")
        collector.cancel()
        await asyncio.gather(collector, return_exceptions=True)
        try:
            await west.__aexit__(None, None, None)
        except aiomqtt.MqttError:
            assert state["evidence"]["found"] == "confirmed"
    assert hop.count("connack_0x00_total") == 3
    assert state["evidence"]["connects_held_total"] == 1


async def _publish_anew(port: int) -> None:
    async with aiomqtt.Client("127.0.0.1", port, identifier=WEST, timeout=40) as west:
        await west.publish("sales/west", b"3", qos=1)


async def test_a_refused_connect_is_counted_by_reason(
    make_broker: Callable[..., Broker], make_hop: Callable[..., HopBench]
) -> None:
    """The hop counts what the broker answered to a CONNECT."""
    broker = make_broker(anonymous=False).start()
    hop = await make_hop(f"{broker.host}:{broker.port}", protocol="mqtt").start()
    for version, counter in ((aiomqtt.ProtocolVersion.V5, "connack_0x87_total"), (None, "connack_0x05_total")):
        try:
            async with aiomqtt.Client("127.0.0.1", hop.port, identifier=EAST, protocol=version, timeout=40):
                raise AssertionError("the broker let us in")
        except aiomqtt.MqttError:
            assert hop.count(counter) == 1


async def test_publishes_are_counted_by_direction_where_that_is_asked_for(
    broker: Broker, make_hop: Callable[..., HopBench]
) -> None:
    """What clients publish, and what they get, QoS 0 and 1; of a hop that was not asked there is no such figure."""
    upstream = f"{broker.host}:{broker.port}"
    counting = await make_hop(upstream, protocol="mqtt", counts_publishes=True).start()
    other = await make_hop(upstream, protocol="mqtt").start()
    log: list[str] = []
    async with (
        aiomqtt.Client("127.0.0.1", counting.port, identifier=EAST, timeout=40) as east,
        aiomqtt.Client("127.0.0.1", other.port, identifier=WEST, timeout=40) as west,
    ):
        await east.subscribe("sales/#", qos=1)
        for number in range(3):
            await east.publish("stock/east", str(number), qos=number % 2)
        for number in range(5):
            await west.publish("sales/west", f"{number}" * 100, qos=1)
        async with asyncio.timeout(40):
            async for message in east.messages:
                log.append(message.payload[:1].decode())
                if len(log) == 5:
                    break
    assert log == list("01234")
    figures = [{name: value for name, value in (await hop.call("links"))[HOP].items() if "publishes" in name}
               for hop in (counting, other)]  # fmt: skip
    assert figures == [{"publishes_upstream_total": 3, "publishes_downstream_total": 5}, {}]
