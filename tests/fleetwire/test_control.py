"""The control plane's wire over real loopback sockets: both ends call, and no peer can hurt the other."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import pytest

from fleetwire import control
from fleetwire.control import Channel, Handler, Params, connect
from fleetwire.errors import ControlError, SettingsError

DEADLINE_S = 40.0
DEEP = b'{"method":"x","params":{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}}"


class Pair(NamedTuple):
    """Two ends of one connection, both running; ``heard`` is what ``there`` was notified of."""

    here: Channel
    there: Channel
    running: list[asyncio.Task[None]]
    heard: asyncio.Queue[Params]


async def listen(
    handlers: Mapping[str, Handler], limit: int = control.LINE_LIMIT
) -> tuple[asyncio.Server, asyncio.Queue[Channel]]:
    """A server whose connections become channels that are run by nobody yet."""
    accepted: asyncio.Queue[Channel] = asyncio.Queue()
    server = await asyncio.start_server(
        lambda reader, writer: accepted.put_nowait(Channel(reader, writer, handlers, line_limit=limit)), "127.0.0.1", 0
    )
    return server, accepted


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    """A connected pair whose far end answers a few methods."""
    heard: asyncio.Queue[Params] = asyncio.Queue()

    async def hear(params: Params) -> None:
        heard.put_nowait(params)

    async def echo(params: Params) -> Params:
        return params

    async def refuse(_: Params) -> None:
        raise SettingsError("that is not allowed: ask another")

    async def fail(_: Params) -> None:
        raise KeyError("a bug")

    async def answer_nonsense(_: Params) -> object:
        return object()

    async def never(_: Params) -> None:
        await asyncio.Event().wait()

    server, accepted = await listen(
        {"hear": hear, "echo": echo, "refuse": refuse, "fail": fail, "answer_nonsense": answer_nonsense, "never": never}
    )
    async with server:
        here = await connect(server.sockets[0].getsockname()[:2], {"echo": echo})
        there = await accepted.get()
        running = [asyncio.create_task(channel.run()) for channel in (here, there)]
        yield Pair(here, there, running, heard)
        here.close()
        there.close()
        await asyncio.wait_for(asyncio.gather(*running), DEADLINE_S)


async def test_both_ends_call(pair: Pair) -> None:
    """Each end calls the other and gets plain values back, many calls at once each its own."""
    values: list[Params] = [{"number": number, "text": "ä\n", "none": None, "list": [1.5]} for number in range(50)]
    assert await asyncio.gather(*(pair.here.call("echo", value) for value in values)) == values
    assert await pair.there.call("echo", {"from": "there"}) == {"from": "there"}
    assert await pair.here.call("echo") == {}
    assert await pair.here.call("hear", {"a": 1}) is None


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("refuse", "that is not allowed: ask another"),
        ("fail", "KeyError: 'a bug'"),
        ("answer_nonsense", "TypeError: Encoding objects of type object is unsupported"),
        ("unheard", "no method 'unheard' here"),
    ],
)
async def test_an_error_is_an_answer(pair: Pair, method: str, message: str) -> None:
    """A refusal, a bug, a result that is none and an unknown method are definite errors; the connection goes on."""
    with pytest.raises(ControlError, match=message) as caught:
        await pair.here.call(method, timeout_s=DEADLINE_S)
    assert caught.value.definite
    assert await pair.here.call("echo", {"a": 1}) == {"a": 1}


async def test_notifications_keep_their_order(pair: Pair) -> None:
    """What was notified first is handled first, and before a call that follows; an unknown one is passed over."""
    for number in range(200):
        pair.here.notify("hear", {"number": number})
    pair.here.notify("unheard", {})
    await pair.here.call("hear", {"number": 200})
    assert [pair.heard.get_nowait()["number"] for _ in range(201)] == [*range(201)]


async def test_methods_can_be_added(pair: Pair) -> None:
    """A method that is added later answers from then on."""

    async def late(_: Params) -> str:
        return "here"

    pair.there.add_handlers({"late": late})
    assert await pair.here.call("late") == "here"


@pytest.mark.parametrize("who", ["here", "there"])
async def test_a_vanished_peer_fails_what_waits(pair: Pair, who: str) -> None:
    """When the connection ends, by either end, every waiting call fails as not definite and later ones at once."""
    waiting = [asyncio.create_task(pair.here.call("never")) for _ in range(3)]
    await pair.here.call("echo")
    (pair.here if who == "here" else pair.there).close()
    found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), DEADLINE_S)
    assert [(type(error), getattr(error, "definite", None)) for error in found] == [(ControlError, False)] * 3
    await asyncio.wait_for(asyncio.gather(*pair.running), DEADLINE_S)
    with pytest.raises(ControlError, match="the control connection is closed") as caught:
        await pair.here.call("echo")
    assert caught.value.definite
    pair.here.notify("hear", {})


async def test_a_handler_is_cancelled_with_its_connection(pair: Pair) -> None:
    """What still works for a peer that is gone is cancelled."""
    cancelled = asyncio.Event()
    begun = asyncio.Event()

    async def work(_: Params) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    pair.there.add_handlers({"work": work})
    pair.here.notify("work", {})
    await asyncio.wait_for(begun.wait(), DEADLINE_S)
    pair.here.close()
    await asyncio.wait_for(cancelled.wait(), DEADLINE_S)


async def test_a_late_answer(pair: Pair) -> None:
    """A call without an answer in time is not definite, and does not wait any more; its late answer is passed over."""
    with pytest.raises(ControlError, match=r"never: no answer within 0\.05 s") as caught:
        await pair.here.call("never", timeout_s=0.05)
    assert not caught.value.definite
    pair.there._send({"jsonrpc": "2.0", "id": 1, "result": "late"})
    assert await pair.here.call("echo", {"a": 1}) == {"a": 1}


async def test_waiting_calls_are_limited(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """More calls than may wait are refused at once; whoever got an answer or gave up makes room."""
    waiting = [asyncio.create_task(pair.here.call("never")) for _ in range(3)]
    await pair.here.call("echo")
    monkeypatch.setattr(control, "WAITING_LIMIT", 3)
    with pytest.raises(ControlError, match="echo: 3 calls wait for an answer already"):
        await pair.here.call("echo")
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    assert await pair.here.call("echo", {"a": 1}) == {"a": 1}
    for call in waiting:
        call.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.parametrize(
    "line",
    [b"GET / HTTP/1.1", b"", b"null", b"[]", b"7", b'{"id":"one"}', b'{"method":5}', b'{"method":"hear","params":[1]}',
     b'{"method":"hear","params":null}', b'{"method":"hear","id":1.5}', b'{"id":1,"error":"text"}', b"\xff\xfe\x00",
     b'{"method":"\xff"}', b'{"method":"hear"', DEEP, b"x" * 5_000],
    ids=range(16),
)  # fmt: skip
async def test_hostile_lines(line: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """A line that is none of ours ends its connection, without a traceback and without an answer."""
    caplog.set_level(logging.INFO)
    server, accepted = await listen({}, limit=1_000_000 if line == DEEP else 1_000)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        writer.write(line + b"\n")
        channel = await asyncio.wait_for(accepted.get(), DEADLINE_S)
        await asyncio.wait_for(channel.run(), DEADLINE_S)
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        writer.close()
    assert [record.levelname for record in caplog.records if record.name == "fleetwire.control"] == ["INFO"]
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    "line",
    [b'{"id":1,"result":1}', b'{"result":1}', b"{}", b'{"id":99999999999999999999,"result":1}', b'{"unknown":1,"id":null}',
     b'{"id":-5,"error":{"code":1,"message":"m"}}'],
    ids=range(6),
)  # fmt: skip
async def test_answers_that_nobody_waits_for(pair: Pair, line: bytes) -> None:
    """An answer to no call of ours is passed over."""
    pair.there._writer.write(line + b"\n")
    assert await pair.there.call("echo", {"a": 1}) == {"a": 1}


@pytest.mark.parametrize("end", [b"", b"\n"])
async def test_the_longest_line_may_change(end: bytes) -> None:
    """A line ends its connection as soon as it is too long by the limit of that moment, finished or not."""
    heard: asyncio.Queue[Params] = asyncio.Queue()

    async def hear(params: Params) -> None:
        heard.put_nowait(params)

    server, accepted = await listen({"hear": hear}, limit=100)
    long = b'{"method":"hear","params":{"text":"%b"}}' % (b"x" * 500_000)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        channel = await asyncio.wait_for(accepted.get(), DEADLINE_S)
        running = asyncio.create_task(channel.run())
        channel.line_limit = len(long)
        writer.write(long + b"\n")
        assert len((await asyncio.wait_for(heard.get(), DEADLINE_S))["text"]) == 500_000
        channel.line_limit = len(long) - 1
        writer.write(long + end)
        await asyncio.wait_for(running, DEADLINE_S)
        assert await asyncio.wait_for(reader.read(), DEADLINE_S) == b""
        writer.close()
    assert heard.empty()


async def test_the_lines_left_may_change() -> None:
    """So many lines are taken and the next one ends the connection, unless more are allowed meanwhile."""
    heard: asyncio.Queue[Params] = asyncio.Queue()

    async def hear(params: Params) -> None:
        heard.put_nowait(params)

    server, accepted = await listen({"hear": hear})
    async with server:
        here = await connect(server.sockets[0].getsockname()[:2], {})
        there = await asyncio.wait_for(accepted.get(), DEADLINE_S)
        there.lines_left = 1
        running = [asyncio.create_task(channel.run()) for channel in (here, there)]
        await here.call("hear", {"number": 1})
        there.lines_left = 2
        for number in (2, 3, 4):
            here.notify("hear", {"number": number})
        await asyncio.wait_for(asyncio.gather(*running), DEADLINE_S)
    assert [heard.get_nowait()["number"] for _ in range(heard.qsize())][:1] == [1]
    assert there.lines_left == -1


async def test_a_peer_that_does_not_read_can_be_cut(pair: Pair) -> None:
    """Closing waits for the peer to take what was written, which it never does; aborting does not."""
    pair.there._reader._transport.pause_reading()  # type: ignore[attr-defined]
    while not pair.here.unsent_bytes:
        pair.here.notify("hear", {"text": "x" * 1_000_000})
    pair.here.close()
    pair.here.abort()
    await asyncio.wait_for(pair.running[0], DEADLINE_S)
    assert not pair.here.unsent_bytes


async def test_what_is_too_long_is_not_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call, a notification and an answer beyond the limit are errors of one line, and the connection goes on."""

    async def tell_much(_: Params) -> str:
        return "x" * 1_000

    pair.there.add_handlers({"tell_much": tell_much})
    monkeypatch.setattr(control, "LINE_LIMIT", 500)
    with pytest.raises(ControlError, match="do not fit into a control line of at most 500"):
        await pair.here.call("echo", {"text": "x" * 1_000})
    with pytest.raises(ControlError, match="do not fit into a control line of at most 500"):
        pair.here.notify("hear", {"text": "x" * 1_000})
    with pytest.raises(ControlError, match=r"the answer to tell_much: 1,\d+ bytes do not fit") as caught:
        await pair.here.call("tell_much")
    assert caught.value.definite
    assert await pair.here.call("echo", {"a": 1}) == {"a": 1}
    assert pair.heard.empty()


async def test_the_wire_form() -> None:
    """A call and a notification are single lines of JSON-RPC 2.0, which any language can write and read."""
    server, accepted = await listen({})
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
        channel = await accepted.get()
        running = asyncio.create_task(channel.run())
        channel.notify("tell", {"a": "b\nc"})
        call = asyncio.create_task(channel.call("ask"))
        told, asked = [json.loads(await asyncio.wait_for(reader.readline(), DEADLINE_S)) for _ in range(2)]
        assert told == {"jsonrpc": "2.0", "method": "tell", "params": {"a": "b\nc"}}
        assert asked == {"jsonrpc": "2.0", "id": 1, "method": "ask", "params": {}}
        writer.write(b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"no","data":{"more":1}}}\n')
        with pytest.raises(ControlError, match=r"^no$"):
            await call
        writer.write(b'{"jsonrpc":"2.0","id":7,"method":"x","params":{}}\n')
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), DEADLINE_S))
        assert (answer["id"], answer["error"]["code"]) == (7, -32601)
        writer.close()
        await asyncio.wait_for(running, DEADLINE_S)


async def test_what_the_peer_does_not_read_is_counted(pair: Pair) -> None:
    """What waits in our buffer because the peer does not read is told in bytes."""
    assert pair.here.unsent_bytes == 0
    pair.here.notify("unheard", {"text": "x" * 20_000_000})
    assert pair.here.unsent_bytes > 1_000_000


async def test_nobody_listens() -> None:
    """Without a control plane at the address the error names the address."""
    server, _ = await listen({})
    address = server.sockets[0].getsockname()[:2]
    server.close()
    await server.wait_closed()
    with pytest.raises(ControlError, match=f"control plane at {address[0]}:{address[1]}"):
        await connect(address, {})
