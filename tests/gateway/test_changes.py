"""The three feeds over HTTP: formats byte for byte, order, filters, waking, ending."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from consumers.gateway import changes, changes_routes, server, store
from tests.gateway.running import DEADLINE_S, RunningGateway, running_gateway, until

BY_CHANNEL = {"filter": "sync_gateway/bychannel"}


async def write(gateway: RunningGateway, *ids: str, channel: str = "a") -> None:
    """Writes documents of one channel, revision 1-x."""
    await gateway.write(*({"_id": name, "_rev": "1-x", "channels": channel} for name in ids), new_edits=False)


async def test_the_normal_feed_has_sync_gateways_bytes(gateway: RunningGateway) -> None:
    """Line ends, commas, number sequences and the text `last_seq` are exactly Sync Gateway's."""
    assert (await gateway.client.get("/fleet/_changes")).text == '{"results":[\r\n],\n"last_seq":"0"}\n'
    await write(gateway, "d", "e")
    answer = await gateway.client.get("/fleet/_changes", params={"include_docs": "true"})
    assert answer.text == (
        '{"results":[\r\n'
        '{"seq":1,"id":"d","changes":[{"rev":"1-x"}],"doc":{"_id":"d","_rev":"1-x","channels":"a"}}\n'
        ',{"seq":2,"id":"e","changes":[{"rev":"1-x"}],"doc":{"_id":"e","_rev":"1-x","channels":"a"}}\n'
        '],\n"last_seq":"2"}\n'
    )
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, max-age=0, no-cache, no-store"


async def test_each_document_appears_once_with_its_latest_revision(gateway: RunningGateway) -> None:
    """A document that changes moves to the end of the feed; what it was before is not there."""
    rows = await gateway.write({"_id": "a"}, {"_id": "b"}, {"_id": "c"})
    changed = await gateway.put("a", {"n": 2}, rev=rows[0]["rev"])
    results = (await gateway.changes())["results"]
    assert [(entry["seq"], entry["id"]) for entry in results] == [(2, "b"), (3, "c"), (4, "a")]
    assert results[-1]["changes"] == [{"rev": changed.json()["rev"]}]


async def test_since_and_limit_page_through_everything_once(gateway: RunningGateway) -> None:
    """Going on from `last_seq` reads every document once; at the end `last_seq` is what was asked for."""
    await write(gateway, *(f"d{number:03d}" for number in range(25)))
    seen: list[str] = []
    since = "0"
    while results := (page := await gateway.changes(since=since, limit=10))["results"]:
        seen += [entry["id"] for entry in results]
        since = page["last_seq"]
    assert seen == [f"d{number:03d}" for number in range(25)]
    assert (await gateway.changes(since='"25"'))["last_seq"] == "25"


async def test_a_checkpoint_that_was_not_moved_reads_the_same_again(gateway: RunningGateway) -> None:
    """A reader that dies before it moved its checkpoint gets everything after it once more: at least once."""
    await write(gateway, "d", "e", "f")
    first = await gateway.changes(limit=2)
    await gateway.client.put("/fleet/_local/reader", json={"last_seq": "1"})
    kept = (await gateway.client.get("/fleet/_local/reader")).json()["last_seq"]
    again = await gateway.changes(since=kept)
    assert [entry["id"] for entry in first["results"]] == ["d", "e"]
    assert [entry["id"] for entry in again["results"]] == ["e", "f"]


async def test_long_feeds_come_page_by_page(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are small in rows, in bytes or in the sequences looked at lose and repeat nothing."""
    await write(gateway, *(f"a{number}" for number in range(40)), channel="a")
    await write(gateway, *(f"b{number}" for number in range(40)), channel="b")
    expected = [f"b{number}" for number in range(40)]
    for module, name, value in [
        (changes, "PAGE_CHANGES", 7),
        (store, "PAGE_BYTES", 60),
        (store, "SCAN_SEQUENCES", 11),
    ]:
        monkeypatch.setattr(module, name, value)
        answer = await gateway.changes(include_docs="true", channels="b", **BY_CHANNEL)
        assert [entry["id"] for entry in answer["results"]] == expected
        async with gateway.feed(channels="b", limit=40, **BY_CHANNEL) as feed:
            assert [entry["id"] for entry in await feed.rest()] == expected


async def test_channels_select_documents(gateway: RunningGateway) -> None:
    """A channel filter shows documents of these channels by exact name, `*` shows all."""
    await gateway.write(
        {"_id": "one", "channels": "a"},
        {"_id": "two", "channels": ["b", "ab"]},
        {"_id": "three", "channels": ["a", "b"]},
        {"_id": "none"},
    )
    for channels, expected in [
        ("a", ["one", "three"]),
        ("b", ["two", "three"]),
        ("a,b", ["one", "two", "three"]),
        ("ab", ["two"]),
        ("c", []),
        ("*", ["one", "two", "three", "none"]),
    ]:
        answer = await gateway.changes(channels=channels, **BY_CHANNEL)
        assert [entry["id"] for entry in answer["results"]] == expected


async def test_leaving_a_channel_and_deletion_are_told_to_its_followers(gateway: RunningGateway) -> None:
    """A follower sees `removed` for what left the channel, `deleted` for tombstones; active_only sees neither."""
    rows = await gateway.write({"_id": "moved", "channels": "a"}, {"_id": "gone", "channels": "a"})
    await gateway.put("moved", {"channels": "b"}, rev=rows[0]["rev"])
    await gateway.client.delete("/fleet/gone", params={"rev": rows[1]["rev"]})
    moved, gone = (await gateway.changes(channels="a", include_docs="true", **BY_CHANNEL))["results"]
    assert (moved["id"], moved["removed"], moved["doc"]["_removed"]) == ("moved", ["a"], True)
    assert "channels" not in moved["doc"]
    assert (gone["id"], gone["removed"], gone["deleted"], gone["doc"]["_deleted"]) == ("gone", ["a"], True, True)
    assert (await gateway.changes(channels="a", active_only="true", **BY_CHANNEL))["results"] == []
    everything = (await gateway.changes())["results"]
    assert [entry.get("removed") for entry in everything] == [None, None]
    assert [entry["id"] for entry in (await gateway.changes(active_only="true"))["results"]] == ["moved"]


async def test_document_ids_select_documents(gateway: RunningGateway) -> None:
    """The ids filter shows these documents in the order of their changes, within since and limit."""
    await write(gateway, "d", "e", "f")
    body = {"filter": "_doc_ids", "doc_ids": ["f", "d", "absent"], "include_docs": True}
    answer = (await gateway.client.post("/fleet/_changes", json=body)).json()
    assert [(entry["id"], entry["doc"]["_rev"]) for entry in answer["results"]] == [("d", "1-x"), ("f", "1-x")]
    later = await gateway.changes(filter="_doc_ids", doc_ids='["f","d"]', since=1)
    assert [entry["id"] for entry in later["results"]] == ["f"]
    limited = await gateway.changes(filter="_doc_ids", doc_ids="d,f", limit=1)
    assert (limited["results"][0]["id"], limited["last_seq"]) == ("d", "1")


async def test_since_now_is_refused(gateway: RunningGateway) -> None:
    """`since=now` is a 400, as in Sync Gateway."""
    answer = await gateway.client.get("/fleet/_changes", params={"since": "now"})
    assert (answer.status_code, answer.json()["reason"]) == (400, "Invalid sequence")


async def test_longpoll_answers_at_once_when_there_is_something(gateway: RunningGateway) -> None:
    """With changes after `since` a longpoll does not wait."""
    await write(gateway, "d", "e")
    answer = await gateway.changes(feed="longpoll", since=1)
    assert ([entry["id"] for entry in answer["results"]], answer["last_seq"]) == (["e"], "2")


async def test_longpoll_wakes_for_its_channel_only(gateway: RunningGateway) -> None:
    """A waiting longpoll sleeps through other channels and answers with the first change of its own."""
    waiting = asyncio.create_task(gateway.changes(feed="longpoll", channels="mine", **BY_CHANNEL))
    await until(lambda: gateway.store.wakeups.open_feeds == 1)
    await write(gateway, "other", channel="other")
    await write(gateway, "first", channel="mine")
    answer = await asyncio.wait_for(waiting, DEADLINE_S)
    assert ([entry["id"] for entry in answer["results"]], answer["last_seq"]) == (["first"], "2")
    await until(lambda: gateway.store.wakeups.open_feeds == 0)


async def test_longpoll_ends_after_its_timeout(gateway: RunningGateway) -> None:
    """Without a change the answer is empty and `last_seq` is what was asked for."""
    started = time.monotonic()
    assert await gateway.changes(feed="longpoll", since=7, timeout=100) == {"results": [], "last_seq": "7"}
    assert time.monotonic() - started >= 0.1


async def test_longpoll_begins_its_answer_and_beats_while_it_waits(gateway: RunningGateway) -> None:
    """The first bytes come before any change; a heartbeat is a line end that leaves the JSON whole."""
    request = {"feed": "longpoll", "heartbeat": "1"}
    async with gateway.client.stream("GET", "/fleet/_changes", params=request) as answer:
        chunks = answer.aiter_text()
        assert await anext(chunks) == '{"results":[\r\n'
        assert await anext(chunks) == "\n"
        await write(gateway, "d")
        text = "".join([chunk async for chunk in chunks])
    assert re.fullmatch(r'\n*\{"seq":1,"id":"d","changes":\[\{"rev":"1-x"\}\]\}\n\],\n"last_seq":"1"\}\n', text)


async def test_continuous_sends_lines_and_a_mark_when_it_is_up_to_date(gateway: RunningGateway) -> None:
    """What is there comes first, then an empty line, then each change as it is committed."""
    await write(gateway, "d", "e")
    async with gateway.feed(include_docs="true", heartbeat=60_000) as feed:
        assert feed.answer.headers["content-type"] == "application/octet-stream"
        assert await feed.line() == (
            '{"seq":1,"id":"d","changes":[{"rev":"1-x"}],"doc":{"_id":"d","_rev":"1-x","channels":"a"}}'
        )
        assert (await feed.entry())["id"] == "e"
        assert await feed.line() == ""
        for name in ("f", "g"):
            await write(gateway, name)
            assert (await feed.entry())["id"] == name


async def test_continuous_beats_while_nothing_happens(gateway: RunningGateway) -> None:
    """With a heartbeat an idle feed sends empty lines and does not end."""
    async with gateway.feed(heartbeat=1) as feed:
        assert [await feed.line() for _ in range(4)] == [""] * 4
        await write(gateway, "d")
        assert (await feed.entry())["id"] == "d"


async def test_continuous_ends_at_its_limit_and_at_its_timeout(gateway: RunningGateway) -> None:
    """A limit ends the feed behind that many entries, a timeout ends it when nothing comes."""
    await write(gateway, "d", "e", "f")
    async with gateway.feed(limit=2) as feed:
        assert [entry["id"] for entry in await feed.rest()] == ["d", "e"]
    async with gateway.feed(limit=4, since=2) as feed:
        assert (await feed.entry())["id"] == "f"
        await write(gateway, "g", "h", "i", "j")
        assert [entry["id"] for entry in await feed.rest()] == ["g", "h", "i"]
    async with gateway.feed(timeout=50, since=100) as feed:
        assert await feed.rest() == []


async def test_several_feeds_read_everything_while_it_is_written(gateway: RunningGateway) -> None:
    """Feeds that read during writes see each document of their channel once, in order, whoever else reads."""
    total = 600

    async def read(channel: str, count: int) -> list[dict[str, Any]]:
        async with gateway.feed(channels=channel, **BY_CHANNEL) as feed:
            return await feed.entries(count)

    wanted = [("even", total // 2), ("odd", total // 2), ("even,odd", total), ("*", total)]
    readers = [asyncio.create_task(read(channel, count)) for channel, count in wanted]
    for start in range(0, total, 20):
        names = [(number, ("even", "odd")[number % 2]) for number in range(start, start + 20)]
        documents = ({"_id": f"d{number}", "_rev": "1-x", "channels": channel} for number, channel in names)
        await gateway.write(*documents, new_edits=False)
    results = await asyncio.gather(*readers)
    for (_, count), entries in zip(wanted, results, strict=True):
        sequences = [entry["seq"] for entry in entries]
        assert sequences == sorted(set(sequences))
        assert len({entry["id"] for entry in entries}) == count
    assert {int(entry["id"][1:]) % 2 for entry in results[0]} == {0}


async def test_a_reader_that_leaves_frees_its_place(gateway: RunningGateway) -> None:
    """Feeds whose readers are gone are forgotten, in the middle of a wait and of a page."""
    async with gateway.feed() as feed:
        await feed.line()
        assert gateway.store.figures()["open_feeds"] == 1
    await until(lambda: gateway.store.wakeups.open_feeds == 0)
    await gateway.write(*({"_id": f"d{number}", "text": "x" * 100_000} for number in range(150)))
    async with gateway.feed(include_docs="true") as feed:
        await feed.entry()
    await until(lambda: gateway.store.wakeups.open_feeds == 0)


async def test_what_a_reader_leaves_is_closed() -> None:
    """The feed's own end runs when its answer is over, not when somebody collects what is left of it."""
    ended: list[bool] = []

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            yield b"1"
            yield b"2"
        finally:
            ended.append(True)

    feed = chunks()
    assert await anext(feed) == b"1"
    closing = changes_routes._stream(feed, "application/json").background
    assert closing is not None
    await closing()
    assert ended == [True]


async def test_a_slow_reader_holds_no_more_than_pages_in_memory(gateway: RunningGateway) -> None:
    """A reader that stops reading does not stop the writers, and gets everything when it reads on."""
    async with gateway.feed(include_docs="true") as feed:
        assert await feed.line() == ""
        for start in range(0, 100, 20):
            names = [f"d{number}" for number in range(start, start + 20)]
            await gateway.write(*({"_id": name, "text": "x" * 100_000} for name in names))
        entries = await feed.entries(100)
    assert [entry["seq"] for entry in entries] == list(range(1, 101))


async def test_too_many_feeds_are_refused(gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit a feed is a 503 that says to come again."""
    monkeypatch.setattr("consumers.gateway.wakeups.MAXIMUM_FEEDS", 1)
    async with gateway.feed() as feed:
        await feed.line()
        answer = await gateway.client.get("/fleet/_changes", params={"feed": "longpoll"})
        assert (answer.status_code, answer.json()) == (
            503,
            {"error": "Service Unavailable", "reason": "Replication limit exceeded. Try again later."},
        )


async def test_stopping_ends_open_feeds_quickly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the gateway stops, continuous feeds end and longpolls answer whole."""
    monkeypatch.setattr(server, "GRACE_S", round(DEADLINE_S))  # what has to be dropped ends too late
    async with running_gateway(tmp_path / "gateway.sqlite") as gateway:
        polling = asyncio.create_task(gateway.client.get("/fleet/_changes", params={"feed": "longpoll"}))
        async with gateway.feed() as feed:
            await feed.line()
            await until(lambda: gateway.store.wakeups.open_feeds == 2)
            started = time.monotonic()
            gateway.serving.cancel()
            assert await feed.rest() == []
            assert (await polling).json() == {"results": [], "last_seq": "0"}
            await asyncio.wait({gateway.serving}, timeout=DEADLINE_S)
            assert time.monotonic() - started < DEADLINE_S / 2
            assert gateway.serving.cancelled()
