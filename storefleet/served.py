"""What our stages answer over HTTP, as any client gets it: registers by name in plain values, sales row by row.

Nothing that is answered is trusted: a row that cannot be read, or a name that is listed twice, is a register with another
value than the truth's. An endpoint that does not answer, or says more than LIMIT_BYTES, raises NotServed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeVar

import aiohttp
import msgspec
from msgspec import Raw, Struct

from fleetwire import bounded_json
from fleetwire.documents import DeviceDocument
from fleetwire.errors import FleetError
from fleetwire.events import StoreStatus
from fleetwire.identity import Key
from storefleet.expected_tills import ServedOrder

LIMIT_BYTES: Final = 64 * 1024 * 1024
FULL_ROWS: Final = 100_000
"""A stage answers no more rows than that at once: an answer of so many may be cut, and is asked for in parts."""
REQUESTS_AT_ONCE: Final = 8
TIMEOUT_S: Final = 60.0
_NOT_FOUND: Final = frozenset({HTTPStatus.NOT_FOUND})
_REFUSED: Final = range(HTTPStatus.CREATED, 600)

Item = TypeVar("Item")
Total = tuple[str, str, int, int]


class NotServed(FleetError):
    """What a client would not get either."""


class _ViewState(Struct):
    error: str = ""


class _ViewAnswer(Struct):
    state: _ViewState
    rows: list[Raw]


class _SalesRow(Struct):
    store: str
    business_day_date: str
    transactions: int
    cents: int


class _Till(Struct):
    terminal: str
    last_sequence: int
    operator_id: str
    expected_cash_cents: int
    business_day_date: str
    sales_count: int
    gross_cents: int
    voids_count: int
    voided_cents: int


class _Order(Struct):
    key: str
    known: bool
    transaction_type: str
    business_day_date: str
    receipt_number: str
    end_time: str
    training: bool
    net_cents: int
    tax_cents: int
    grand_cents: int
    voided_by: list[str]
    returned_by: list[str]


_decode_answer = bounded_json.Decoder(_ViewAnswer).decode
_decode_rows = bounded_json.Decoder(list[Raw]).decode
_decode_status = bounded_json.Decoder(StoreStatus).decode
_decode_device = bounded_json.Decoder(DeviceDocument).decode
_decode_till = bounded_json.Decoder(_Till).decode
_decode_sales = bounded_json.Decoder(_SalesRow).decode
_decode_order = bounded_json.Decoder(_Order).decode


@dataclass(frozen=True, slots=True)
class Places:
    """Where a fleet is, to ask for it in parts: (brand, region), and stores."""

    parts: Sequence[tuple[str, str]]
    stores: Sequence[str]


class Served:
    """One stage's endpoint."""

    def __init__(self, url: str, client: aiohttp.ClientSession) -> None:
        self._url = url
        self._client = client

    async def rows(self, path: str, places: Places) -> list[Raw]:
        """All rows of a view of the stage ``views``; raises NotServed."""
        rows = await self._view(path, {})
        if len(rows) < FULL_ROWS:
            return rows
        parts = [await self._view(path, {"brand": brand, "region": region}) for brand, region in places.parts]
        if any(len(part) >= FULL_ROWS for part in parts):
            raise NotServed(f"{self._url}/views/{path} has more rows in one part than it shows")
        return [row for part in parts for row in part]

    async def devices(self, places: Places) -> list[Raw]:
        """All devices of olympus_dgs; raises NotServed."""
        rows = self._list(await self._get("/devices", {}))
        if len(rows) < FULL_ROWS:
            return rows
        by_store = await _each(places.stores, lambda store: self._get("/devices", {"store": store}))
        return [row for answer in by_store for row in self._list(answer)]

    async def till_rows(self, stores: Sequence[str]) -> list[Raw]:
        """The tills of these stores, as Poseidon says them; raises NotServed."""
        answers = await _each(stores, lambda store: self._get("/registers", {"store": store}))
        return [row for answer in answers for row in self._list(answer)]

    async def orders(self, keys: Sequence[Key]) -> dict[Key, ServedOrder]:
        """These orders; raises NotServed."""
        answers = await _each(keys, lambda key: self._get(f"/orders/{key}", {}, absent=_NOT_FOUND))
        return {key: _served_order(key, answer) for key, answer in zip(keys, answers, strict=True)}

    async def part(self, path: str, query: dict[str, str]) -> list[Raw]:
        """The rows of a view that a filter selects; none where that is no answer. Raises NotServed for no endpoint."""
        content = await self._get(f"/views/{path}", query, absent=_REFUSED)
        return _rows_or_nothing(lambda: _decode_answer(content).rows)

    async def devices_of(self, store: str) -> list[Raw]:
        """A store's devices; none where that is no answer. Raises NotServed for no endpoint."""
        content = await self._get("/devices", {"store": store}, absent=_REFUSED)
        return _rows_or_nothing(lambda: _decode_rows(content))

    async def single(self, kind: str, name: str) -> list[Raw]:
        """One of ``/registers`` or ``/devices``; none where that is no answer. Raises NotServed for no endpoint."""
        content = await self._get(f"/{kind}/{name}", {}, absent=_REFUSED)
        return [Raw(content)] if content else []

    async def _view(self, path: str, query: dict[str, str]) -> list[Raw]:
        content = await self._get(f"/views/{path}", query)
        try:
            answer = _decode_answer(content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise NotServed(f"{self._url}/views/{path}: {error}") from error
        if answer.state.error:
            raise NotServed(f"{self._url}/views/{path}: {answer.state.error[:300]}")
        return answer.rows

    def _list(self, content: bytes) -> list[Raw]:
        try:
            return _decode_rows(content)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise NotServed(f"{self._url}: {error}") from error

    async def _get(self, path: str, query: dict[str, str], *, absent: Container[int] = ()) -> bytes:
        """The body; empty for a status that is in ``absent``."""
        try:
            async with self._client.get(f"{self._url}{path}", params=query) as answer:
                if answer.status in absent:
                    return b""
                if answer.status != HTTPStatus.OK:
                    raise NotServed(f"{self._url}{path}: status {answer.status}")
                content = bytearray()
                async for chunk in answer.content.iter_any():
                    content += chunk
                    if len(content) > LIMIT_BYTES:
                        raise NotServed(f"{self._url}{path}: more than {LIMIT_BYTES:,} bytes")
                return bytes(content)
        except (aiohttp.ClientError, OSError) as error:  # a timeout is an OSError
            raise NotServed(f"{self._url}{path}: {error or type(error).__name__}") from error


@contextlib.asynccontextmanager
async def served(url: str, *, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Served]:
    """The endpoint, for as long as it takes to ask it, at most ``timeout_s``; raises NotServed."""
    try:
        async with asyncio.timeout(timeout_s), aiohttp.ClientSession() as client:
            yield Served(url, client)
    except TimeoutError as error:
        raise NotServed(f"{url} did not answer all within {timeout_s:g} s") from error


async def _each(items: Sequence[Item], ask: Callable[[Item], Awaitable[bytes]]) -> list[bytes]:
    """The answers in the order of the items; a few are under way at once."""
    answers: dict[int, bytes] = {}
    waiting = iter(enumerate(items))

    async def work() -> None:
        for place, item in waiting:
            answers[place] = await ask(item)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(REQUESTS_AT_ONCE):
                group.create_task(work())
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [answers[place] for place in range(len(items))]


def _rows_or_nothing(decode: Callable[[], list[Raw]]) -> list[Raw]:
    try:
        return decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return []


def registers_of(rows: Iterable[Raw], read: Callable[[Raw], tuple[str, object]]) -> dict[str, object]:
    """Registers by name; of one that is listed twice, both values, and of a row that cannot be read, what it says."""
    result: dict[str, object] = {}
    twice: dict[str, list[object]] = {}
    for place, row in enumerate(rows):
        try:
            name, value = read(row)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            name, value = f"row {place}", bytes(row)[:300].decode(errors="replace")
        if name in result:
            twice.setdefault(name, ["listed more than once", result[name]]).append(value)
        else:
            result[name] = value
    return {**result, **twice}


def read_status(row: Raw) -> tuple[str, object]:
    """A row of the store board."""
    status = _decode_status(row)
    store = f"{status.brand}.{status.region}.{status.store}"
    return store, [status.status, status.terminals_online, status.terminals_total]


def read_device(row: Raw) -> tuple[str, object]:
    """A row of the device inventory, or of olympus_dgs: all of it but its channels."""
    device = _decode_device(row)
    values: dict[str, object] = msgspec.structs.asdict(device)
    del values["channels"]
    return str(values.pop("terminal")), list(values.values())


def totals_of(rows: Iterable[Raw]) -> list[Total]:
    """Totals by store and day; of a day that is listed again, each further row is a total that nobody has: whoever adds up
    what is listed, and whoever takes the first, must get the same."""
    result: dict[tuple[str, str], tuple[int, int]] = {}
    for place, row in enumerate(rows):
        try:
            one = _decode_sales(row)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            result[f"row {place}", bytes(row)[:100].decode(errors="replace")] = (1, 0)
            continue
        name = one.store, one.business_day_date
        if name in result:
            name = one.store, f"{one.business_day_date} listed again in row {place}"
        result[name] = (one.transactions, one.cents)
    return [(*name, *total) for name, total in result.items()]


def read_till(row: Raw) -> tuple[str, object]:
    """A row of Poseidon's registers."""
    name, *values = msgspec.structs.astuple(_decode_till(row))
    return str(name), values


def _served_order(key: Key, content: bytes) -> ServedOrder:
    if not content:
        return ServedOrder(None, [], [])
    try:
        order = _decode_order(content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ServedOrder(None, ["unreadable"], [])
    fields: tuple[Any, ...] = msgspec.structs.astuple(order)
    name, known, kind, day, number, end_time, training, net, tax, grand, *_ = fields
    receipt = (kind, day, number, end_time, int(training), net, tax, grand) if known and name == str(key) else None
    return ServedOrder(receipt, order.voided_by, order.returned_by)
