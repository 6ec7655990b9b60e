"""The final reads: what every view shows when everything has been waited for, beside what it should show.

Events are told by our stages over the control plane, with hashes of what they really show; registers, totals, tills and
orders are asked for over HTTP, as any client gets them, and documents over the gateway's own HTTP. The truth about
registers comes from the ledger at the same moment. Nothing that is answered is trusted: a view that cannot be read, or
whose answer is none, is left out, and the verdict says that it was not read; the others are read all the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from emulator.fleet import Fleet
from fleetwire.documents import DEVICE_CHANNEL, DEVICE_PREFIX, STATUS_CHANNEL, STATUS_PREFIX
from fleetwire.errors import ControlError, FleetError, StorageError
from fleetwire.identity import Key
from fleetwire.witness import ViewRead
from storefleet.altered_documents import AlteredDocuments, ledger_or_nothing
from storefleet.asked_otherwise import (
    Aside,
    Otherwise,
    Sampled,
    device_asides,
    differences,
    row_of,
    till_asides,
    totals_of_otherwise,
    view_asides,
    whole_documents,
)
from storefleet.expected_registers import (
    BOARD_VIEW,
    DEVICE_VIEWS,
    Hardware,
    Session,
    Truth,
    bounded,
    expected_registers,
    hardware_of,
)
from storefleet.expected_tills import ServedOrder, Tills, held_since, judge_tills, sample_keys
from storefleet.feed_positions import Unreached, read_positions
from storefleet.gateway_read import UNREADABLE, StoredTimes, aligned_times, current_documents, read_gateway
from storefleet.lab import Lab
from storefleet.names_borne import NamesBorne
from storefleet.observer import HEAR_OUT_TIMEOUT_S
from storefleet.served import (
    TIMEOUT_S,
    NotServed,
    Places,
    Served,
    read_device,
    read_status,
    read_till,
    registers_of,
    served,
    totals_of,
)
from storefleet.verdict.run_format import FinalRead, Reads
from storefleet.verdict.views import EMULATOR

GATEWAY_VIEW: Final = "gateway"
ORDERS_VIEW: Final = "orders"
TILLS_VIEW: Final = "tills"
SALES_VIEW: Final = "sales"
READ_STAGES: Final = ("poseidon", "views", "olympus_dgs")
"""Stages of ours that are asked for their views over the control plane."""
ASKED_AGAIN_S: Final = 1.0
"""At least."""
ASKED_EVERY_S: Final = 0.1
AGREEING_ANSWERS: Final = 2
"""So many answers in a row must be right, or the same, before a view counts as settled."""
AGREEING_ANSWERS_LIMIT: Final = 5
"""Of a view that now agrees with itself and now does not: one more for every time that it did not."""
SKIPS_LIMIT: Final = 1_000
ASK_EMULATOR_S: Final = 2.0
_READ_TIMEOUT_S: Final = 60.0
_UNREADABLE: Final = (FleetError, *UNREADABLE, TypeError, LookupError)
"""What a step may raise that reads, decodes and judges what somebody else answered."""

_CHANNELS: Final = {BOARD_VIEW: STATUS_CHANNEL, "olympus_dgs": DEVICE_CHANNEL}
"""View -> the channel of documents that are judged with it: those that it shows, or that its stage writes."""
_PREFIXES: Final = {BOARD_VIEW: STATUS_PREFIX, "olympus_dgs": DEVICE_PREFIX}
_ASIDES: Final[dict[str, Callable[..., Awaitable[list[Aside]]]]] = {
    BOARD_VIEW: partial(view_asides, path="store-board"),
    "device_inventory": partial(view_asides, path="device-inventory"),
    "olympus_dgs": device_asides,
}

Item = TypeVar("Item")
_Ask = Callable[[Served], Awaitable[list[msgspec.Raw]]]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asking:
    """One round of final reads in the making."""

    lab: Lab
    ledger: Path
    now_ms: Callable[[], int]
    places: Places
    hardware: dict[str, Hardware]
    views: Collection[str]
    """Those that the run is judged by; nothing else is asked for."""
    until_s: float
    """So long, by time.monotonic, a view that differs, or is not served yet, is asked again."""
    on_waiting: Callable[[str], None]
    reads: Reads = field(default_factory=Reads)
    positions: dict[str, int] = field(default_factory=dict)

    @property
    def sampled(self) -> Sampled:
        """Draws what is asked for once more."""
        return Sampled(self.lab.plan.seed)

    @property
    def places_and_sample(self) -> dict[str, Any]:
        """What the questions of :mod:`storefleet.asked_otherwise` are drawn from."""
        return {"places": self.places, "sampled": self.sampled}

    def endpoint(self, stage: str) -> str:
        """Its HTTP address; raises NotServed."""
        for member in self.lab.control.stage(stage):
            if "http" in member.endpoints:
                return member.endpoints["http"]
        raise NotServed(f"{stage} is not connected to the lab")

    async def has_time_for(self, what: str, *, pause_s: float = ASKED_EVERY_S) -> bool:
        """Pause before asking again; False at once when there is no time left."""
        left_s = self.until_s - time.monotonic()
        if left_s <= 0:
            return False
        self.on_waiting(f"{what}; at most {left_s:.0f} s more")
        await asyncio.sleep(min(pause_s, left_s))
        return True


class _Page(msgspec.Struct):
    """A stage's answer to ``final_read``."""

    views: dict[str, dict[str, Any]]
    positions: dict[str, Any] = {}


async def _guarded(what: str, step: Awaitable[None]) -> None:
    """A step of the final reads; what it cannot read stays unread, and is told."""
    try:
        await step
    except _UNREADABLE as error:
        _log.warning("no final read of %s: %.300s", what, str(error) or type(error).__name__)


async def read_all(
    lab: Lab,
    ledger: Path,
    now_ms: Callable[[], int],
    *,
    views: Collection[str],
    until_s: float,
    on_waiting: Callable[[str], None],
) -> Reads:
    """Read ``views``, and what an observer at the broker has heard; ``now_ms`` is the clock of the run.

    What differs, or is not served yet, gets its deadline: it is asked for again until it is right or it is ``until_s`` by
    time.monotonic, one time for all, and ``on_waiting`` hears what is waited for.
    """
    fleet = Fleet.from_options(**{**lab.plan.fleet, "seed": lab.plan.seed})
    places = Places(
        [(brand.name, region.name) for brand in fleet.brands for region in fleet.regions],
        sorted({plan.terminal.store_id for plan in fleet.terminals()}),
    )
    hardware = await asyncio.to_thread(hardware_of, fleet)
    until_s = max(until_s, time.monotonic() + ASKED_AGAIN_S)
    asking = _Asking(lab, ledger, now_ms, places, hardware, views, until_s, on_waiting)
    await _guarded("poseidon", _read_poseidon(asking))
    await _guarded("views", _read_views(asking))
    await _guarded("olympus_dgs", _read_olympus(asking))
    await _guarded("the gateway", _read_gateway(asking))
    await _guarded("the broker", _read_observer(asking))
    return asking.reads


# -- stage by stage ------------------------------------------------------------------------------------------------------


async def _read_poseidon(asking: _Asking) -> None:
    """Tills and orders first: what was applied since they were asked for is known by the times that the events have."""
    if ORDERS_VIEW not in asking.views:
        return
    try:
        shown = await _tills_shown(asking)
    except _UNREADABLE as error:
        shown = None
        _log.warning("no final read of %s: %.300s", TILLS_VIEW, error)
    asked_at_ms = asking.now_ms()
    views = await _stage_views(asking, "poseidon")
    if ORDERS_VIEW not in views:
        return
    read = await asyncio.to_thread(_events_read, views[ORDERS_VIEW], asked_at_ms)
    read.at_ms = asking.now_ms()
    asking.reads.views[ORDERS_VIEW] = read
    if shown is not None:
        await _guarded(TILLS_VIEW, _judge_shown(asking, shown, read))


@dataclass(slots=True)
class _Shown:
    """Poseidon's tills and orders as a client gets them."""

    asked_at_ms: int
    at_ms: int
    tills: dict[str, object]
    orders: dict[Key, ServedOrder]
    otherwise: list[Otherwise]


async def _tills_shown(asking: _Asking) -> _Shown:
    keys = await asyncio.to_thread(sample_keys, asking.ledger, asking.lab.plan.seed)

    async def ask(poseidon: Served) -> _Shown:
        asked_at_ms = asking.now_ms()
        rows = await poseidon.till_rows(asking.places.stores)
        tills = await asyncio.to_thread(registers_of, rows, read_till)
        asides = await till_asides(poseidon, rows, asking.sampled)
        stores = {aside.path.rpartition("/")[2].rpartition(".")[0] for aside in asides}
        again = await poseidon.till_rows(sorted(stores & set(asking.places.stores)))
        orders = await poseidon.orders(keys)
        return _Shown(asked_at_ms, asking.now_ms(), tills, orders, differences(asides, rows, again))

    while True:
        shown = await _served_by(asking, "poseidon", ask)
        if not shown.otherwise or not await asking.has_time_for("single tills are not what is listed"):
            return shown


async def _judge_shown(asking: _Asking, shown: _Shown, read: FinalRead) -> None:
    def judge() -> Tills:
        held = {source: held_since(one, shown.asked_at_ms) for source, one in (read.events or {}).items()}
        return judge_tills(asking.ledger, held, shown.tills, shown.orders)

    tills = await asyncio.to_thread(judge)
    _enter_otherwise(tills.found, tills.expected, shown.otherwise)
    asking.reads.views[TILLS_VIEW] = FinalRead(
        at_ms=shown.at_ms,
        asked_at_ms=shown.asked_at_ms,
        begun_at_ms=read.begun_at_ms,
        registers=tills.found,
        registers_expected=tills.expected,
    )


async def _read_views(asking: _Asking) -> None:
    if SALES_VIEW not in asking.views:
        return
    told: dict[str, Any] = {}
    await _guarded(SALES_VIEW, _read_sales(asking, told))
    if not told:
        told.update(await _stage_views(asking, "views"))
    for view, path in ((BOARD_VIEW, "store-board"), ("device_inventory", "device-inventory")):
        if view not in asking.views:
            continue
        ask = partial(Served.rows, path=path, places=asking.places)
        await _guarded(view, _read_registers(asking, view, "views", ask, told.get(view, {})))


async def _read_olympus(asking: _Asking) -> None:
    if "olympus_dgs" in asking.views:
        ask = partial(Served.devices, places=asking.places)
        await _read_registers(asking, "olympus_dgs", "olympus_dgs", ask, {})


async def _read_sales(asking: _Asking, told: dict[str, Any]) -> None:
    """Events between two looks at the totals. Trading has stopped, so all that is shown in a row must be the same; totals
    that never settle are judged as they were last. ``told`` gets what the stage says of all its views."""
    ask = partial(Served.rows, path="sales", places=asking.places)
    wanted = AGREEING_ANSWERS
    while True:
        begun_s = time.monotonic()
        rows = await _served_by(asking, "views", ask)
        first = await asyncio.to_thread(totals_of, rows)
        asides = await _served_by(asking, "views", partial(view_asides, path="sales", **asking.places_and_sample))
        asked_at_ms = asking.now_ms()
        told.clear()
        told.update(await _stage_views(asking, "views"))
        shown = [first]
        while len(shown) < wanted:
            later = await _served_by(asking, "views", ask)
            shown.append(await asyncio.to_thread(totals_of, later))
        otherwise = await asyncio.to_thread(differences, asides, rows, later)
        pause_s = max(ASKED_EVERY_S, time.monotonic() - begun_s)
        if all(one == first for one in shown) and not otherwise:
            break
        if not await asking.has_time_for("totals of sales go on changing", pause_s=pause_s):
            break
        wanted = min(wanted + 1, AGREEING_ANSWERS_LIMIT)
    if SALES_VIEW in told:
        read = await asyncio.to_thread(_events_read, told[SALES_VIEW], asked_at_ms)
        read.at_ms = asking.now_ms()
        read.totals = shown[-1] + totals_of_otherwise(otherwise)
        asking.reads.views[SALES_VIEW] = read


async def _served_by(asking: _Asking, stage: str, ask: Callable[[Served], Awaitable[Item]]) -> Item:
    """What a stage answers over HTTP. One that was just started does not serve yet: it is asked again while there is time.

    Raises NotServed.
    """
    timeout_s = TIMEOUT_S
    while True:
        try:
            async with served(asking.endpoint(stage), timeout_s=timeout_s) as one:
                return await ask(one)
        except NotServed:
            if not await asking.has_time_for(f"{stage} does not answer"):
                raise
        timeout_s = min(TIMEOUT_S, max(ASKED_AGAIN_S, asking.until_s - time.monotonic()))


async def _read_registers(asking: _Asking, view: str, stage: str, ask: _Ask, told: Mapping[str, Any]) -> None:
    """A view of registers, asked some times in a row between two looks at the truth about them; one that differs in any
    answer is asked again, and is judged by such an answer in the end.

    What is under way to a view shows in no distance: a PARM that comes back counts a store's terminals one after the other.
    """
    wanted = AGREEING_ANSWERS
    while True:
        begun_s = time.monotonic()
        before = await asyncio.to_thread(_truth, asking)
        asked_at_ms = asking.now_ms()
        answers = [await _served_by(asking, stage, ask)]
        asides = await _served_by(asking, stage, partial(_ASIDES[view], rows=answers[0], **asking.places_and_sample))
        documents = await _documents(asking, view)
        answers += [await _served_by(asking, stage, ask) for _ in range(wanted - 1)]
        at_ms = asking.now_ms()
        after = await asyncio.to_thread(_truth, asking)
        truths = await _bounded(asking, (before, after)) if view in DEVICE_VIEWS else (before, after)
        reads = [await asyncio.to_thread(_read_beside, view, rows, truths) for rows in answers]
        otherwise = await asyncio.to_thread(differences, asides, answers[0], answers[-1])
        if documents is not None:
            if view == BOARD_VIEW:
                path = f"/_changes?channels={STATUS_CHANNEL}"
                whole = await asyncio.to_thread(whole_documents, path, documents, answers[-1], read_status)
                otherwise += await asyncio.to_thread(differences, [whole], answers[0], answers[-1])
            kept = await asyncio.to_thread(_read_beside, view, documents, truths)
            for read in reads:
                _enter_documents(read, kept, _PREFIXES[view])
        for read in reads:
            _enter_otherwise(read.registers or {}, read.registers_expected, otherwise)
        wrong = [read for read in reads if read.registers != read.registers_expected]
        pause_s = max(ASKED_EVERY_S, time.monotonic() - begun_s)
        if not wrong or not await asking.has_time_for(f"registers of {view} differ", pause_s=pause_s):
            break
        if len(wrong) < len(reads):
            wanted = min(wanted + 1, AGREEING_ANSWERS_LIMIT)
    read = [*reads, *wrong][-1]
    read.at_ms, read.asked_at_ms = at_ms, asked_at_ms
    _enter_standing(read, told)
    asking.reads.views[view] = read


async def _documents(asking: _Asking, view: str) -> list[msgspec.Raw] | None:
    """The gateway's documents of which the view is made, or which its stage wrote, as rows of the view; None where they are
    nobody's of this run, or nobody gives them out."""
    if GATEWAY_VIEW not in asking.views or view not in _CHANNELS:
        return None
    try:
        found = await current_documents(asking.lab.gateway_url, _CHANNELS[view])
    except UNREADABLE as error:
        _log.warning("no documents of %s in the gateway: %.300s", view, str(error) or type(error).__name__)
        return None
    return [row_of(document_id, document, _PREFIXES[view]) for document_id, document in found]


def _enter_documents(read: FinalRead, kept: FinalRead, prefix: str) -> None:
    """Documents that are not as they must be, by their ids, beside the view's own registers."""
    found, expected = kept.registers or {}, kept.registers_expected
    for name in found.keys() | expected.keys():
        if found.get(name) != expected.get(name):
            one = prefix + name
            _put(read.registers or {}, one, found.get(name))
            _put(read.registers_expected, one, expected.get(name))
            read.registers_changed_ms[one] = read.registers_changed_ms.get(name, 0)


def _enter_otherwise(found: dict[str, object], expected: dict[str, object], otherwise: Sequence[Otherwise]) -> None:
    """What a client gets who asks in another way, by the path that it asks."""
    for one in otherwise:
        found[one.path], expected[one.path] = one.found, one.expected


def _put(registers: dict[str, object], name: str, value: object) -> None:
    if value is not None:
        registers[name] = value


async def _read_gateway(asking: _Asking) -> None:
    if GATEWAY_VIEW not in asking.views:
        return
    ledger = await asyncio.to_thread(ledger_or_nothing, asking.ledger)
    while True:
        asked_at_ms = asking.now_ms()
        altered, unreached, names = AlteredDocuments(ledger), Unreached(asking.positions), NamesBorne()
        try:
            url, seed = asking.lab.gateway_url, asking.lab.plan.seed
            events = await read_gateway(url, altered.look, unreached.look, names.look, sample_seed=seed)
            break
        except (aiohttp.ClientError, OSError):
            if not await asking.has_time_for("the gateway does not answer"):
                raise
    for view, one in asking.reads.views.items():
        one.unreached = unreached.of(view) if one.events is not None else None
    read = FinalRead(
        at_ms=asking.now_ms(), asked_at_ms=asked_at_ms, events=events, altered=altered.bodies, untrue=names.counts
    )
    asking.reads.views[GATEWAY_VIEW] = read
    await _enter_stored_times(asking, events)


async def _enter_stored_times(asking: _Asking, events: Mapping[str, ViewRead]) -> None:
    """A gateway that is not connected, or goes away meanwhile, is asked again while there is time."""

    async def ask() -> None:
        for answer in await asking.lab.stage_call(GATEWAY_VIEW, "stored_times", timeout_s=_READ_TIMEOUT_S):
            enter_stored_times(events, answer)

    await _told_by(asking, GATEWAY_VIEW, ask, otherwise="the gateway does not say when it stored its documents")


async def _read_observer(asking: _Asking) -> None:
    """After a standstill of the lab its own broker holds much that it has not heard; somebody else's may forbid to ask."""
    observer, asked_at_ms = asking.lab.observer, asking.now_ms()
    if observer is not None and observer.reads:
        timeout_s = max(HEAR_OUT_TIMEOUT_S, asking.until_s - time.monotonic())
        heard_all = await observer.caught_up(timeout_s, "the final read may lack what was published last")
        if not heard_all and not asking.lab.plan.external_broker:
            return
        for view, events in observer.final_read().items():
            asking.reads.views[view] = FinalRead(at_ms=asking.now_ms(), asked_at_ms=asked_at_ms, events=events)


# -- what the control plane tells ----------------------------------------------------------------------------------------


async def _stage_views(asking: _Asking, stage: str) -> dict[str, Any]:
    """What the stage says that its views hold; how far their feeds were is entered into ``positions``.

    A stage that is not connected, or goes away meanwhile, is asked again while there is time; one that refuses, or whose
    answer is none, says nothing.
    """
    views = await _told_by(asking, stage, lambda: _all_pages(asking, stage), otherwise=f"no final read of {stage}")
    return {} if views is None else views


async def _told_by(asking: _Asking, stage: str, ask: Callable[[], Awaitable[Item]], *, otherwise: str) -> Item | None:
    """What a stage tells over the control plane; None, with the warning ``otherwise``, where it tells nothing."""
    while True:
        try:
            return await ask()
        except ControlError as error:
            away = not error.definite or not asking.lab.control.stage(stage)
            if away and await asking.has_time_for(f"{stage} is not connected"):
                continue
            _log.warning("%s: %s", otherwise, error)
        except _UNREADABLE as error:
            _log.warning("%s: %.300s", otherwise, str(error) or type(error).__name__)
        return None


async def _all_pages(asking: _Asking, stage: str) -> dict[str, Any]:
    """Page by page; a view of which not every page comes is left out. Raises ControlError, msgspec.ValidationError."""
    views: dict[str, Any] = {}
    params: dict[str, Any] = {}
    while True:
        (answer,) = await asking.lab.stage_call(stage, "final_read", params, timeout_s=_READ_TIMEOUT_S)
        page = msgspec.convert(answer, _Page)
        begins: dict[str, int] = params.get("following", {})
        following: dict[str, int] = {}
        for view in begins or page.views:
            told = page.views.get(view, {})
            if not _goes_on(told, begins.get(view, 0)):
                _log.warning("no final read of %s: %s does not tell all of it", view, stage)
                views.pop(view, None)
                continue
            if begins:
                views[view]["sources"].update(told["sources"])
            else:
                views[view] = told
            if told.get("following"):
                following[view] = told["following"]
        if not params:
            positions = read_positions({"positions": page.positions})
        if not following:
            asking.positions.update(positions)
            return views
        params = {"following": following}


def _goes_on(told: Mapping[str, Any], begin: int) -> bool:
    """Whether this can be a view's page from ``begin`` on: of several it tells something, and what follows is behind it."""
    following = told.get("following") or 0
    if not begin and not following:
        return bool(told)
    sources = told.get("sources")
    return isinstance(sources, dict) and bool(sources) and (following == 0 or _is_behind(following, begin))


def _is_behind(following: object, begin: int) -> bool:
    return isinstance(following, int) and following > begin


def _events_read(told: Mapping[str, Any], asked_at_ms: int) -> FinalRead:
    read = FinalRead(at_ms=asked_at_ms, asked_at_ms=asked_at_ms)
    read.events = msgspec.convert(told["sources"], dict[str, ViewRead])
    _enter_standing(read, told)
    return read


def _enter_standing(read: FinalRead, told: Mapping[str, Any]) -> None:
    """Since when a view holds what it holds, and what it could not use."""
    begun_at_ms, skips = told.get("begun_at_ms"), told.get("skips")
    read.begun_at_ms = begun_at_ms if isinstance(begun_at_ms, int) else 0
    if isinstance(skips, list):
        read.skips = [
            {name: str(text) for name, text in skip.items()} for skip in skips[:SKIPS_LIMIT] if isinstance(skip, dict)
        ]


# -- beside the truth ----------------------------------------------------------------------------------------------------


def _truth(asking: _Asking) -> Truth | None:
    """What registers must show now; None where the ledger does not say it."""
    try:
        return expected_registers(asking.ledger, asking.hardware)
    except StorageError as error:
        _log.warning("no register can be judged: %s", error)
        return None


async def _bounded(asking: _Asking, truths: Sequence[Truth | None]) -> Sequence[Truth | None]:
    """The truths, and no later session than terminals say that they have begun; asked after everything else, since they go
    on. Where they do not answer, by the ledger alone."""
    sessions: dict[str, Session] = {}
    try:
        for answer in await asking.lab.stage_call(EMULATOR, "sessions", timeout_s=ASK_EMULATOR_S):
            sessions.update(msgspec.convert(answer["sessions"], dict[str, Session]))
    except _UNREADABLE as error:
        _log.info("terminals do not say which session they began last: %.300s", str(error) or type(error).__name__)
    return [None if truth is None else bounded(truth, sessions) for truth in truths]


def _read_beside(view: str, rows: list[msgspec.Raw], truths: Sequence[Truth | None]) -> FinalRead:
    """Raises StorageError."""
    found = registers_of(rows, read_status if view == BOARD_VIEW else read_device)
    read = registers_read(view, found, truths)
    if read is None:
        raise StorageError("the ledger does not say what registers must show")
    return read


def registers_read(view: str, found: dict[str, object], truths: Sequence[Truth | None]) -> FinalRead | None:
    """What a client was shown, beside the truth; None where the truth cannot be told, so that it counts as unread.

    ``truths`` are those before and after the view was asked: a register is right if it equals either, since a terminal
    may come or go in between.
    """
    known = [truth for truth in truths if truth is not None]
    if len(known) < len(truths):
        return None
    read = FinalRead(at_ms=0, registers=found)
    read.registers_expected = expected_of(found, [truth.registers.get(view, {}) for truth in known])
    read.registers_changed_ms = known[0].changed_ms.get(view, {})
    return read


def expected_of(found: Mapping[str, object], truths: Sequence[Mapping[str, list[object]]]) -> dict[str, object]:
    """Of every register the value that was found, if that is acceptable by any of the truths; else the newest truth."""
    expected: dict[str, object] = {}
    for truth in truths:
        for name, acceptable in truth.items():
            if name in expected and expected[name] == found.get(name):
                continue
            expected[name] = found.get(name) if found.get(name) in acceptable else acceptable[0]
    return {name: value for name, value in expected.items() if value is not None}


def enter_stored_times(events: Mapping[str, ViewRead], answer: Any) -> None:
    """When the gateway stored what it holds, beside the events; of a source where they do not fit, nothing.

    Raises msgspec.ValidationError, LookupError or TypeError for what is no answer at all.
    """
    for source, told in msgspec.convert(answer["sources"], dict[str, Any]).items():
        read = events.get(source)
        if read is None:
            continue
        try:
            read.applied_at_ms = aligned_times(read.intervals, msgspec.convert(told, StoredTimes))
        except UNREADABLE as error:
            _log.warning("the gateway does not say when it stored the documents of %s: %.300s", source, error)
