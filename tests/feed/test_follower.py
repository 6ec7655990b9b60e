"""Following a feed whatever the gateway does: goes away, lies, cuts off, falls silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from consumers.feed.fold_file import FoldFile
from consumers.feed.follower import Follower
from consumers.feed.lines import read_line
from tests.feed.events import sale
from tests.feed.laboratory import Laboratory, running, until
from tests.feed.test_fold_file import Letters

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
SILENCE_S = 30.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nConnection: close\r\n\r\n"


def line(number: int, name: str) -> bytes:
    """A feed line."""
    return b'{"seq":"s%d","id":"%b","changes":[{"rev":"1-a"}],"doc":{"_id":"%b"}}\n' % (number, name.encode(), b"x")


class FakeGateway:
    """Answers the first connections with ``answers``, one each, and the rest with silence; keeps every ``since``."""

    def __init__(self, *answers: Answer) -> None:
        self.since: list[str] = []
        self._answers = list(answers)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its URL, while it serves."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/fleet"
        finally:
            server.close()
            for task in self._open:
                task.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            query = parse_qs(urlsplit(request.split(b" ")[1].decode()).query)
            self.since.append(query["since"][0])
            assert query["channels"] == ["letter"]
            if self._answers:
                await self._answers.pop(0)(writer)
            else:
                await asyncio.Event().wait()
        finally:
            self._open.discard(task)
            writer.close()


def sends(*pieces: bytes) -> Answer:
    """An answer of these bytes, and the end of the connection."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return answer


def letters(file: FoldFile[str]) -> list[str]:
    """What the fold holds."""
    return [row[0] for row in file.connection.execute("SELECT id FROM letter ORDER BY id")]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(sends(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"), id="503"),
        pytest.param(sends(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"), id="404"),
        pytest.param(sends(b"not http at all\r\n\r\n"), id="no HTTP"),
        pytest.param(sends(), id="closed at once"),
        pytest.param(sends(HEAD, line(2, "b")[:-20]), id="cut in the middle of a line"),
        pytest.param(sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"zz\r\n"), id="broken chunks"),
        pytest.param(sends(HEAD, b'{"seq":"s9","id\n', b"[1,2]\n", b"\x00\xff\n", line(2, "b")), id="hostile lines"),
    ],
)
async def test_trouble_neither_ends_the_feed_nor_loses_a_change(tmp_path: Path, trouble: Answer) -> None:
    """After whatever the gateway did, the feed is asked for again from the checkpoint, and everything arrives."""
    fake = FakeGateway(sends(HEAD, line(1, "a")), trouble, sends(HEAD, line(2, "b"), line(3, "c")))
    file = FoldFile(tmp_path / "letters.sqlite", Letters())
    async with fake.serving() as url:
        follower = Follower(url, file, retry_cap_s=0.05)
        async with running(follower.run()):
            await until(lambda: _holds(file, ["a", "b", "c"]), "all letters")
            await until(lambda: _reconnected(follower, 2), "the feeds that ended are counted")
    assert fake.since[:2] == ["0", "s1"]
    assert fake.since[2] in ("s1", "s2")
    assert file.checkpoint == "s3"


async def _reconnected(follower: Follower, times: int) -> bool:
    return follower.reconnects_total >= times


async def _skipped(file: FoldFile[str], times: int) -> bool:
    return file.skipped.total() >= times


async def _holds(file: FoldFile[str], wanted: list[str]) -> bool:
    return letters(file) == wanted


async def test_hostile_lines_are_kept_with_their_reason_and_an_oversized_one_with_its_id(tmp_path: Path) -> None:
    """What cannot be used does not vanish, and what stands behind it is applied."""
    bad = line(2, "bad")
    large = line(4, "large").replace(b'"_id"', b'"text":"%b","_id"' % (b"y" * 600))
    answer = sends(HEAD, b"{\n", b"y" * 600 + b"\n", bad, line(3, "c"), large)
    file = FoldFile(tmp_path / "letters.sqlite", Letters())
    async with FakeGateway(answer).serving() as url:
        follower = Follower(url, file, line_limit=500)
        async with running(follower.run()):
            await until(lambda: _skipped(file, 4), "all that cannot be used")
    assert letters(file) == ["c"]
    assert file.skipped == {"malformed_json": 1, "schema": 1, "oversized": 2}
    assert {(skip.id, skip.reason) for skip in file.skips(untold=False)} >= {("", "oversized"), ("large", "oversized")}
    assert file.checkpoint == "s4"


def let_time_pass(seconds: float) -> None:
    """The loop's clock shows so much more at once: nobody waits, and a machine that stalls is told from silence."""
    loop = asyncio.get_running_loop()
    time_s = loop.time
    loop.time = lambda: time_s() + seconds  # type: ignore[method-assign]


async def test_a_silent_connection_is_replaced(tmp_path: Path) -> None:
    """A peer that vanished without a word does not hold up the feed."""

    async def mute(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + line(1, "a"))
        await asyncio.Event().wait()

    fake = FakeGateway(mute, sends(HEAD, line(2, "b")))
    file = FoldFile(tmp_path / "letters.sqlite", Letters())
    async with fake.serving() as url, running(Follower(url, file, silence_s=SILENCE_S).run()):
        await until(lambda: _holds(file, ["a"]), "the letter before the silence")
        let_time_pass(SILENCE_S)
        await until(lambda: _holds(file, ["a", "b"]), "the letter behind the silence")
    assert fake.since[:2] == ["0", "s1"]


async def test_asking_anew_because_nothing_happened_is_not_counted_as_a_reconnect(tmp_path: Path) -> None:
    """An idle feed is asked for anew again and again; the counter is for feeds that ended or failed."""

    async def idle(writer: asyncio.StreamWriter, number: int) -> None:
        writer.write(HEAD + line(number, "abc"[number - 1]))
        await asyncio.Event().wait()

    fake = FakeGateway(*(partial(idle, number=number) for number in (1, 2, 3)))
    file = FoldFile(tmp_path / "letters.sqlite", Letters())
    async with fake.serving() as url:
        follower = Follower(url, file, silence_s=SILENCE_S)
        async with running(follower.run()):
            await until(lambda: _holds(file, ["a"]), "the first feed")
            let_time_pass(SILENCE_S)
            await until(lambda: _holds(file, ["a", "b"]), "the second feed")
            let_time_pass(SILENCE_S)
            await until(lambda: _holds(file, ["a", "b", "c"]), "three feeds, one after the other")
            assert follower.reconnects_total == 0


async def test_a_full_disk_is_waited_out(tmp_path: Path) -> None:
    """While the file keeps nothing the checkpoint stays; afterwards nothing is missing."""
    names = [f"{number:03d}" + "z" * 100 for number in range(200)]
    answers = [sends(HEAD, b"".join(line(at, name) for at, name in enumerate(names))) for _ in range(50)]
    file = FoldFile(tmp_path / "letters.sqlite", Letters())
    pages = file.connection.execute("PRAGMA page_count").fetchone()[0]
    file.connection.execute(f"PRAGMA max_page_count = {pages}")
    async with FakeGateway(*answers).serving() as url:
        follower = Follower(url, file, retry_cap_s=0.05)

        async def failed() -> bool:
            return follower.failures_total >= 2

        async with running(follower.run()):
            await until(failed, "failures")
            assert letters(file) == []
            assert file.checkpoint == "0"
            file.connection.execute("PRAGMA max_page_count = 100000")
            await until(lambda: _holds(file, names), "all letters")


async def test_a_gateway_that_is_not_there_is_waited_for(tmp_path: Path, port: int) -> None:
    """A refused connection is only a reason to come again."""
    file = FoldFile(tmp_path / "letters.sqlite", Letters())
    follower = Follower(f"http://127.0.0.1:{port}/fleet", file, retry_cap_s=0.05)

    async def tried() -> bool:
        return follower.failures_total >= 3

    async with running(follower.run()):
        await until(tried, "three attempts")
    assert not follower.connected


async def test_a_real_gateway_is_killed_and_comes_back(tmp_path: Path) -> None:
    """Every document written before and after the crash is applied once it is back."""

    class Transactions(Letters):
        channel = "transaction"

    file = FoldFile(tmp_path / "letters.sqlite", Transactions())
    events = [sale("taco.west.s0001.r01", number) for number in range(1, 1201)]
    ids = sorted(event.document["_id"] for event in events)
    async with Laboratory(tmp_path) as lab:
        gateway = await lab.start_gateway()
        follower = Follower(lab.gateway_url, file, retry_cap_s=0.1)
        async with running(follower.run()):
            await lab.write(events[:600])
            await gateway.kill()
            await lab.start_gateway()
            await lab.write(events[600:])
            await until(lambda: _holds(file, ids), "all events")
            assert file.skipped == {}
            follower.rebuild()
            assert letters(file) == []
            await until(lambda: _holds(file, ids), "all events again")


async def test_what_was_read_before_a_rebuild_is_not_applied_after_it(tmp_path: Path) -> None:
    """A chunk that was read already must not move the checkpoint past all that a rebuild has just forgotten."""
    file = FoldFile(tmp_path / "letters.sqlite", Letters())
    follower = Follower("http://127.0.0.1:1/fleet", file)
    read_before = [read_line(line(7, "late").strip())], follower._beginnings
    follower.rebuild()
    at_the_start = file.checkpoint
    await follower._apply(*read_before)
    assert (letters(file), file.checkpoint) == ([], at_the_start)
    await follower._apply(read_before[0], follower._beginnings)
    assert file.checkpoint != at_the_start
