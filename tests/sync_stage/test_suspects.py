"""Which document is to blame when the gateway's process ends, or fails; the gateway is given, nothing is on the network."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from consumers.sync_stage import document_writer, suspects
from consumers.sync_stage.suspects import FAILURES_ALLOWED, Suspects
from fleetwire.attempt_record import FILE_NAME, AttemptRecord
from fleetwire.errors import GatewayError
from fleetwire.gateway_client import BulkRow, GatewayClient, GatewayDocument
from tests.parm_live.running import until
from tests.sync_stage.test_document_writer import ScriptedGateway, Written, prepared


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it pauses between two tries changes nothing but the length of these tests."""
    monkeypatch.setattr(document_writer, "RETRY_CAP_S", 0.02)


class FragileGateway(GatewayClient):
    """Its process ends on each document of ``deadly``; and the connection is cut while ``is_cut`` says so.

    ``keeps``: what it dies of is stored all the same, in ``revision``. ``silent``: it does not say when it opened.
    ``asked`` is called at every request, ``broke`` when there is no answer; of the ``hangs_at``-th break nobody hears.
    On documents of ``mute`` it is silent until the timeout, while it ``is_gone`` nobody answers anything, and
    ``get_fails`` is its answer to whoever reads.
    """

    def __init__(self, *deadly: int, keeps: bool = False, silent: bool = False) -> None:
        self.deadly: Collection[int] = deadly
        self.is_cut: Callable[[Sequence[int]], bool] = lambda _: False
        self.asked: Callable[[], None] = lambda: None
        self.broke: Callable[[], None] = lambda: None
        self.hangs_at = 0
        self.mute: Collection[int] = ()
        self.is_gone = False
        self.questions = 0
        self.get_fails: GatewayError | None = None
        self.revision = "1-a"
        self.keeps = keeps
        self.silent = silent
        self.life = 1
        self.breaks = 0
        self.requests: list[list[int]] = []
        self.stored: set[int] = set()

    async def opened_us(self) -> int:
        """Which life this is."""
        self.questions += 1
        if self.is_gone:
            raise GatewayError("nobody answers", definite=False)
        return 0 if self.silent else self.life

    async def get(self, document_id: str) -> GatewayDocument | None:
        """What was stored, in the same revision all of it."""
        if self.get_fails is not None:
            raise self.get_fails
        return GatewayDocument(document_id, self.revision, b"") if number(document_id) in self.stored else None

    async def bulk_docs(self, docs: Sequence[bytes], *, new_edits: bool) -> list[BulkRow]:
        """All are stored and answered, or there is no answer."""
        ids = [doc.decode() for doc in docs]
        numbers = [number(one) for one in ids]
        self.requests.append(numbers)
        self.asked()
        if not {*numbers}.isdisjoint(self.mute):
            self.broke()
            raise GatewayError("no answer within the timeout", definite=False)
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
    gateway.broke = lambda: written.add(4) if gateway.breaks == 3 else None
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.refused, "the deadly one is given up")
        written.add(5, 6)
        await until(lambda: len(written.stored) == 5, "the others are stored")
    assert gateway.requests == [[1, 2, 3], [1], [2], [3], [2], [4], [2], [5, 6]]
    assert (written.stored, written.refused) == ([1, 3, 4, 5, 6], [(2, "crash")])


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


async def test_a_gateway_that_is_well_for_one_request_only_costs_no_event(tmp_path: Path) -> None:
    """Each failure that counts needs a store of its own behind the last: one store does not make two failures count."""
    gateway = FragileGateway()
    written = Written(gateway, tmp_path)
    innocent = range(1, 7)

    def dies_but_once() -> None:
        gateway.deadly = () if len(gateway.requests) == 2 + len(innocent) else innocent

    gateway.asked = dies_but_once
    written.add(*innocent)
    async with written.at_work():
        await until(lambda: gateway.breaks > 5 * len(innocent), "it has died of each more often than is allowed")
        assert (len(written.stored), written.refused) == (1, [])
        gateway.asked = lambda: None
        gateway.deadly = ()
        await until(lambda: len(written.stored) == len(innocent), "all is stored")
    assert written.refused == []


def test_after_a_restart_a_failure_counts_only_behind_a_store(tmp_path: Path) -> None:
    """What the stage remembers is no evidence that the gateway of now can store anything."""
    attempts = AttemptRecord(tmp_path / FILE_NAME)
    failed = Written.task(2)
    earlier = Suspects(attempts)
    earlier.extend([failed])
    assert earlier.count_failure(earlier.take().prepared) == 1
    earlier.stored([prepared(3)])
    now = Suspects(attempts)
    assert [now.count_failure(failed.prepared) for _ in range(FAILURES_ALLOWED)] == [1] * FAILURES_ALLOWED
    now.stored([prepared(4)])
    assert [now.count_failure(failed.prepared) for _ in range(FAILURES_ALLOWED)] == [2] * FAILURES_ALLOWED
    attempts.close()


async def test_a_document_on_which_the_gateway_is_silent_holds_up_no_other_and_is_tried_for_ever(
    tmp_path: Path,
) -> None:
    """Silence blames nobody, however often and whatever is stored in between; but it is tried alone from then on."""
    gateway = FragileGateway()
    gateway.mute = {2}
    written = Written(gateway, tmp_path)
    gateway.broke = lambda: written.add(10 + len(gateway.requests))
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: gateway.requests.count([2]) > 2 * FAILURES_ALLOWED, "it was tried again and again")
        assert {1, 3, 11} <= {*written.stored}
        assert written.refused == []
        gateway.mute = ()
        await until(lambda: 2 in written.stored, "it is stored as well")
    assert all(2 not in request or request == [2] for request in gateway.requests[1:])
    assert written.refused == []


async def test_a_network_that_is_silent_makes_one_batch_suspect(tmp_path: Path) -> None:
    """Nothing more is written before somebody answers; those of the batch are tried alone then, behind the others."""
    gateway = FragileGateway()
    gateway.mute = {1}
    written = Written(gateway, tmp_path)

    def vanish() -> None:
        gateway.is_gone = True
        gateway.mute = ()

    gateway.broke = vanish
    written.add(1, 2)
    async with written.at_work():
        await until(lambda: gateway.questions > 5, "it was asked whether it is there")
        written.add(3, 4)
        asked = gateway.questions
        await until(lambda: gateway.questions > asked + 5, "it was asked again")
        assert gateway.requests == [[1, 2]]
        gateway.is_gone = False
        await until(lambda: len(written.stored) == 4, "all is stored")
    assert gateway.requests == [[1, 2], [3, 4], [1], [2]]


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
    gateway.broke = lambda: written.add(4, 2) if gateway.breaks == 3 else None
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: len(written.stored) == 5, "all is stored, also the copy of it")
    assert (gateway.breaks, written.refused) == (4, [])


async def test_a_key_that_the_gateway_holds_with_another_content_is_a_conflict(tmp_path: Path) -> None:
    """Refused as one, so that the terminal does not hear "rejected" for a key that is applied."""
    gateway = FragileGateway(2, keeps=True)
    gateway.revision = "1-b"
    written = Written(gateway, tmp_path)
    gateway.broke = lambda: written.add(4) if gateway.breaks == 3 else None
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.refused, "it is refused")
    assert written.refused == [(2, "key_conflict")]
    assert written.writer.counters.conflicts == 1


@pytest.mark.parametrize("status", [403, 500])
async def test_a_gateway_that_does_not_let_us_read_does_not_keep_a_deadly_document_alive(
    tmp_path: Path, status: int
) -> None:
    """It answers, and will say nothing else later: the decision is taken without its word."""
    gateway = FragileGateway(2)
    gateway.get_fails = GatewayError("not for you", status=status)
    written = Written(gateway, tmp_path)
    gateway.broke = lambda: written.add(3 + gateway.breaks)
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.refused, "it is given up")
    assert (gateway.breaks, written.refused) == (4, [(2, "crash")])


@pytest.mark.parametrize("status", [None, 502, 503])
async def test_nothing_is_given_up_while_nobody_can_say_whether_it_is_stored(
    tmp_path: Path, status: int | None
) -> None:
    """A gateway that is away or not ready will say it later."""
    gateway = FragileGateway(2)
    gateway.get_fails = GatewayError("not now", status=status)
    written = Written(gateway, tmp_path)
    gateway.broke = lambda: written.add(3 + gateway.breaks)
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: gateway.breaks > 2 * FAILURES_ALLOWED, "it has died more often than is allowed")
        assert written.refused == []
        gateway.get_fails = None
        await until(lambda: written.refused, "it is given up")


@pytest.mark.parametrize(
    ("hangs_at", "requests"),
    [
        pytest.param(2, [[4], [2], [30], [2], [40], [2]], id="before any death counts"),
        pytest.param(3, [[4], [2], [40], [2]], id="after one"),
    ],
)
async def test_a_killed_stage_still_knows_its_suspects(
    tmp_path: Path, hangs_at: int, requests: list[list[int]]
) -> None:
    """What it was trying when it was killed is tried alone from the start, and what was counted counts."""
    gateway = FragileGateway(2)
    gateway.hangs_at = hangs_at
    first = Written(gateway, tmp_path)
    first.add(1, 2, 3)
    async with first.at_work():
        await until(lambda: gateway.breaks == hangs_at, "it has died of it alone, and nobody hears of it")
    gateway.requests.clear()
    second = Written(gateway, tmp_path)
    gateway.broke = lambda: second.add(10 * gateway.breaks) if gateway.breaks < 5 else None
    second.add(2, 4)
    async with second.at_work():
        await until(lambda: second.refused, "it is given up")
    assert gateway.requests == requests
    assert second.refused == [(2, "crash")]


async def test_every_message_that_brings_a_deadly_document_is_given_up_with_it(tmp_path: Path) -> None:
    """The terminal has sent it again meanwhile: one decision for all, and no further death."""
    gateway = FragileGateway(2)
    written = Written(gateway, tmp_path)
    gateway.broke = lambda: written.add(*{2: (2, 2), 3: (4,)}.get(gateway.breaks, ()))
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: len(written.refused) == 3, "all three are given up")
    assert gateway.breaks == 4


async def test_a_copy_that_waits_among_the_others_becomes_suspect_with_its_document(tmp_path: Path) -> None:
    """It came while the batch was on its way, and would take the next batch with it into death."""
    gateway = FragileGateway(2)
    written = Written(gateway, tmp_path)
    arriving = {1: (2, 4), 5: (5,)}
    gateway.asked = lambda: written.add(*arriving.get(len(gateway.requests), ()))
    gateway.broke = lambda: written.add(6) if gateway.breaks == 3 else None
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: len(written.refused) == 2, "both are given up")
    assert all(2 not in request or request == [2] for request in gateway.requests[1:])
    assert (gateway.breaks, written.refused) == (4, [(2, "crash")] * 2)


def test_another_content_under_the_same_key_is_another_document(tmp_path: Path) -> None:
    """It is neither suspected nor given up with the one that failed."""
    attempts = AttemptRecord(tmp_path / FILE_NAME)
    suspected = Suspects(attempts)
    one, other = Written.task(2), Written.task(2, revision="1-b")
    suspected.extend([one, one])
    assert (one.prepared in suspected, other.prepared in suspected) == (True, False)
    suspected.extend([other])
    suspected.count_failure(one.prepared)
    suspected.stored([prepared(7)])
    assert (suspected.count_failure(one.prepared), suspected.count_failure(other.prepared)) == (2, 1)
    assert suspected.take_all(one.prepared) == [one, one]
    assert (len(suspected), suspected.take()) == (1, other)
    attempts.close()


def test_what_never_comes_again_is_not_remembered_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Of what earlier runs suspected the newest are kept, in memory and in the record, and that is said."""
    attempts = AttemptRecord(tmp_path / FILE_NAME)
    earlier = Suspects(attempts)
    earlier.extend(Written.task(sequence) for sequence in (3, 1, 2))
    for _ in range(3):
        earlier.take()
    monkeypatch.setattr(suspects, "REMEMBERED_LIMIT", 2)
    now = Suspects(attempts)
    assert [prepared(sequence) in now for sequence in (1, 2, 3)] == [True, True, False]
    assert "1 suspects of earlier runs" in caplog.text
    monkeypatch.undo()
    assert prepared(3) not in Suspects(attempts)
    attempts.close()


async def test_one_document_that_is_refused_for_now_does_not_slow_down_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a request of which nothing is settled is followed by a pause."""
    monkeypatch.setattr(document_writer, "RETRY_BASE_S", 3_600)
    monkeypatch.setattr(document_writer, "RETRY_CAP_S", 3_600)
    monkeypatch.setattr(random, "uniform", lambda _, longest: longest)
    gateway = ScriptedGateway({"2": 403})
    written = Written(gateway, tmp_path)
    written.add(1, 2)
    async with written.at_work():
        await until(lambda: len(written.stored) == 2, "all is stored")
    assert gateway.requests == [["1", "2"], ["2"]]


async def test_what_was_given_up_is_tried_again_when_it_comes_again(tmp_path: Path) -> None:
    """Once its letter is at the broker nothing is remembered: the gateway may be another one by then."""
    gateway = FragileGateway(2)
    written = Written(gateway, tmp_path)
    gateway.broke = lambda: written.add(4) if gateway.breaks == 3 else None
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.given_up, "it is given up")
        written.writer.buried(written.given_up[0])
        gateway.deadly = ()
        written.add(2, 5)
        await until(lambda: len(written.stored) == 5, "all is stored")
    assert gateway.requests[-1] == [2, 5]


async def test_nothing_else_is_under_way_while_a_suspect_is_tried(tmp_path: Path) -> None:
    """Whoever else writes to the gateway is held up meanwhile, and only then."""
    gateway = FragileGateway(2)
    written = Written(gateway, tmp_path)
    quiet: list[bool] = []
    gateway.asked = lambda: quiet.append(written.quiet.locked())
    gateway.broke = lambda: written.add(4) if gateway.breaks == 3 else None
    written.add(1, 2, 3)
    async with written.at_work():
        await until(lambda: written.refused, "the deadly one is given up")
    assert [4] in gateway.requests
    assert quiet == [request not in ([1, 2, 3], [4]) for request in gateway.requests]
