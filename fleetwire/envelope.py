"""CloudEvents 1.0 attributes of an event, as MQTT 5 user properties (binary mode) or in the payload (structured mode).

Binary mode (the lab's own): payload is the data, MQTT content type is ``datacontenttype``, every other attribute is a
user property with its bare name (CloudEvents MQTT protocol binding 1.0.2, section 3.1). Structured mode: the payload is
one JSON object of content type ``application/cloudevents+json`` (section 3.2), for peers without user properties.
``sequence``, ``traceparent`` and ``attempt`` are extension attributes; ``attempt`` counts deliveries from 1.

The mode is decided by content type and user properties alone, never by the payload, so no message has two:

| content type | user properties | the message is |
|---|---|---|
| ``application/cloudevents+json`` | any; what they say of the event, the payload must say too | structured |
| another ``application/cloudevents...`` | any | refused: no format that we read |
| any other | any | binary |
| none, or empty | at least one that is a required attribute | binary |
| none, or empty | any other, or none, as from every MQTT 3.1.1 peer | structured |

Both modes are read by the same rules. Required are ``specversion`` (1.0), ``id``, ``source``, ``type`` and ``sequence``; an
empty value, and JSON's ``null``, is a missing one. ``time`` (another notation of the same moment is the same) and
``attempt`` may be missing. Integers and truth values count as their text. Unknown attributes are ignored. Media types
compare without case and may have parameters; data must be JSON. Whatever is said twice, even with one value, is refused
as ``ambiguous``. A ``traceparent`` beside a structured event is the sending's own, and may be another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from fleetwire import envelope_faults as faults
from fleetwire.errors import BadPayload
from fleetwire.events import EVENT_TYPES
from fleetwire.identity import MAXIMUM_SEQUENCE, Key, is_terminal_id
from fleetwire.media_type import is_json, media_type
from fleetwire.quoted import quoted
from fleetwire.structured_event import DATA, says_an_event, split
from fleetwire.timestamp import same_moment

JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
CLOUD_EVENTS: Final = "application/cloudevents"
TYPE_PREFIX = "storefleet."
TYPE_SUFFIX = ".v1"
MAXIMUM_ATTEMPT = 1_000_000
MAXIMUM_DIGITS: Final = 16

Properties = Sequence[tuple[str, str]]


class Envelope(msgspec.Struct, frozen=True):
    """The attributes of one event; ``type`` is the short form (``transaction.retail``), ``time`` empty when unsaid."""

    key: Key
    type: str
    time: str
    attempt: int = 1

    def properties(self) -> list[tuple[str, str]]:
        """User properties of binary mode, in a fixed order."""
        source, sequence = self.key
        text = str(self.key)
        return [
            ("specversion", "1.0"),
            ("id", text),
            ("source", source),
            ("type", TYPE_PREFIX + self.type + TYPE_SUFFIX),
            ("time", self.time),
            ("sequence", str(sequence)),
            ("traceparent", trace_parent(text)),
            ("attempt", str(self.attempt)),
        ]

    def structured(self, data: bytes) -> bytes:
        """The structured-mode payload around ``data``, which must be JSON."""
        attributes: dict[str, object] = {name: value for name, value in self.properties() if value}
        attributes["datacontenttype"] = JSON
        attributes["data"] = msgspec.Raw(data)
        return msgspec.json.encode(attributes)


def trace_parent(key_text: str) -> str:
    """W3C trace context that is a pure function of the key, so every stage agrees on it without being told."""
    digest = blake2b(key_text.encode(), digest_size=24).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


_REQUIRED: Final = frozenset(faults.REQUIRED)
_READ: Final = _REQUIRED | {"time", "attempt"}
_KNOWN: Final = _READ | {"traceparent"}
_SHORT_TYPES: Final = {TYPE_PREFIX + name + TYPE_SUFFIX: name for name in EVENT_TYPES}


def read_event(properties: Properties, payload: bytes, content_type: str | None) -> tuple[Envelope, bytes]:
    """The attributes of an event and its data, in the mode that the message is in; raises BadPayload."""
    if content_type == JSON:
        return read_binary(properties, JSON), payload
    if content_type:
        name = media_type(content_type)
        if name == STRUCTURED:
            return read_structured(payload, properties)
        _check_json(name, content_type)
    elif may_be_structured(properties, content_type):
        if not says_an_event(payload):
            raise faults.nothing_said()
        return read_structured(payload, properties)
    return read_binary(properties, content_type or ""), payload


def may_be_structured(properties: Properties, content_type: str | None) -> bool:
    """Whether the payload may say what the event is, for a message that may be damaged otherwise."""
    if content_type:
        return content_type.lstrip().lower().startswith(CLOUD_EVENTS)
    return not any(name in _REQUIRED for name, _ in properties)


def read_binary(properties: Properties, content_type: str = "") -> Envelope:
    """Read the attributes of binary mode; raises BadPayload."""
    attributes = dict(properties)
    if len(attributes) != len(properties):
        raise faults.twice(name for name, _ in properties)
    if not attributes.keys() <= _KNOWN:
        _check_others(attributes, content_type)
    return _envelope(attributes, faults.PROPERTY)


def read_structured(payload: bytes, properties: Properties = ()) -> tuple[Envelope, bytes]:
    """Read a structured-mode payload into its attributes and its data; raises BadPayload.

    The user properties of MQTT 5 may repeat what the payload says (section 3.2.3), and say nothing else of the event.
    """
    outside = dict(properties)
    if len(outside) != len(properties):
        raise faults.twice(name for name, _ in properties)
    attributes, data = split(payload)
    for name, value in outside.items():
        inside = attributes.get(name, "")
        if name != "traceparent" and (name in _READ or inside) and not _agree(name, value, inside):
            raise faults.two_values(name, value, inside)
    _check_others(outside, "")
    if declared := attributes.get("datacontenttype"):
        _check_json(media_type(declared), declared)
    return _envelope(attributes, faults.MEMBER), data()


def _agree(name: str, outside: str, inside: str) -> bool:
    """Whether a user property that has a value says what the payload says, if in another notation."""
    if not outside or outside == inside:
        return True
    if name == "datacontenttype":
        return media_type(outside) == media_type(inside)
    return name == "time" and same_moment(outside, inside)


def _envelope(attributes: Mapping[str, str], where: str) -> Envelope:
    get = attributes.get
    source, digits = get("source"), get("sequence")
    if not source or not digits:
        raise faults.missing("no_key", attributes, where)
    if not is_terminal_id(source):
        raise faults.no_terminal(source, where)
    sequence = whole_number(digits, MAXIMUM_SEQUENCE)
    if sequence is None:
        raise faults.no_number("no_key", "sequence", digits, MAXIMUM_SEQUENCE, where)
    if get("specversion") != "1.0" or not get("id"):
        raise faults.unversioned(attributes, where)
    kind = _SHORT_TYPES.get(get("type", ""))
    if kind is None:
        raise faults.unknown_type(attributes, where)
    attempt = get("attempt") or "1"
    count = 1 if attempt == "1" else whole_number(attempt, MAXIMUM_ATTEMPT)
    if count is None:
        raise faults.no_number("schema", "attempt", attempt, MAXIMUM_ATTEMPT, where)
    return Envelope(Key(source, sequence), kind, get("time") or "", count)


def whole_number(text: str, maximum: int) -> int | None:
    """A whole number from 1 in its one notation (no sign, no zeros before it, ASCII digits), or None."""
    try:
        number = int(text) if len(text) <= MAXIMUM_DIGITS else 0
    except ValueError:
        return None
    return number if 1 <= number <= maximum and str(number) == text else None


def _check_others(properties: Mapping[str, str], content_type: str) -> None:
    """User properties that are no attribute of ours, yet say something of the data."""
    for name in DATA:
        if name in properties:
            raise BadPayload("ambiguous", f"user property {name!r} is given: the data are the payload; leave it out")
    declared = properties.get("datacontenttype")
    if not declared:
        return
    name = media_type(declared)
    _check_json(name, declared)
    if content_type and name != media_type(content_type):
        raise BadPayload(
            "ambiguous", f"content type {quoted(content_type)}, but user property 'datacontenttype'={quoted(declared)}"
        )


def _check_json(name: str, said: str) -> None:
    if name.startswith(CLOUD_EVENTS):
        raise BadPayload("schema", f"content type {quoted(said)}: of event formats only {STRUCTURED} is read")
    if not is_json(name):
        raise BadPayload("schema", f"data of content type {quoted(said)}: expected {JSON}")
