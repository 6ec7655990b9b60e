"""Which document is to blame when the gateway's process ends, or fails; the gateway is given, nothing is on the network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from consumers.sync_stage import document_writer
from fleetwire.errors import GatewayError
from fleetwire.gateway_client import BulkRow, GatewayClient, GatewayDocument
from tests.parm_live.running import until
from tests.sync_stage.test_document_writer import Written


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it pauses between two tries changes nothing but the length of these tests."""
    monkeypatch.setattr(document_writer, "RETRY_CAP_S", 0.02)


class FragileGateway(GatewayClient):
    """Its process ends on each document of ``deadly``; and the connection is cut while ``is_cut`` says so.

    ``keeps``: what it dies of is stored all the same. ``silent``: it does not say when it opened. ``asked`` is called
    at every request, ``broke`` when there is no answer; of the ``hangs_at``-th break nobody hears.
    """

    def __init__(self, *deadly: int, keeps: bool = False, silent: bool = False) -> None:
        self.deadly: Collection[int] = deadly
        self.is_cut: Callable[[Sequence[int]], bool] = lambda _: False
        self.asked: Callable[[], None] = lambda: None
        self.broke: Callable[[], None] = lambda: None
        self.hangs_at = 0
        self.keeps = keeps
        self.silent = silent
        self.life = 1
        self.breaks = 0
        self.requests: list[list[int]] = []
        self.stored: set[int] = set()

    async def opened_us(self) -> int:
        """Which life this is."""
        return 0 if self.silent else self.life

    async def get(self, document_id: str) -> GatewayDocument | None:
        """What was stored, in the revision of every document here."""
        return GatewayDocument(document_id, "1-a", b"") if number(document_id) in self.stored else None

    async def bulk_docs(self, docs: Sequence[bytes], *, new_edits: bool) -> list[BulkRow]:
        """All are stored and answered, or there is no answer."""
        ids = [doc.decode() for doc in docs]
        numbers = [number(one) for one in ids]
        self.requests.append(numbers)
        self.asked()
        dies = not {*numbers}.isdisjoint(self.deadly)
        if not dies or self.keeps:
            self.stored |= {*numbers}
        if dies or self.is_cut(numbers):
            await self._break(dies=dies)
        return [BulkRow(id=one, rev="1-a") for one in ids]

    async def _break(self, *, dies: bool) -> None:
        self.life += dies
        self.breaks += 1
        self.broke()
        if self.breaks == self.hangs_at:
            await asyncio.Event().wait()
        raise GatewayError("the connection is gone", definite=False, cut_off=True)


def number(document_id: str) -> int:
    """The sequence in a document's id."""
    return int(document_id.rpartition(".")[2])


async def test_a_document_that_ends_the_gateway_is_given_up_after_three_counted_deaths(tmp_path: Path) -> None:
    """The first death has many suspects; then it dies alone, behind the others, and they are all stored."""
    gateway = FragileGateway(2)
    written = Written(gateway, tmp_path)
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.refused, "the deadly one is given up")
        written.add(4, 5)
        await until(lambda: len(written.stored) == 4, "the others are stored")
    assert gateway.requests == [[1, 2, 3], [1], [2], [3], [2], [2], [4, 5]]
    assert (written.stored, written.refused) == ([1, 3, 4, 5], [(2, "crash")])


async def test_those_that_come_later_do_not_wait_for_suspects(tmp_path: Path) -> None:
    """Others and suspects take turns, the others first; and what is deadly travels with nobody any more."""
    gateway = FragileGateway(1)
    written = Written(gateway, tmp_path)
    gateway.broke = lambda: written.add(10 * gateway.breaks, 10 * gateway.breaks + 1)
    written.add(1, 2)
    async with written.at_work():
        await until(lambda: len(written.stored) == 9, "the others are stored")
    assert gateway.requests == [[1, 2], [10, 11], [1], [20, 21], [2], [1], [30, 31], [1], [40, 41]]
    assert written.refused == [(1, "crash")]


async def test_a_gateway_that_dies_of_everything_costs_no_event(tmp_path: Path) -> None:
    """While nothing at all is stored, no document is to blame; once it lives again, everything is stored."""
    gateway = FragileGateway(1, 2)
    written = Written(gateway, tmp_path)
    written.add(1, 2)
    async with written.at_work():
        await until(lambda: gateway.life > 8, "it has died more often than is allowed")
        gateway.deadly = ()
        await until(lambda: len(written.stored) == 2, "all is stored")
    assert written.refused == []


@pytest.mark.parametrize("silent", [False, True], ids=["the same process answers", "it does not say who it is"])
async def test_a_connection_that_is_cut_blames_nobody(tmp_path: Path, *, silent: bool) -> None:
    """However often it is cut: the whole batch goes again, in its order, and nothing is tried alone."""
    gateway = FragileGateway(silent=silent)
    gateway.is_cut = lambda _: gateway.breaks < 5
    written = Written(gateway, tmp_path)
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: len(written.stored) == 3, "all is stored")
    assert gateway.requests == [[1, 2, 3]] * 6
    assert written.refused == []


async def test_a_suspect_whose_connection_is_cut_is_not_blamed(tmp_path: Path) -> None:
    """It was in a batch that ended the gateway, and then the network cuts it off alone, more often than is allowed."""
    gateway = FragileGateway(2)
    gateway.is_cut = lambda numbers: numbers == [1] and gateway.requests.count([1]) < 6
    written = Written(gateway, tmp_path)
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: 1 in written.stored and written.refused, "each has its end")
    assert gateway.requests.count([1]) == 6
    assert written.refused == [(2, "crash")]


async def test_what_the_gateway_holds_is_not_given_up(tmp_path: Path) -> None:
    """It stored the document each time before it died: rejected it would be a lie."""
    gateway = FragileGateway(2, keeps=True)
    written = Written(gateway, tmp_path)
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: len(written.stored) == 3, "all is stored")
    assert (gateway.breaks, written.refused) == (4, [])


@pytest.mark.parametrize(
    ("hangs_at", "more"), [pytest.param(2, 2, id="before any death counts"), pytest.param(3, 1, id="after one")]
)
async def test_a_killed_stage_still_knows_its_suspects(tmp_path: Path, hangs_at: int, more: int) -> None:
    """What it was trying when it was killed is tried alone from the start, and what was counted counts."""
    gateway = FragileGateway(2)
    gateway.hangs_at = hangs_at
    first = Written(gateway, tmp_path)
    first.add(1, 2, 3)
    async with first.at_work():
        await until(lambda: gateway.breaks == hangs_at, "it has died of it alone, and nobody hears of it")
    gateway.requests.clear()
    second = Written(gateway, tmp_path)
    gateway.broke = lambda: second.add(5) if gateway.breaks == hangs_at + 1 else None
    second.add(2, 4)
    async with second.at_work():
        await until(lambda: second.refused, "it is given up")
    assert gateway.requests == [[4], [2], [5], *[[2]] * more]
    assert second.refused == [(2, "crash")]


async def test_every_message_that_brings_a_deadly_document_is_given_up_with_it(tmp_path: Path) -> None:
    """The terminal has sent it again meanwhile: one decision for all, and no further death."""
    gateway = FragileGateway(2)
    written = Written(gateway, tmp_path)
    gateway.broke = lambda: written.add(2, 2) if gateway.breaks == 2 else None
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: len(written.refused) == 3, "all three are given up")
    assert gateway.breaks == 4


async def test_what_was_given_up_is_tried_again_when_it_comes_again(tmp_path: Path) -> None:
    """Once its letter is at the broker nothing is remembered: the gateway may be another one by then."""
    gateway = FragileGateway(2)
    written = Written(gateway, tmp_path)
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.given_up, "it is given up")
        written.writer.buried(written.given_up[0])
        gateway.deadly = ()
        written.add(2, 4)
        await until(lambda: len(written.stored) == 4, "all is stored")
    assert gateway.requests[-1] == [2, 4]


async def test_nothing_else_is_under_way_while_a_suspect_is_tried(tmp_path: Path) -> None:
    """Whoever else writes to the gateway is held up meanwhile, and only then."""
    gateway = FragileGateway(2)
    written = Written(gateway, tmp_path)
    quiet: list[bool] = []
    gateway.asked = lambda: quiet.append(written.quiet.locked())
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.refused, "the deadly one is given up")
        written.add(4)
        await until(lambda: 4 in written.stored, "another is stored")
    assert quiet == [request not in ([1, 2, 3], [4]) for request in gateway.requests]
