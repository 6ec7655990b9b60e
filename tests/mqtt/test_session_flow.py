"""Sessions on a real Mosquitto: messages, wills, subscriptions, resume, limits; aiomqtt is the independent observer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleetwire.mqtt import (
    Message,
    NotConnected,
    PacketTooLarge,
    Session,
    SessionGroup,
    SessionOptions,
    TopicFilter,
    Will,
)
from tests.broker import Broker
from tests.mqtt.recorder import Recorder

_ALL = (TopicFilter(pattern="#"),)


async def _open(
    group: SessionGroup, recorder: Recorder, client_id: str, will: Will | None = None, **options: object
) -> Session:
    """A session that is connected, and subscribed if it subscribes at all."""
    known, subscribed = len(recorder.connected), len(recorder.subscribed)
    chosen = SessionOptions(client_id=client_id, **options)  # type: ignore[arg-type]
    session = group.open(chosen, recorder, lambda: will)
    await recorder.until("connected", lambda: len(recorder.connected) > known)
    if options.get("subscriptions"):
        await recorder.until("subscribed", lambda: len(recorder.subscribed) > subscribed)
    return session


def _observer(broker: Broker) -> aiomqtt.Client:
    version = aiomqtt.ProtocolVersion.V5
    return aiomqtt.Client(broker.host, broker.port, protocol=version, identifier="observer", timeout=40)


async def test_observer_sees_what_a_session_publishes(broker: Broker, group: SessionGroup) -> None:
    """Payload, user properties, content type, response topic, correlation data and expiry arrive as they were given."""
    recorder = Recorder()
    async with _observer(broker) as observer:
        await observer.subscribe("out/#", qos=1)
        session = await _open(group, recorder, "till")
        session.publish(
            "out/one", b"\x00payload\xff", properties=(("id", "till.1"), ("id", "again")),
            content_type="application/json", response_topic="back", correlation_data=b"\x01\x02",
            message_expiry_s=60, token="first",
        )  # fmt: skip
        session.publish("out/two", b"", qos=0)
        messages = [await anext(aiter(observer.messages)) for _ in range(2)]
    await recorder.until("acknowledged", lambda: recorder.published == [("first", 0)])
    first, second = messages
    assert (str(first.topic), first.payload, first.qos) == ("out/one", b"\x00payload\xff", 1)
    seen = first.properties.json()
    assert [tuple(pair) for pair in seen["UserProperty"]] == [("id", "till.1"), ("id", "again")]
    assert (seen["ContentType"], seen["ResponseTopic"]) == ("application/json", "back")
    assert seen["CorrelationData"] == "0102"
    assert 0 < seen["MessageExpiryInterval"] <= 60
    assert (str(second.topic), second.qos) == ("out/two", 0)


async def test_session_sees_what_the_observer_publishes(broker: Broker, group: SessionGroup) -> None:
    """All that aiomqtt puts into a message arrives in it."""
    recorder = Recorder()
    await _open(group, recorder, "till", subscriptions=_ALL)
    properties = Properties(PacketTypes.PUBLISH)
    properties.UserProperty = [("a", "1"), ("b", "\u00e9")]
    properties.ContentType = "text/plain"
    properties.MessageExpiryInterval = 99
    properties.CorrelationData = b"\xff"
    properties.ResponseTopic = "back"
    async with _observer(broker) as observer:
        await observer.publish("in/x", b"hello", qos=1, properties=properties)
    await recorder.until("message", lambda: len(recorder.messages) == 1)
    message = recorder.messages[0]
    assert (message.topic, message.payload, message.qos, message.retain) == ("in/x", b"hello", 1, False)
    assert message.properties == [("a", "1"), ("b", "\u00e9")]
    assert (message.content_type, message.response_topic, message.correlation_data) == ("text/plain", "back", b"\xff")
    assert message.user_property("b") == "\u00e9"
    assert message.message_expiry_s is not None


async def test_retained_message_and_its_expiry(group: SessionGroup) -> None:
    """A retained message reaches a later subscriber with what is left of its expiry, one that has expired does not."""
    recorder = Recorder()
    session = await _open(group, recorder, "till")
    session.publish("state/kept", b"kept", retain=True, message_expiry_s=600)
    session.publish("state/short", b"short", retain=True, message_expiry_s=1, token="short")
    await recorder.until("acknowledged", lambda: len(recorder.published) == 2)
    acknowledged_s = time.monotonic()
    await recorder.until("expiry by the broker's clock", lambda: time.monotonic() > acknowledged_s + 2.1)
    late = Recorder()
    await _open(group, late, "late", subscriptions=_ALL)
    session.publish("mark", b"mark")
    await late.until("mark", lambda: b"mark" in late.payloads)
    assert late.payloads == [b"kept", b"mark"]
    kept = late.messages[0]
    assert (kept.retain, late.messages[1].retain) == (True, False)
    assert kept.message_expiry_s is not None
    assert 0 < kept.message_expiry_s < 600


async def test_will_comes_on_abort_and_not_on_disconnect(group: SessionGroup) -> None:
    """A dropped connection publishes the will with its properties, a DISCONNECT does not, unless it asks for it."""
    watcher, recorder = Recorder(), Recorder()
    await _open(group, watcher, "watcher", subscriptions=_ALL)
    sessions = {}
    for name in ("aborted", "ended", "asked"):
        will = Will(topic=f"will/{name}", payload=name.encode(), properties=(("boot", "7"),), content_type="x/y")
        sessions[name] = group.open(SessionOptions(client_id=name), recorder, lambda will=will: will)
    await recorder.until("connected", lambda: len(recorder.connected) == 3)
    sessions["ended"].disconnect()
    await sessions["ended"].closed()
    sessions["asked"].disconnect(with_will=True)
    sessions["aborted"].abort()
    await sessions["aborted"].closed()
    await watcher.until("two wills", lambda: len(watcher.messages) == 2)
    watcher_session = await _open(group, recorder, "marker")
    watcher_session.publish("mark", b"mark")
    await watcher.until("mark", lambda: watcher.payloads[-1:] == [b"mark"])
    assert sorted(watcher.payloads) == [b"aborted", b"asked", b"mark"]
    assert watcher.messages[0].user_property("boot") == "7"
    assert recorder.errors == []


async def test_delayed_will_is_withheld_by_a_return(group: SessionGroup) -> None:
    """A will with a delay is published after it, and not at all when the session comes back before."""
    watcher, recorder = Recorder(), Recorder()
    await _open(group, watcher, "watcher", subscriptions=_ALL)
    asked: list[str] = []

    def will(name: str) -> Will:
        asked.append(name)
        delay_s = {"back": 60, "gone": 3}[name]
        return Will(topic="will", payload=b"%s %d" % (name.encode(), asked.count(name)), delay_s=delay_s)

    back = group.open(SessionOptions(client_id="back", session_expiry_s=30), recorder, lambda: will("back"))
    gone = group.open(SessionOptions(client_id="gone", session_expiry_s=30), recorder, lambda: will("gone"))
    await recorder.until("connected", lambda: len(recorder.connected) == 2)
    aborted_s = time.monotonic()
    for session in (back, gone):
        session.abort()
    back.reopen()
    await recorder.until("back", lambda: len(recorder.connected) == 3)
    await watcher.until("the will of the one that is gone", lambda: watcher.payloads == [b"gone 1"])
    assert time.monotonic() - aborted_s >= 0.9
    assert sorted(asked) == ["back", "back", "gone"]
    assert recorder.connected[2] is True


async def test_shared_subscription_gives_each_message_to_one_member(group: SessionGroup) -> None:
    """The members of a group share the messages: each goes to one of them."""
    shared = (TopicFilter(pattern="$share/stage/in/#"),)
    recorders = [Recorder(), Recorder()]
    for number, recorder in enumerate(recorders):
        await _open(group, recorder, f"member{number}", subscriptions=shared)
    sender = Recorder()
    session = await _open(group, sender, "sender")
    for number in range(40):
        session.publish("in/x", b"%d" % number)
    await recorders[0].until("a share", lambda: len(recorders[0].messages) >= 10)
    await recorders[1].until("all", lambda: len(recorders[0].messages) + len(recorders[1].messages) == 40)
    both = recorders[0].payloads + recorders[1].payloads
    assert sorted(map(int, both)) == list(range(40))


async def test_resumed_session_gets_what_it_missed(group: SessionGroup) -> None:
    """A message that was not acknowledged comes again as a duplicate, one sent meanwhile comes too."""
    recorder, other = Recorder(acknowledge_at_once=False), Recorder()
    only_a, only_will = (TopicFilter(pattern="a"),), (TopicFilter(pattern="will"),)
    will = Will(topic="will", payload=b"gone")
    session = await _open(group, recorder, "till", will, subscriptions=only_a, session_expiry_s=60)
    sender = await _open(group, other, "sender", subscriptions=only_will)
    sender.publish("a", b"one")
    await recorder.until("one", lambda: recorder.payloads == [b"one"])
    session.abort()
    await session.closed()
    await other.until("the broker has noticed, and sends nothing more there", lambda: other.payloads == [b"gone"])
    sender.publish("a", b"two")
    await other.until("both acknowledged", lambda: len(other.published) == 2)
    session.reopen()
    await recorder.until("three", lambda: recorder.payloads == [b"one", b"one", b"two"])
    assert [message.duplicate for message in recorder.messages] == [False, True, False]
    assert recorder.connected == [False, True]
    await recorder.until("it is subscribed again", lambda: recorder.subscribed == [(1,), (1,)])
    session.acknowledge(recorder.messages[0])
    assert session.unacknowledged_messages == 2
    assert group.statistics.stale_acknowledgements == 1


async def test_publishes_wait_for_a_connection(broker: Broker, group: SessionGroup) -> None:
    """What is published while the broker is away arrives once it is back, in order; QoS 0 says that it cannot."""
    recorder, watcher = Recorder(), Recorder()
    session = await _open(group, recorder, "till")
    broker.kill()
    await recorder.until("lost", lambda: len(recorder.errors) >= 1)
    assert not recorder.errors[0].definite
    for number in range(50):
        session.publish("a", b"%d" % number, token=number)
    with pytest.raises(NotConnected):
        session.publish("a", b"x", qos=0)
    assert session.queued == 50
    broker.restart()
    await _open(group, watcher, "watcher", subscriptions=_ALL)
    await recorder.until("acknowledged", lambda: len(recorder.published) == 50)
    assert [token for token, _ in recorder.published] == list(range(50))


async def test_order_survives_a_connection_cut_with_messages_in_flight(group: SessionGroup) -> None:
    """A session cut in the middle of a burst delivers every message, first appearances in order."""
    recorder, watcher = Recorder(), Recorder()
    await _open(group, watcher, "watcher", subscriptions=_ALL)
    session = await _open(group, recorder, "till", session_expiry_s=60)
    for number in range(300):
        session.publish("a", b"%d" % number, token=number)
    await recorder.until("some", lambda: len(recorder.published) >= 40)
    session.abort()
    session.reopen()
    await recorder.until("all acknowledged", lambda: len(recorder.published) == 300)
    await watcher.until("all seen", lambda: len(set(watcher.payloads)) == 300)
    assert [int(payload) for payload in dict.fromkeys(watcher.payloads)] == list(range(300))


async def test_broker_maximum_packet_size_is_kept(
    make_broker: Callable[..., Broker], make_group: Callable[..., SessionGroup]
) -> None:
    """A packet beyond the broker's maximum is refused here and the session goes on."""
    broker = make_broker("max_packet_size 1000").start()
    recorder = Recorder()
    session = await _open(make_group(broker), recorder, "till")
    with pytest.raises(PacketTooLarge, match="1000"):
        session.publish("a", b"x" * 1001)
    session.publish("a", b"x" * 900, token="fits")
    await recorder.until("acknowledged", lambda: len(recorder.published) == 1)
    assert recorder.errors == []


async def test_message_size_limit_is_reported_and_the_session_goes_on(
    make_broker: Callable[..., Broker], make_group: Callable[..., SessionGroup]
) -> None:
    """Mosquitto's message_size_limit answers PUBACK 0x95, which the codec does not know: it reaches the publisher."""
    broker = make_broker("message_size_limit 100").start()
    group, recorder = make_group(broker), Recorder()
    session = await _open(group, recorder, "till")
    session.publish("a", b"x" * 200, token="large")
    session.publish("a", b"x", token="small")
    await recorder.until("both", lambda: len(recorder.published) == 2)
    assert recorder.published[0] == ("large", 0x95)
    assert recorder.published[1][0] == "small"
    assert recorder.published[1][1] < 0x80
    assert recorder.errors == []
    assert group.statistics.puback_reasons[0x95] == 1


async def test_paused_reading_holds_messages_back(group: SessionGroup) -> None:
    """While reading is paused nothing arrives, and all of it arrives afterwards."""
    recorder, other = Recorder(), Recorder()
    session = await _open(group, recorder, "till", subscriptions=_ALL)
    sender = await _open(group, other, "sender")
    session.pause_reading()
    for number in range(30):
        sender.publish("a", b"%d" % number)
    await other.until("broker has them", lambda: len(other.published) == 30)
    assert recorder.messages == []
    session.resume_reading()
    await recorder.until("all", lambda: len(recorder.messages) == 30)


async def test_failing_callback_is_reported_and_loses_no_other_event(group: SessionGroup) -> None:
    """An exception in a callback reaches the loop's exception handler, and the next message its callback."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context))

    class Failing(Recorder):
        def on_message(self, session: Session, message: Message) -> None:
            super().on_message(session, message)
            if message.payload == b"bad":
                raise RuntimeError("a bug of the owner")

    recorder = Failing()
    session = await _open(group, recorder, "till", subscriptions=_ALL)
    for payload in (b"bad", b"good"):
        session.publish("a", payload)
    await recorder.until("both", lambda: recorder.payloads == [b"bad", b"good"])
    assert group.statistics.handler_errors == 1
    assert "till" in str(reported[0]["message"])
