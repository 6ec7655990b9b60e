"""The client of a stage: awaited publishes, a handler for each filter, a bounded backlog."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from fleetwire.mqtt import (
    ConnectFailed,
    ConnectionLost,
    ConnectRefused,
    Endpoint,
    Message,
    MqttError,
    SessionOptions,
    StageClient,
    TopicFilter,
)
from tests.broker import Broker
from tests.mqtt.peer import serving

CONNECT, SUBSCRIBE = 0x10, 0x82
DEADLINE_S = 40.0


async def _refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A broker that lets everybody in and answers each SUBSCRIBE with "not authorized"."""
    while True:
        kind, length = await reader.readexactly(2)
        body = await reader.readexactly(length)
        if kind == CONNECT:
            writer.write(b"\x20\x03\x00\x00\x00")
        elif kind == SUBSCRIBE:
            writer.write(b"\x90\x04" + body[:2] + b"\x00\x87")


class Inbox:
    """Messages in order, with a wait for a number of them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._arrived = asyncio.Event()

    def __call__(self, message: Message) -> None:
        self.messages.append(message)
        self._arrived.set()

    async def until(self, count: int) -> None:
        """Wait for this number of messages, until the deadline at most."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.messages) < count:
                self._arrived.clear()
                await self._arrived.wait()


def _client(broker: Broker, client_id: str = "stage", **arguments: object) -> StageClient:
    options = SessionOptions(client_id=client_id)
    return StageClient(Endpoint.parse(broker.url), options, **arguments)  # type: ignore[arg-type]


async def test_messages_find_their_handler(broker: Broker) -> None:
    """Each filter's messages go to its handler, those of a shared subscription too."""
    inboxes = [Inbox(), Inbox()]
    handlers = [
        (TopicFilter(pattern="$share/group/in/+/sale"), inboxes[0]),
        (TopicFilter(pattern="ask/#"), inboxes[1]),
    ]
    async with _client(broker, handlers=handlers) as client:
        async with asyncio.timeout(DEADLINE_S):
            await client.subscribed.wait()
        assert await client.publish("in/x/sale", b"1") == 0
        assert await client.publish("ask/x", b"2", properties=(("id", "7"),)) == 0
        assert await client.publish("nobody", b"3") == 0x10
        assert await client.publish("ask/y", b"4", qos=0) == 0
        await inboxes[0].until(1)
        await inboxes[1].until(2)
        client.acknowledge(inboxes[0].messages[0])
        assert [message.payload for message in inboxes[1].messages] == [b"2", b"4"]
        assert client.backlog == 1


async def test_filter_added_later_is_subscribed(broker: Broker) -> None:
    """A filter that is added while connected brings its messages too."""
    inbox = Inbox()
    async with _client(broker) as client:
        client.on(TopicFilter(pattern="late"), inbox)
        async with asyncio.timeout(DEADLINE_S):
            await client.subscribed.wait()
        await client.publish("late", b"x")
        await inbox.until(1)


async def test_a_refused_subscription_is_an_error() -> None:
    """A client that may not read what it wants is told so, with the broker's code, and never counts as subscribed."""
    handlers = [(TopicFilter(pattern="secret"), Inbox())]
    async with (
        serving(_refuse) as port,
        StageClient(
            Endpoint(host="127.0.0.1", port=port), SessionOptions(client_id="stage"), handlers=handlers
        ) as client,
    ):
        with pytest.raises(ConnectFailed, match=r"0x87 not authorized.*secret") as refusal:
            await client.until_subscribed(DEADLINE_S)
        assert refusal.value.reason_code == 0x87
        assert not client.subscribed.is_set()
        with pytest.raises(ConnectFailed, match="0x87"):
            await client.until_useless()


async def test_consent_to_subscriptions_can_be_waited_for(broker: Broker) -> None:
    """The wait is over with the SUBACK, or at once when nothing is subscribed."""
    async with _client(broker, handlers=[(TopicFilter(pattern="in"), Inbox())]) as client:
        await client.until_subscribed(DEADLINE_S)
        assert client.subscribed.is_set()
    async with _client(broker, "other") as client:
        await client.until_subscribed(0)


async def test_a_final_refusal_later_is_an_error(broker: Broker) -> None:
    """A session that the broker will never take again says so, though it was ready before."""
    async with _client(broker) as client:
        client.on_disconnected(client.session, ConnectRefused("banned", reason_code=0x8A, final=False))
        useless = asyncio.create_task(client.until_useless())
        await asyncio.sleep(0)
        assert not useless.done()
        client.on_disconnected(client.session, ConnectRefused("bad client id", reason_code=0x85, final=True))
        with pytest.raises(ConnectRefused, match="bad client id"):
            await useless


async def test_done_is_called_with_the_reason_code(broker: Broker) -> None:
    """The callback of an unawaited publish gets the reason code of its PUBACK."""
    async with _client(broker) as client:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        client.publish_nowait("nobody", b"x", done=done.set_result)
        assert await asyncio.wait_for(done, DEADLINE_S) == 0x10


async def test_backlog_is_bounded(broker: Broker) -> None:
    """A stage that acknowledges nothing stops reading, and gets the rest as it acknowledges."""
    inbox = Inbox()
    payload = b"x" * 20_000
    async with (
        _client(broker, handlers=[(TopicFilter(pattern="in"), inbox)], backlog_limit=10) as client,
        _client(broker, "sender") as sender,
    ):
        async with asyncio.timeout(DEADLINE_S):
            await client.subscribed.wait()
        for number in range(8):
            await asyncio.gather(*(sender.publish("in", payload) for _ in range(25)))
            assert client.backlog < 60, number
        assert client.backlog >= 10
        handled = 0
        async with asyncio.timeout(DEADLINE_S):
            while handled < 200:
                await inbox.until(handled + 1)
                client.acknowledge(inbox.messages[handled])
                handled += 1
        assert client.backlog == 0


async def test_message_that_no_handler_wants_is_counted_and_acknowledged(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """An unwanted message blocks nothing and is not silent."""
    options = SessionOptions(client_id="stage", subscriptions=(TopicFilter(pattern="other"),))
    async with StageClient(Endpoint.parse(broker.url), options) as client:
        await client.publish("other", b"x")
        async with asyncio.timeout(DEADLINE_S):
            while client.unhandled == 0:
                await client.publish("tick", b"")
        assert client.backlog == 0
    assert "no handler wants" in caplog.text


async def test_publish_waits_through_a_restart_of_the_broker(broker: Broker) -> None:
    """An awaited publish survives the broker's death and gets its reason code afterwards."""
    lost: list[MqttError] = []
    async with _client(broker, on_disconnected=lost.append) as client:
        broker.kill()
        publishing = asyncio.create_task(client.publish("a", b"x"))
        async with asyncio.timeout(DEADLINE_S):
            while not lost:
                await asyncio.wait([publishing], timeout=0.02)
        assert not client.connected.is_set()
        broker.restart()
        assert await asyncio.wait_for(publishing, DEADLINE_S) in (0, 0x10)
        assert client.connected.is_set()


async def test_publish_that_outlives_the_client_fails(broker: Broker) -> None:
    """A publish without a PUBACK when the client closes fails as one that may have happened."""
    async with _client(broker) as client:
        broker.kill()
        publishing = asyncio.create_task(client.publish("a", b"x"))
        await asyncio.wait([publishing], timeout=0.05)
    with pytest.raises(ConnectionLost) as caught:
        await publishing
    assert not caught.value.definite


async def test_entering_fails_when_there_is_no_broker(port: int) -> None:
    """Without a broker entering raises the last failure after its time."""
    failed = asyncio.Event()

    class Late(StageClient):
        async def _wait_ready(self, timeout_s: float) -> None:
            """Its time begins once there is a failure."""
            await asyncio.wait_for(failed.wait(), DEADLINE_S)
            await super()._wait_ready(timeout_s)

    endpoint, options = Endpoint(host="127.0.0.1", port=port), SessionOptions(client_id="stage")
    with pytest.raises(ConnectFailed, match="check that the broker runs"):
        async with Late(endpoint, options, ready_timeout_s=0.1, on_disconnected=lambda _: failed.set()):
            pass


async def test_entering_fails_at_once_when_refused(make_broker: Callable[..., Broker]) -> None:
    """A refusal ends the wait at once."""
    broker = make_broker(anonymous=False).start()
    with pytest.raises(ConnectRefused, match="client stage"):
        async with asyncio.timeout(DEADLINE_S), _client(broker, ready_timeout_s=600.0):
            pass
