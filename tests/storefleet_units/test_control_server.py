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
from fleetwire.witness import Snapshot
from storefleet import control_server as module
from tests.storefleet_units.lab_end import DEADLINE_S, TOKEN, LabEnd


def stage(lab_end: LabEnd, instance: int = 1, incarnation: int = 1, **more: object) -> Params:
    """What an instance of PARM says with its own credential."""
    token = lab_end.server.credentials.of("parm", instance)
    own = {"stage": "parm", "instance": instance, "incarnation": incarnation, "process_id": 77}
    return {"token": token, **own, **more}


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
        with pytest.raises(ControlError, match="wrong token for parm-1: a stage joins with what is in its own"):
            await channel.call("hello", stage(lab_end, token=token))
        assert not lab_end.server.members
    async with visitor(lab_end) as (channel, _):
        with pytest.raises(ControlError, match=r"wrong token: read it from the lab's control\.json"):
            await channel.call("hello", {"token": token})


@pytest.mark.parametrize("method", ["ready", "snapshot", "goodbye", "status"])
async def test_a_stranger_has_no_method_but_hello(lab_end: LabEnd, method: str) -> None:
    """Whatever else is called first is answered by an error, and nothing is heard any more after it, hello neither."""
    async with visitor(lab_end) as (channel, ended):
        with pytest.raises(ControlError, match="no method"):
            await channel.call(method, {})
        with pytest.raises(ControlError, match="the control connection ended"):
            await channel.call("hello", stage(lab_end), timeout_s=DEADLINE_S)
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
                    await channel.call("hello", stage(lab_end), timeout_s=DEADLINE_S)
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
    with socket.create_connection(read_address(lab_end.address, "CONTROL")) as late:
        async with asyncio.timeout(DEADLINE_S):
            while not lab_end.server._strangers:  # noqa: ASYNC110 - nothing tells of a stranger
                await asyncio.sleep(0)
        async with visitor(lab_end) as (other, _):
            await other.call("hello", {"token": TOKEN})  # by then the time of the first one runs
        late.sendall(json.dumps({"method": "hello", "id": 1, "params": stage(lab_end)}).encode() + b"\n")
        time.sleep(1.0)  # noqa: ASYNC251 - the lab stands still
        late.setblocking(False)
        answer = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(late, 1_000), DEADLINE_S)
    assert json.loads(answer)["result"] == {"welcome": "storefleet"}


async def test_the_end_waits_for_nobody_who_does_not_read(lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that never takes what was written to it is cut soon after the others are closed."""
    monkeypatch.setattr(module, "FLUSH_TIMEOUT_S", 0.1)
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", stage(lab_end))
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
    monkeypatch.setattr(module, "HELLO_TIMEOUT_S", 0.5)
    monkeypatch.setattr(module, "LAST_LOOK_S", DEADLINE_S)  # however long the machine stands still, this hello counts
    async with visitor(lab_end) as (greeted, _):
        await greeted.call("hello", {"token": TOKEN})
        monkeypatch.setattr(module, "LAST_LOOK_S", 0.0)
        async with visitor(lab_end) as (_, silent):
            await asyncio.wait_for(silent, DEADLINE_S)  # by then the time of the first one is over, too
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
        await second.call("hello", stage(lab_end, 2))
        async with visitor(lab_end) as (first, _):
            await first.call("hello", stage(lab_end))
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


async def refused(lab_end: LabEnd, params: Params, why: str) -> None:
    """Whoever says this is not let in, and is told why."""
    before = dict(lab_end.server.members)
    async with visitor(lab_end) as (channel, _):
        with pytest.raises(ControlError, match=why):
            await channel.call("hello", params)
        assert lab_end.server.members == before


async def test_a_credential_opens_one_door_only(lab_end: LabEnd) -> None:
    """Another stage, another instance, or no stage at all: not with this credential; and the token opens no stage's door."""
    server = lab_end.server
    own = stage(lab_end)
    await refused(lab_end, {**own, "stage": "poseidon"}, "wrong token for poseidon-1")
    await refused(lab_end, {**own, "instance": 2}, "wrong token for parm-2")
    await refused(lab_end, {"token": own["token"]}, "wrong token: read it from")
    await refused(lab_end, {**own, "token": TOKEN}, r"control\.json opens the door for commands only")
    assert server.refused_reports == {"stranger": 2, "client": 1}


@pytest.mark.parametrize(
    "wrong", [{"stage": 5}, {"stage": ""}, {"instance": 0}, {"incarnation": 2**70}, {"process_id": "x"}]
)
async def test_a_hello_that_cannot_be_is_counted(lab_end: LabEnd, wrong: Params) -> None:
    """Types and sizes are looked at before anything else."""
    await refused(lab_end, stage(lab_end) | wrong, "hello of a stage: ")
    assert lab_end.server.refused_reports == {"stranger": 1}


async def test_one_connection_speaks_for_an_instance(lab_end: LabEnd) -> None:
    """Beside a living one no other is let in that is as old or older; once it has gone, its like comes in again."""
    server = lab_end.server
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", stage(lab_end, incarnation=2))
        await refused(lab_end, stage(lab_end), "parm-1 is here already, as incarnation 2: incarnation 1 is not let in")
        await refused(lab_end, stage(lab_end, incarnation=2), "incarnation 2 is not let in beside it")
        with pytest.raises(ControlError, match="hello is said once a connection"):
            await channel.call("hello", stage(lab_end, incarnation=3))
        assert await channel.call("goodbye") is None
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", stage(lab_end, incarnation=2))
    assert server.refused_reports == {"parm-1": 2}


async def test_a_newer_incarnation_ends_the_older(lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the older one said before is heard, then its connection ends."""
    monkeypatch.setattr(module, "FLUSH_TIMEOUT_S", 5.0)
    async with visitor(lab_end) as (older, ended), visitor(lab_end) as (newer, _):
        await older.call("hello", stage(lab_end))
        await newer.call("hello", stage(lab_end, incarnation=2))
        older.notify("snapshot", {"stage": "parm", "instance": 1, "incarnation": 1, "at_ms": 1})
        await asyncio.wait_for(ended, DEADLINE_S)
        assert [member.incarnation for member in lab_end.server.stage("parm")] == [2]
    assert [snapshot.incarnation for snapshot in lab_end.snapshots] == [1]


@pytest.mark.parametrize("other", [{"stage": "poseidon"}, {"instance": 2}, {"incarnation": 2}])
async def test_a_report_in_anothers_name_is_refused_and_counted(lab_end: LabEnd, other: Params) -> None:
    """Nothing of it is taken; what the same stage says of itself is, over the same connection."""
    own = {"stage": "parm", "instance": 1, "incarnation": 1, "at_ms": 1}
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", stage(lab_end))
        channel.notify("snapshot", own | other)
        with pytest.raises(ControlError, match="it is in the name of "):
            await channel.call("snapshot", own | other)
        await channel.call("snapshot", own)
    assert lab_end.snapshots == [Snapshot(stage="parm", instance=1, incarnation=1, at_ms=1)]
    assert lab_end.server.refused_reports == {"parm-1": 2}


async def test_answers_are_reports_too(lab_end: LabEnd) -> None:
    """A full snapshot that the lab asks for is looked at like one that comes by itself."""

    async def full(_: Params) -> Params:
        return {"stage": "views", "instance": 1, "incarnation": 1, "at_ms": 1}

    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", stage(lab_end))
        channel.add_handlers({"full_snapshot": full})
        with pytest.raises(ControlError, match="in the name of views-1"):
            await lab_end.server.ask_snapshots("parm")
    assert lab_end.snapshots == []
    with pytest.raises(ControlError, match="views is not connected"):
        await lab_end.server.ask_snapshots("views")


async def test_an_older_incarnation_does_not_take_the_newer_away(lab_end: LabEnd) -> None:
    """When a stage has come back already, the end of its earlier connection leaves the new one a member."""
    async with visitor(lab_end) as (newer, _):
        async with visitor(lab_end) as (older, _):
            await older.call("hello", stage(lab_end))
            await newer.call("hello", stage(lab_end, incarnation=2))
        assert await newer.call("goodbye") is None
        assert [member.incarnation for member in lab_end.server.stage("parm")] == [2]


@pytest.mark.parametrize("params", [{}, {"stage": 5}, {"stage": "parm", "taken": {"a": [[1]]}}])
async def test_a_broken_snapshot_ends_nothing(lab_end: LabEnd, params: Params) -> None:
    """A snapshot that is none is told to who sent it; the next one is taken over the same connection."""
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", stage(lab_end))
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
        await greeted.call("hello", stage(lab_end))
        await greeted.call("snapshot", long)
    assert [snapshot.rejects for snapshot in lab_end.snapshots] == [long["rejects"]]


async def test_strangers_are_limited(lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many connections without hello one more is closed at once; a greeted one is no stranger."""
    monkeypatch.setattr(module, "STRANGER_LIMIT", 1)
    async with visitor(lab_end) as (first, _):
        await first.call("hello", stage(lab_end))
        async with visitor(lab_end) as (second, _), visitor(lab_end) as (_, refused):
            await asyncio.wait_for(refused, DEADLINE_S)
            await second.call("hello", stage(lab_end, 2))
        assert await first.call("goodbye") is None


async def test_connections_are_limited(lab_end: LabEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """More connections than are allowed are closed at once, and those that there are go on."""
    monkeypatch.setattr(module, "CONNECTION_LIMIT", 1)
    async with visitor(lab_end) as (channel, _):
        await channel.call("hello", stage(lab_end))
        async with visitor(lab_end) as (_, refused):
            await asyncio.wait_for(refused, DEADLINE_S)
        assert await channel.call("goodbye") is None
