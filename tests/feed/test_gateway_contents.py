"""The lab's own look into the gateway: read on, document by document, and whatever happens to one is followed."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import aiohttp
import msgspec
import pytest

from fleetwire.held_events import digest_of
from storefleet.gateway_contents import GatewayContents
from storefleet.gateway_read import FEED_QUERY, document_hash
from tests.feed.events import Written, sale
from tests.feed.laboratory import Laboratory

TILL = "taco.west.s0001.r01"
OTHER = "taco.west.s0001.r02"


def as_documents(*events: Written) -> list[tuple[str, msgspec.Raw | msgspec.UnsetType | None]]:
    """As they come in the feed."""
    return [(event.document["_id"], msgspec.Raw(event.json)) for event in events]


def assert_holds(contents: GatewayContents, *events: Written) -> None:
    """These events and no others, by number and by content."""
    by_source: dict[str, list[Written]] = {}
    for event in sorted(events, key=lambda event: event.sequence):
        by_source.setdefault(event.source, []).append(event)
    held = contents.held
    told = {source: list(numbers) for source, numbers in held.intervals.items() if numbers}
    numbers = {source: [n for low, high in ranges for n in range(low, high + 1)] for source, ranges in told.items()}
    assert numbers == {source: [event.sequence for event in found] for source, found in by_source.items()}
    digests = {source: digest for source, digest in held.digests.items() if held.intervals[source]}
    assert digests == {source: digest_of(event.hash for event in found) for source, found in by_source.items()}


async def test_a_gateway_is_read_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is new, replaced or deleted since the last look; a database that was begun anew is read anew."""
    monkeypatch.setitem(FEED_QUERY, "limit", "2")
    first = [sale(TILL, number) for number in (1, 2, 3)] + [sale(OTHER, number) for number in (1, 9_000)]
    async with Laboratory(tmp_path) as lab, aiohttp.ClientSession() as client:
        gateway = await lab.start_gateway()
        contents = GatewayContents(lambda: lab.gateway_url)
        await contents.catch_up(client)
        assert_holds(contents)
        await lab.write(first)
        await contents.catch_up(client)
        assert_holds(contents, *first)
        altered = sale(TILL, 2, 1_081)
        url = f"{lab.gateway_url}/{TILL}"
        revision = (await lab.client.get(f"{TILL}.2")).rev  # type: ignore[union-attr]
        body = {name: value for name, value in altered.document.items() if not name.startswith("_")}
        await lab.client.put(f"{TILL}.2", msgspec.json.encode(body), revision)
        async with client.delete(f"{url}.3", params={"rev": first[2].document["_rev"]}) as answer:
            assert answer.ok
        await lab.write([sale(TILL, 4)])
        await contents.catch_up(client)
        async with client.get(f"{url}.2") as answer:
            replaced = document_hash(f"{TILL}.2", await answer.read())
        assert replaced != altered.hash, "an event has one revision, and this is its second"
        assert_holds(contents, first[0], dataclasses.replace(altered, hash=replaced), sale(TILL, 4), *first[3:])
        await gateway.kill()
        with pytest.raises(aiohttp.ClientError):
            await contents.catch_up(client)
        for file in (tmp_path / "gateway").iterdir():
            file.unlink()
        await lab.start_gateway()
        again = [sale(TILL, number) for number in range(1, 12)]
        await lab.write(again)
        await contents.catch_up(client)
        assert_holds(contents, *again)


def test_documents_that_are_no_events() -> None:
    """What is not whole is there with a content that nobody sent; what has no key of an event is passed over."""
    contents = GatewayContents(lambda: "")
    wrong = as_documents(sale(TILL, 1))
    contents.take([*wrong, (f"{TILL}.2", msgspec.Raw(b'{"type":5}')), ("status:taco", msgspec.Raw(b"{}"))])
    assert contents.held.intervals == {TILL: [(1, 2)]}
    strange = document_hash(f"{TILL}.2", b'{"type":5}')
    assert contents.held.digests == {TILL: digest_of([sale(TILL, 1).hash, strange])}
    contents.take([(f"{OTHER}.7", None), (f"{TILL}.2", None)])
    assert_holds(contents, sale(TILL, 1))


def test_numbers_far_away_are_limited(caplog: pytest.LogCaptureFixture) -> None:
    """One that lies far beyond the others costs its own room; without any the gateway is known no more, said once."""
    contents = GatewayContents(lambda: "", far_limit=2)
    near = [sale(TILL, number) for number in (1, 2)]
    far = [sale(TILL, 2**53 - 1), sale(TILL, 5_000)]
    contents.take(as_documents(*near, *far))
    assert_holds(contents, *near, *far)
    middle = [sale(TILL, number) for number in (*range(3, 900), *range(1_500, 2_000))]
    contents.take(as_documents(*middle))
    assert_holds(contents, *near, *far, *middle)
    assert not contents.overfull
    with caplog.at_level(logging.ERROR):
        contents.take(as_documents(sale(OTHER, 5_000), sale(OTHER, 7_000)))
    assert (contents.overfull, len(caplog.records)) == (True, 1)


def test_documents_are_limited() -> None:
    """So many slots and no more; what has no place is not held, and that is known."""
    contents = GatewayContents(lambda: "", event_limit=3, far_limit=0)
    contents.take(as_documents(*(sale(TILL, number) for number in (1, 2, 3, 4))))
    assert contents.overfull
    assert_holds(contents, *(sale(TILL, number) for number in (1, 2, 3)))
