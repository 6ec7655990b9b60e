"""The final reads: what every view shows when everything has been waited for, beside what it should show.

Events are told by our stages over the control plane, with hashes of what they really show; registers, totals, tills and
orders are asked for over HTTP, as any client gets them, and documents over the gateway's own HTTP. The truth about
registers comes from the ledger at the same moment. A view that cannot be read is left out, and the verdict says that it
was not read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec

from emulator.fleet import Fleet
from fleetwire.errors import ControlError, FleetError, StorageError
from fleetwire.identity import Key
from fleetwire.witness import ViewRead
from storefleet.altered_documents import AlteredDocuments, ledger_or_nothing
from storefleet.expected_registers import BOARD_VIEW, Hardware, Truth, expected_registers, hardware_of
from storefleet.expected_tills import ServedOrder, held_since, judge_tills, sample_keys
from storefleet.feed_positions import Unreached, read_positions
from storefleet.gateway_read import StoredTimes, aligned_times, read_gateway
from storefleet.lab import Lab
from storefleet.served import (
    NotServed,
    Places,
    Served,
    Total,
    read_device,
    read_status,
    registers_of,
    served,
    totals_of,
)
from storefleet.verdict.run_format import FinalRead, Reads

GATEWAY_VIEW: Final = "gateway"
ORDERS_VIEW: Final = "orders"
TILLS_VIEW: Final = "tills"
SALES_VIEW: Final = "sales"
READ_STAGES: Final = ("poseidon", "views", "olympus_dgs")
"""Stages of ours that are asked for their views over the control plane."""
ASKED_AGAIN_S: Final = 1.0
"""At least."""
ASKED_EVERY_S: Final = 0.1
SKIPS_LIMIT: Final = 1_000
_READ_TIMEOUT_S: Final = 60.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Asking:
    """One round of final reads in the making."""

    lab: Lab
    ledger: Path
    now_ms: Callable[[], int]
    places: Places
    hardware: dict[str, Hardware]
    until_s: float
    """So long, by time.monotonic, a view of registers that differs is asked again."""
    on_waiting: Callable[[str], None]
    reads: Reads = field(default_factory=Reads)
    positions: dict[str, int] = field(default_factory=dict)

    def is_ours(self, stage: str) -> bool:
        """Whether the stage is here and our own."""
        return stage in self.lab.plan.stages and stage not in self.lab.plan.commands

    def endpoint(self, stage: str) -> str:
        """Its HTTP address; raises NotServed."""
        for member in self.lab.control.stage(stage):
            if "http" in member.endpoints:
                return member.endpoints["http"]
        raise NotServed(f"{stage} is not connected to the lab")


async def read_all(
    lab: Lab, ledger: Path, now_ms: Callable[[], int], *, until_s: float, on_waiting: Callable[[str], None]
) -> Reads:
    """Read every view that is present; ``now_ms`` is the clock of the run.

    Registers that differ get their deadline: they are asked for again until they are right or it is ``until_s`` by
    time.monotonic, and ``on_waiting`` hears what is waited for.
    """
    fleet = Fleet.from_options(**{**lab.plan.fleet, "seed": lab.plan.seed})
    places = Places(
        [(brand.name, region.name) for brand in fleet.brands for region in fleet.regions],
        sorted({plan.terminal.store_id for plan in fleet.terminals()}),
    )
    hardware = await asyncio.to_thread(hardware_of, fleet)
    until_s = max(until_s, time.monotonic() + ASKED_AGAIN_S)
    asking = _Asking(lab, ledger, now_ms, places, hardware, until_s, on_waiting)
    await _read_poseidon(asking)
    await _read_views(asking)
    await _read_olympus(asking)
    await _read_gateway(asking)
    if lab.observer is not None:
        asked_at_ms = now_ms()
        for view, events in lab.observer.final_read().items():
            asking.reads.views[view] = FinalRead(at_ms=now_ms(), asked_at_ms=asked_at_ms, events=events)
    return asking.reads


# -- stage by stage ------------------------------------------------------------------------------------------------------


async def _read_poseidon(asking: _Asking) -> None:
    """Tills and orders first: what was applied since they were asked for is known by the times that the events have."""
    if not asking.is_ours("poseidon"):
        return
    shown = await _tills_shown(asking)
    asked_at_ms = asking.now_ms()
    views = await _stage_views(asking, "poseidon")
    if ORDERS_VIEW not in views:
        return
    read = _events_read(views[ORDERS_VIEW], asked_at_ms)
    read.at_ms = asking.now_ms()
    asking.reads.views[ORDERS_VIEW] = read
    if shown is not None:
        await _judge_shown(asking, shown, read)


@dataclass(slots=True)
class _Shown:
    """Poseidon's tills and orders as a client gets them."""

    asked_at_ms: int
    at_ms: int
    tills: dict[str, object]
    orders: dict[Key, ServedOrder]


async def _tills_shown(asking: _Asking) -> _Shown | None:
    asked_at_ms = asking.now_ms()
    try:
        keys = await asyncio.to_thread(sample_keys, asking.ledger, asking.lab.plan.seed)
        async with served(asking.endpoint("poseidon")) as poseidon:
            tills = await poseidon.tills(asking.places)
            orders = await poseidon.orders(keys)
    except FleetError as error:
        _log.warning("no final read of %s: %s", TILLS_VIEW, error)
        return None
    return _Shown(asked_at_ms, asking.now_ms(), tills, orders)


async def _judge_shown(asking: _Asking, shown: _Shown, read: FinalRead) -> None:
    held = {source: held_since(one, shown.asked_at_ms) for source, one in (read.events or {}).items()}
    try:
        tills = await asyncio.to_thread(judge_tills, asking.ledger, held, shown.tills, shown.orders)
    except StorageError as error:
        _log.warning("no till can be judged: %s", error)
        return
    asking.reads.views[TILLS_VIEW] = FinalRead(
        at_ms=shown.at_ms,
        asked_at_ms=shown.asked_at_ms,
        begun_at_ms=read.begun_at_ms,
        registers=tills.found,
        registers_expected=tills.expected,
    )


async def _read_views(asking: _Asking) -> None:
    if not asking.is_ours("views"):
        return
    before = await _rows(asking, "views", lambda one: one.rows("sales", asking.places))
    asked_at_ms = asking.now_ms()
    views = await _stage_views(asking, "views")
    after = await _rows(asking, "views", lambda one: one.rows("sales", asking.places))
    if SALES_VIEW in views and before is not None and after is not None:
        read = _events_read(views[SALES_VIEW], asked_at_ms)
        read.at_ms = asking.now_ms()
        # Totals that go on growing while they are read are of no moment: then the view's own word of that moment counts.
        read.totals = totals_of(after) if before == after else _told_totals(views[SALES_VIEW])
        asking.reads.views[SALES_VIEW] = read
    await _read_registers(asking, "store_board", "views", lambda one: one.rows("store-board", asking.places), views)
    await _read_registers(
        asking, "device_inventory", "views", lambda one: one.rows("device-inventory", asking.places), views
    )


async def _read_olympus(asking: _Asking) -> None:
    if asking.is_ours("olympus_dgs"):
        await _read_registers(asking, "olympus_dgs", "olympus_dgs", lambda one: one.devices(asking.places), {})


async def _rows(
    asking: _Asking, stage: str, ask: Callable[[Served], Awaitable[list[msgspec.Raw]]]
) -> list[msgspec.Raw] | None:
    try:
        async with served(asking.endpoint(stage)) as one:
            return await ask(one)
    except NotServed as error:
        _log.warning("no final read of %s: %s", stage, error)
        return None


async def _read_registers(
    asking: _Asking,
    view: str,
    stage: str,
    ask: Callable[[Served], Awaitable[list[msgspec.Raw]]],
    told: Mapping[str, Any],
) -> None:
    """A view of registers, between two looks at the truth about them; one that differs is asked again.

    What is under way to a view shows in no distance: a PARM that comes back counts a store's terminals one after the other.
    """
    while True:
        before = _truth(asking)
        asked_at_ms = asking.now_ms()
        rows = await _rows(asking, stage, ask)
        if rows is None:
            return
        found = registers_of(rows, read_status if view == BOARD_VIEW else read_device)
        read = registers_read(view, found, (before, _truth(asking)))
        if read is None:
            return
        left_s = asking.until_s - time.monotonic()
        if read.registers == read.registers_expected or left_s <= 0:
            break
        asking.on_waiting(f"registers of {view} differ; at most {left_s:.0f} s more")
        await asyncio.sleep(ASKED_EVERY_S)
    read.at_ms, read.asked_at_ms = asking.now_ms(), asked_at_ms
    _enter_standing(read, told.get(view, {}))
    asking.reads.views[view] = read


async def _read_gateway(asking: _Asking) -> None:
    if not asking.is_ours(GATEWAY_VIEW):
        return
    lab, asked_at_ms = asking.lab, asking.now_ms()
    try:
        altered = AlteredDocuments(await asyncio.to_thread(ledger_or_nothing, asking.ledger))
        unreached = Unreached(asking.positions)
        events = await read_gateway(lab.gateway_url, altered.look, unreached.look)
    except (aiohttp.ClientError, OSError, msgspec.DecodeError) as error:
        _log.warning("no final read of the gateway: %s", error)
        return
    for view, one in asking.reads.views.items():
        one.unreached = unreached.of(view) if one.events is not None else None
    read = FinalRead(at_ms=asking.now_ms(), asked_at_ms=asked_at_ms, events=events, altered=altered.bodies)
    asking.reads.views[GATEWAY_VIEW] = read
    await _enter_stored_times(asking, events)


async def _enter_stored_times(asking: _Asking, events: Mapping[str, ViewRead]) -> None:
    try:
        for answer in await asking.lab.stage_call(GATEWAY_VIEW, "stored_times", timeout_s=_READ_TIMEOUT_S):
            enter_stored_times(events, answer)
    except (ControlError, msgspec.ValidationError) as error:
        _log.warning("the gateway does not say when it stored its documents: %s", error)


# -- what the control plane tells ----------------------------------------------------------------------------------------


async def _stage_views(asking: _Asking, stage: str) -> dict[str, Any]:
    """What the stage says that its views hold, page by page; how far their feeds were is entered into ``positions``."""
    views: dict[str, Any] = {}
    params: dict[str, Any] = {}
    try:
        while True:
            (answer,) = await asking.lab.stage_call(stage, "final_read", params, timeout_s=_READ_TIMEOUT_S)
            for name, told in answer["views"].items():
                if name in views:
                    views[name]["sources"].update(told["sources"])
                else:
                    views[name] = told
            if not params:
                asking.positions.update(read_positions(answer))
            following = {name: told["following"] for name, told in answer["views"].items() if told.get("following")}
            if not following:
                return views
            params = {"following": following}
    except (ControlError, KeyError, TypeError, AttributeError, ValueError) as error:
        _log.warning("no final read of %s: %s", stage, error)
        return {}


def _events_read(told: Mapping[str, Any], asked_at_ms: int) -> FinalRead:
    read = FinalRead(at_ms=asked_at_ms, asked_at_ms=asked_at_ms)
    read.events = msgspec.convert(told["sources"], dict[str, ViewRead])
    _enter_standing(read, told)
    return read


def _told_totals(told: Mapping[str, Any]) -> list[Total]:
    rows = ((name.rpartition(" "), count, cents) for name, (count, cents) in told["totals"].items())
    return [(store, day, count, cents) for (store, _, day), count, cents in rows]


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
            expected[name] = found[name] if found.get(name) in acceptable else acceptable[0]
    return expected


def enter_stored_times(events: Mapping[str, ViewRead], answer: Any) -> None:
    """When the gateway stored what it holds, beside the events; of a source where they do not fit, nothing."""
    for source, told in msgspec.convert(answer["sources"], dict[str, StoredTimes]).items():
        read = events.get(source)
        if read is not None:
            read.applied_at_ms = aligned_times(read.intervals, told)
