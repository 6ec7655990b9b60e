"""Reads a dialect by its mapping table: ``mappings/*.toml`` is compiled once, then applied to parsed JSON.

A mapping has three tables. ``envelope`` says where the payload states its kind, store, terminal, number, time and
business date; ``kinds`` which kind is which event type; ``data`` where each canonical field is. A field is a path
(``order.totals.tax``; a number is a place in an array), or a table with ``at``, ``as`` (a name of
``conversions``), ``values`` and ``default``; a list has ``at`` and ``each``. Fields that no mapping names are ignored:
a vendor may add some. A mapping that cannot be compiled raises SettingsError at start, never while events flow.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final, NamedTuple

from fleetwire.errors import BadPayload, SettingsError
from fleetwire.events import EVENT_TYPES
from fleetwire.quoted import quoted
from parm_stub.conversions import CONVERSIONS, VALUE_CONVERSIONS, Conversion

Getter = Callable[[Any], Any]
ENVELOPE_FIELDS: Final = ("kind", "store", "terminal", "sequence", "time", "business_day_date")
_UNUSABLE: Final = (LookupError, TypeError, ValueError, OverflowError)
_NO_DEFAULT: Final = object()


class Field(NamedTuple):
    """One compiled field."""

    name: str
    get: Getter
    convert: Conversion
    default: object


class Reading(NamedTuple):
    """What a payload says, in canonical words but not yet checked."""

    type: str
    store: str
    terminal: str
    sequence: int
    time: str
    business_day_date: str
    data: dict[str, Any]


class Mapping:
    """A compiled mapping table."""

    __slots__ = ("_data", "_envelope", "_kinds", "name")

    def __init__(self, name: str, table: dict[str, Any]) -> None:
        self.name = name
        try:
            self._envelope = _fields({field: table["envelope"][field] for field in ENVELOPE_FIELDS})
            self._kinds: dict[str, str] = dict(table["kinds"])
            self._data = {event_type: _fields(table["data"][event_type]) for event_type in EVENT_TYPES}
        except (LookupError, TypeError, AttributeError) as error:
            raise SettingsError(f"mapping {name}: cannot be compiled: {error!r}") from error

    def read(self, document: Any, source: str) -> Reading:
        """Read a parsed payload of that source; raises BadPayload(schema | unknown_type)."""
        head = _read(self._envelope, document, source)
        event_type = self._kinds.get(str(head["kind"]))
        if event_type is None:
            raise BadPayload("unknown_type", f"kind {quoted(head['kind'])} is none of dialect {self.name}")
        data = _read(self._data[event_type], document, source)
        return Reading(
            event_type,
            head["store"],
            head["terminal"],
            head["sequence"],
            head["time"],
            head["business_day_date"],
            data,
        )


def packaged(name: str) -> Mapping:
    """A mapping of this package; raises SettingsError when there is none of that name."""
    place = files("parm_stub") / "mappings" / f"{name}.toml"
    if not name.isalnum() or not place.is_file():
        raise SettingsError(f"dialect {name!r:.80}: no mapping of that name in parm_stub/mappings")
    return Mapping(name, tomllib.loads(place.read_text(encoding="utf-8")))


def _read(fields: tuple[Field, ...], node: Any, source: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, get, convert, default in fields:
        try:
            values[name] = convert(get(node), source)
        except KeyError as error:
            if default is _NO_DEFAULT:
                raise BadPayload("schema", f"{name}: the payload has no {error}"[:300]) from error
            values[name] = default
        except _UNUSABLE as error:
            raise BadPayload("schema", f"{name}: {error}"[:300]) from error
    return values


def _fields(table: dict[str, Any]) -> tuple[Field, ...]:
    return tuple(_field(name, entry) for name, entry in table.items())


def _field(name: str, entry: Any) -> Field:
    if isinstance(entry, str):
        return Field(name, _getter(entry), CONVERSIONS["text"], _NO_DEFAULT)
    get = _getter(entry["at"])
    if "each" in entry:
        return Field(name, get, _each(_fields(entry["each"])), _NO_DEFAULT)
    conversion = entry.get("as", "text")
    default = entry.get("default", _NO_DEFAULT)
    if conversion in VALUE_CONVERSIONS:
        return Field(name, get, VALUE_CONVERSIONS[conversion](entry["values"]), default)
    return Field(name, get, CONVERSIONS[conversion], default)


def _each(fields: tuple[Field, ...]) -> Conversion:
    def convert(value: Any, source: str) -> list[dict[str, Any]]:
        if type(value) is not list:
            raise TypeError(f"expected an array, found {value!r:.80}")
        return [_read(fields, node, source) for node in value]

    return convert


def _getter(path: str) -> Getter:
    steps: list[Any] = [int(step) if step.isdigit() else step for step in path.split(".")]
    match steps:
        case [first]:
            return lambda node: node[first]
        case [first, second]:
            return lambda node: node[first][second]
        case [first, second, third]:
            return lambda node: node[first][second][third]
    raise LookupError(f"path {path!r}: expected one to three steps")
