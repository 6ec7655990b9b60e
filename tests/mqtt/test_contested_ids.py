"""Two clients under one client id: both back off, somebody is told, and all is well once the other one is gone."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from fleetwire.mqtt import ConnectionLost, Endpoint, MqttError, SessionGroup, SessionOptions, StageClient, TopicFilter
from fleetwire.mqtt.contested_ids import FORGOTTEN_S, ContestedIds
from fleetwire.mqtt.errors import ConnectionClosed
from tests.broker import Broker
from tests.emulator_live.lab import until
from tests.mqtt.peer import serving
from tests.mqtt.recorder import Recorder

TAKEN_OVER = ConnectionLost("x", reason_code=0x8E)
CLOSED = ConnectionClosed("x")
CONNACK = b"\x20\x03\x00\x00\x00"


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ([TAKEN_OVER], "client id till was taken over once: end the other client, or give it another id"),
        ([TAKEN_OVER, CLOSED, TAKEN_OVER], "client id till was taken over 2 times: "),
        ([CLOSED] * 3, "client id till: its connection was closed 3 times without a word: look whether another client"),
        ([CLOSED] * 2, ""),
        ([ConnectionLost("no answer to a PINGREQ")] * 9, ""),
        ([ConnectionLost("x", reason_code=0x8B)] * 9, ""),
    ],
)
def test_what_speaks_for_another_client(ends: list[MqttError], words: str) -> None:
    """The broker's word at once, connections that end without one from the third on, nothing else; and not for ever."""
    ids = ContestedIds()
    for number, error in enumerate(ends):
        ids.lost("till", error, 100.0 + number)
    last_s = 99.0 + len(ends)
    assert ids.words(last_s + FORGOTTEN_S).startswith(words)
    assert bool(ids.words(last_s + FORGOTTEN_S)) == bool(words)
    assert ids.words(last_s + FORGOTTEN_S + 0.1) == ""


def test_ends_far_apart_speak_for_nothing() -> None:
    """A connection that is closed now and then; nor do those of different clients add up."""
    ids = ContestedIds()
    for number in range(9):
        ids.lost("till", CLOSED, number * (FORGOTTEN_S + 1))
        ids.lost(f"till-{number}", CLOSED, number)
    assert ids.words(8 * (FORGOTTEN_S + 1)) == ""


async def test_the_word_of_a_broker_that_tells() -> None:
    """0x8E reaches whoever asks, with the client id."""

    async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(CONNACK + b"\xe0\x01\x8e")
        await reader.read()

    async with serving(take_over) as port:
        endpoint = Endpoint(host="127.0.0.1", port=port)
        async with StageClient(endpoint, SessionOptions(client_id="lab.parm-1"), ready_timeout_s=None) as client:
            await until(lambda: bool(client.contested), "it is told")
            assert client.contested.startswith("client id lab.parm-1 was taken over ")


async def test_two_that_take_the_id_from_each_other(broker: Broker, group: SessionGroup) -> None:
    """No tight loop, told while it lasts; when the other is gone the session hears, and is not told of for ever."""
    heard = asyncio.Event()
    options = SessionOptions(client_id="stage", session_expiry_s=60, keep_alive_s=5)
    handlers = [(TopicFilter(pattern="a"), lambda _: heard.set())]
    lost: list[float] = []
    now_s = asyncio.get_running_loop().time

    async with StageClient(
        Endpoint(host=broker.host, port=broker.port),
        options,
        handlers=handlers,
        on_disconnected=lambda _: lost.append(now_s()),
    ) as client:
        rival = Recorder()
        other = group.open(SessionOptions(client_id="stage", clean_start=True, session_expiry_s=600), rival)
        ends_s = now_s() + 6
        await until(lambda: bool(client.contested) and now_s() > ends_s, "they fight, and it is told")
        assert 3 <= len(lost) < 60, "full jitter: five times in the first two seconds or so, then ever more seldom"
        assert "client id stage" in client.contested
        other.abort()
        await client.until_subscribed(20)
        publisher = group.open(SessionOptions(client_id="publisher"), Recorder())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(20):
                while not heard.is_set():
                    publisher.publish("a", b"x")
                    await asyncio.sleep(0.2)
        assert heard.is_set()
