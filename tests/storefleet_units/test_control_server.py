"""The lab's end of the control plane: nobody is heard without the token, and what stages say wrongly ends nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fleetwire.control import HELLO_LIMIT, Channel, Params, connect
from fleetwire.errors import ControlError
from fleetwire.settings import read_address
from storefleet import control_server as module
from tests.storefleet_units.lab_end import DEADLINE_S, TOKEN, LabEnd

STAGE = {"token": TOKEN, "stage": "parm", "instance": 1, "incarnation": 1, "process_id": 77}


@asynccontextmanager
async def visitor(lab_end: LabEnd) -> AsyncIterator[tuple[Channel, asyncio.Task[None]]]:
    """A connection that has said nothing yet; its method is ``hear``."""
    heard: list[Params] = []

    async def hear(params: Params) -> int:
        heard.append(params)
        return len(heard)

    channel = await connect(read_address(lab_end.address, "CONTROL"), {"hear": hear})
    running = asyncio.create_task(channel.run())
    yield channel, running
    channel.close()
    await asyncio.wait_for(running, DEADLINE_S)


@pytest.mark.parametrize("token", ["", "a toke", "a token ", None, 5, ["a token"]])
async def test_a_wrong_token(lab_end: LabEnd, token: object) -> None:
    """Whoever says another token, or none, is told so and gets no method to call."""
    async with visitor(lab_end) as (channel, _):
        with pytest.raises(ControlError, match=r"wrong token: read it from the lab's control\.json"):
            await channel.call("hello", {**STAGE, "token": token})
        assert not lab_end.server.members


@pytest.mark.parametrize("method", ["ready", "snapshot", "goodbye", "status"])
async def test_a_stranger_has_no_method_but_hello(lab_end: LabEnd, method: str) -> None:
    """Whatever else is called first is answered by an error, and nothing is heard any more after it, hello neither."""
    async with visitor(lab_end) as (channel, ended):
        with pytest.raises(ControlError, match="no method"):
            await channel.call(method, {})
        with pytest.raises(ControlError, match="the control connection ended"):
            await channel.call("hello", STAGE, timeout_s=DEADLINE_S)
        await asyncio.wait_for(ended, DEADLINE_S)
        assert not lab_end.server.members


async def test_strangers_who_ask_much_and_read_nothing_keep_nobody_out(
    lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are gone with their second line, long before their time is over, and a stage is let in."""
    monkeypatch.setattr(module, "STRANGER_LIMIT", 2)
    monkeypatch.setattr(module, "HELLO_TIMEOUT_S", 10 * DEADLINE_S)
    flood = b'{"method":"%b","id":1}\n' % (b"x" * 100) * 100_000
    strangers = [await asyncio.open_connection(*read_address(lab_end.address, "CONTROL")) for _ in range(2)]
    for reader, writer in strangers:
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(flood)
    async with asyncio.timeout(DEADLINE_S):
        while not lab_end.server.members:
            async with visitor(lab_end) as (channel, _):
                with contextlib.suppress(ControlError):
                    await channel.call("hello", STAGE, timeout_s=DEADLINE_S)
                    assert await channel.call("goodbye") is None
                    break
    for _, writer in strangers:
        writer.transport.abort()


async def test_a_hello_in_time_counts_though_the_lab_stood_still(
    lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be read when the time is over is read before the connection is cut."""
    monkeypatch.setattr(module, "HELLO_TIMEOUT_S", 0.5)
    monkeypatch.setattr(module, "LAST_LOOK_S", DEADLINE_S)
    with socket.create_connection(read_address(lab_end.address, "CONTROL")) as stage:
        async with asyncio.timeout(DEADLINE_S):
            while not lab_end.server._strangers:  # noqa: ASYNC110 - nothing tells of a stranger
                await asyncio.sleep(0)
        async with visitor(lab_end) as (other, _):
            await other.call("hello", {"token": TOKEN})  # by then the time of the first one runs
        stage.sendall(json.dumps({"method": "hello", "id": 1, "params": STAGE}).encode() + b"\n")
        time.sleep(1.0)  # noqa: ASYNC251 - the lab stands still
        stage.setblocking(False)
        answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(stage, 1_000), DEADLINE_S)
    assert json.loads(answer)["result"] == {"welcome": "storefleet"}


async def test_the_end_waits_for_nobody_who_does_not_read(lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that never takes what was written to it is cut soon after the others are closed."""
    monkeypatch.setattr(module, "FLUSH_TIMEOUT_S", 0.1)
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", STAGE)
        channel._reader._transport.pause_reading()  # type: ignore[attr-defined]
        (member,) = lab_end.server.stage("parm")
        while not member.channel.unsent_bytes:
            lab_end.server.notify_all("hear", {"text": "x" * 1_000_000})
        await lab_end.server.stop()
        async with asyncio.timeout(DEADLINE_S):
            while lab_end.server.members:
                lab_end.server.changed.clear()
                await lab_end.server.changed.wait()


async def test_silence_is_ended(lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that does not say hello in time is closed; one that did stays."""
    monkeypatch.setattr(module, "HELLO_TIMEOUT_S", 3.0)
    async with visitor(lab_end) as (greeted, _), visitor(lab_end) as (_, silent):
        await greeted.call("hello", {"token": TOKEN})
        await asyncio.wait_for(silent, DEADLINE_S)
        with pytest.raises(ControlError, match="no method 'status' here"):
            await greeted.call("status")


async def test_a_command_gets_the_commands_methods(lab_end: LabEnd) -> None:
    """A client with the token calls the lab's methods, but none of a stage's, and is no member."""

    async def status(_: Params) -> str:
        return "fine"

    server = module.ControlServer(TOKEN, on_snapshot=lambda _: None, client_handlers={"status": status})
    lab_end.address = await server.start()
    async with visitor(lab_end) as (channel, _):
        assert await channel.call("hello", {"token": TOKEN}) == {"welcome": "storefleet"}
        assert await channel.call("status") == "fine"
        with pytest.raises(ControlError, match="no method 'snapshot' here"):
            await channel.call("snapshot", {})
        assert not server.members
    await server.stop()


async def test_members_come_and_go(lab_end: LabEnd) -> None:
    """Instances are listed by number while they are connected; calls reach all of them, and none is an error."""
    server = lab_end.server
    with pytest.raises(ControlError, match="parm is not connected to the lab"):
        await server.call("parm", "hear")
    async with visitor(lab_end) as (second, _):
        await second.call("hello", {**STAGE, "instance": 2})
        async with visitor(lab_end) as (first, _):
            await first.call("hello", STAGE)
            assert [member.instance for member in server.stage("parm")] == [1, 2]
            assert [member.ready for member in server.stage("parm")] == [False, False]
            await first.call("ready", {"endpoints": {"http": "http://x"}})
            assert [member.ready for member in server.stage("parm")] == [True, False]
            assert server.stage("parm")[0].endpoints == {"http": "http://x"}
            server.notify_all("hear", {})
            assert await server.call("parm", "hear") == [2, 2]
        async with asyncio.timeout(DEADLINE_S):
            while len(server.members) > 1:
                server.changed.clear()
                await server.changed.wait()
        assert [member.instance for member in server.stage("parm")] == [2]


async def test_an_older_incarnation_does_not_take_the_newer_away(lab_end: LabEnd) -> None:
    """When a stage has come back already, the end of its earlier connection leaves the new one a member."""
    async with visitor(lab_end) as (newer, _):
        async with visitor(lab_end) as (older, _):
            await older.call("hello", STAGE)
            await newer.call("hello", {**STAGE, "incarnation": 2})
        assert await newer.call("goodbye") is None
        assert [member.incarnation for member in lab_end.server.stage("parm")] == [2]


@pytest.mark.parametrize("params", [{}, {"stage": 5}, {"stage": "parm", "taken": {"a": [[1]]}}])
async def test_a_broken_snapshot_ends_nothing(lab_end: LabEnd, params: Params) -> None:
    """A snapshot that is none is told to who sent it; the next one is taken over the same connection."""
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", STAGE)
        with pytest.raises(ControlError, match="ValidationError"):
            await channel.call("snapshot", params)
        channel.notify("snapshot", params)
        good = {"stage": "parm", "instance": 1, "incarnation": 1, "at_ms": 1}
        await channel.call("snapshot", good)
        assert [snapshot.at_ms for snapshot in lab_end.snapshots] == [1]


async def test_a_stranger_may_not_say_much(lab_end: LabEnd) -> None:
    """Before hello a long line ends the connection; after it the same line is taken."""
    long = {"stage": "parm", "instance": 1, "incarnation": 1, "at_ms": 1, "rejects": {"x" * HELLO_LIMIT: 1}}
    async with visitor(lab_end) as (greeted, _), visitor(lab_end) as (stranger, ended):
        stranger.notify("hello", long)
        await asyncio.wait_for(ended, DEADLINE_S)
        await greeted.call("hello", STAGE)
        await greeted.call("snapshot", long)
    assert [snapshot.rejects for snapshot in lab_end.snapshots] == [long["rejects"]]


async def test_strangers_are_limited(lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many connections without hello one more is closed at once; a greeted one is no stranger."""
    monkeypatch.setattr(module, "STRANGER_LIMIT", 1)
    async with visitor(lab_end) as (first, _):
        await first.call("hello", STAGE)
        async with visitor(lab_end) as (second, _), visitor(lab_end) as (_, refused):
            await asyncio.wait_for(refused, DEADLINE_S)
            await second.call("hello", {**STAGE, "instance": 2})
        assert await first.call("goodbye") is None


async def test_connections_are_limited(lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """More connections than are allowed are closed at once, and those that there are go on."""
    monkeypatch.setattr(module, "CONNECTION_LIMIT", 1)
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", STAGE)
        async with visitor(lab_end) as (_, refused):
            await asyncio.wait_for(refused, DEADLINE_S)
        assert await channel.call("goodbye") is None
