"""The same things asked for in other ways: by filter, and one by one. What a client gets so must be what the whole list
says.

A list is judged beside the ledger; these answers are held against the list, whole rows with every field. Each is asked
between two answers of the list: a row is right if either list has it, and missing if both have it, so that what changes
meanwhile costs nothing. The sample is drawn from the run's seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Raw

from fleetwire import bounded_json
from storefleet.served import FULL_ROWS, Places, Served, Total, registers_of

SAMPLE: Final = 20
"""So many of each kind are asked for at most."""
EXAMPLES: Final = 3
ReadRow = Callable[[Raw], tuple[str, object]]
_encode = msgspec.json.Encoder(order="sorted").encode


class Aside(NamedTuple):
    """One answer: ``wants`` says of a store's or terminal's id whether the list's rows of it must be in there."""

    path: str
    wants: Callable[[str], bool]
    rows: list[Raw]


class Otherwise(NamedTuple):
    """What an answer has beyond the list, and what it lacks; the first few rows as JSON."""

    path: str
    found: list[str]
    expected: list[str]


class Sampled:
    """Draws the same again and again."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, items: Iterable[str]) -> list[str]:
        """At most SAMPLE of them."""
        known = sorted(set(items))
        return random.Random(self._seed).sample(known, min(SAMPLE, len(known)))


async def view_asides(
    one: Served, *, path: str, places: Places, sampled: Sampled, rows: Iterable[Raw] = ()
) -> list[Aside]:
    """A view by brand, by region, and by both; of ``rows`` it is not drawn. Raises NotServed."""
    del rows
    parts = {f"{brand}.{region}": {"brand": brand, "region": region} for brand, region in places.parts}
    filters = {f"{brand}.": {"brand": brand} for brand, _ in places.parts}
    filters |= {f".{region}": {"region": region} for _, region in places.parts}
    filters |= {name: parts[name] for name in sampled.of(parts)[: max(0, SAMPLE - len(filters))]}
    answers = [(query, await one.part(path, query)) for query in filters.values()]
    return [
        Aside(f"/views/{path}?{_query(query)}", _place_is(query), answer)
        for query, answer in answers
        if len(answer) < FULL_ROWS
    ]


async def device_asides(one: Served, *, rows: Iterable[Raw], places: Places, sampled: Sampled) -> list[Aside]:
    """Devices of a store, and single ones; raises NotServed."""
    result = [
        Aside(f"/devices?store={store}", _is_in(store), await one.devices_of(store))
        for store in sampled.of(places.stores)
    ]
    return result + [
        Aside(f"/devices/{name}", _is(name), await one.single("devices", name)) for name in sampled.of(_names(rows))
    ]


async def till_asides(one: Served, rows: Iterable[Raw], sampled: Sampled) -> list[Aside]:
    """Single registers; raises NotServed."""
    names = sampled.of(_names(rows))
    return [Aside(f"/registers/{name}", _is(name), await one.single("registers", name)) for name in names]


def differences(asides: Iterable[Aside], before: Iterable[Raw], after: Iterable[Raw]) -> list[Otherwise]:
    """Every answer that is not what both lists say."""
    by_text = _Texts().of
    lists = [by_text(rows) for rows in (before, after)]
    either, both = lists[0] | lists[1], lists[0].keys() & lists[1].keys()
    result = []
    for aside in asides:
        shown = by_text(aside.rows)
        found = sorted(shown.keys() - {text for text, name in either.items() if aside.wants(name)})
        lacking = sorted(text for text in both - shown.keys() if aside.wants(either[text]))
        if found or lacking:
            result.append(Otherwise(aside.path, found[:EXAMPLES], lacking[:EXAMPLES]))
    return result


def whole_documents(path: str, documents: Sequence[Raw], rows: Sequence[Raw], read: ReadRow) -> Aside:
    """The documents that a view shows, as one more answer: of those in which all agrees by which it is judged, the rest."""
    theirs, ours = registers_of(documents, read), registers_of(rows, read)
    agreeing = {name for name in theirs.keys() & ours.keys() if theirs[name] == ours[name]}
    return Aside(path, agreeing.__contains__, [one for one in documents if _names([one]) & agreeing])


def row_of(document_id: str, document: Raw, prefix: str) -> Raw:
    """A gateway's document as the row of a list; under an id that is not its own it is no row."""
    try:
        values = bounded_json.decode(document)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return document
    if not isinstance(values, dict) or document_id != prefix + _name(values):
        return Raw(_encode(f"{document_id}: no register of this name"))
    return Raw(_encode({name: value for name, value in values.items() if name[:1] != "_"}))


def totals_of_otherwise(otherwise: Iterable[Otherwise]) -> list[Total]:
    """Answers that differ, as totals that nobody has."""
    return [
        (one.path, f"{word} {text}"[:300], 0, 0)
        for one in otherwise
        for word, texts in (("shows", one.found), ("lacks", one.expected))
        for text in texts
    ]


class _Texts:
    """Rows as JSON that can be compared -> whose they are; what cannot be read, or is nobody's, is judged as it stands in
    the list. Answers of one stage are alike to the byte, so each row is read once."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[str, str] | None] = {}

    def of(self, rows: Iterable[Raw]) -> dict[str, str]:
        found = (self._of_row(bytes(row)) for row in rows)
        return dict(one for one in found if one is not None)

    def _of_row(self, row: bytes) -> tuple[str, str] | None:
        if row not in self._known:
            self._known[row] = _text_and_name(row)
        return self._known[row]


def _text_and_name(row: bytes) -> tuple[str, str] | None:
    try:
        values = bounded_json.decode(row)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if not isinstance(values, dict) or not (name := _name(values)):
        return None
    values.pop("channels", None)
    return _encode(values).decode(), name


def _name(values: dict[str, Any]) -> str:
    """The id of the store or terminal of which a row tells; '' where it does not say."""
    if "terminal" in values:
        return str(values["terminal"])
    words = [values.get(word) for word in ("brand", "region", "store")]
    return ".".join(map(str, words)) if words[0] is not None else str(values.get("store", ""))


def _names(rows: Iterable[Raw]) -> set[str]:
    return set(_Texts().of(rows).values())


def _query(query: dict[str, str]) -> str:
    return "&".join(f"{name}={value}" for name, value in query.items())


def _place_is(query: dict[str, str]) -> Callable[[str], bool]:
    def wants(name: str) -> bool:
        brand, region, *_ = (*name.split("."), "", "")
        return query.get("brand", brand) == brand and query.get("region", region) == region

    return wants


def _is_in(store: str) -> Callable[[str], bool]:
    return lambda name: name.rpartition(".")[0] == store


def _is(wanted: str) -> Callable[[str], bool]:
    return lambda name: name == wanted
