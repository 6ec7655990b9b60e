"""CloudEvents 1.0 over MQTT 5: what an event says about itself outside its payload.

Binary mode (the lab's own): payload is the data, MQTT content type is ``datacontenttype``, every other attribute is a
user property with its bare name (CloudEvents MQTT protocol binding 1.0.2, section 3.1). Structured mode: the payload is
one JSON object of content type ``application/cloudevents+json`` (section 3.2), for peers without user properties.
``sequence``, ``traceparent`` and ``attempt`` are extension attributes; ``attempt`` counts deliveries from 1.

The mode is decided by content type and user properties alone, never by the payload, so no message has two:

| content type | user properties | the message is |
|---|---|---|
| ``application/cloudevents+json`` | any; what they say, the payload must say too | structured |
| another ``application/cloudevents...`` | any | refused: no format that we read |
| any other | any | binary |
| none, or empty | at least one | binary |
| none, or empty | none, as from every MQTT 3.1.1 peer | structured |

Both modes are read by the same rules. Required are ``specversion`` (1.0), ``id``, ``source``, ``type`` and ``sequence``; an
empty value, and JSON's ``null``, is a missing one. ``time`` (another notation of the same moment is the same) and
``attempt`` may be missing. Integers and truth values count as their text. Names are lower-case letters and digits; unknown
attributes are ignored. Media types compare without case and may have parameters; data must be JSON. Whatever is said twice,
even with one value, is refused as ``ambiguous``.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from fleetwire import envelope_faults as faults
from fleetwire.errors import BadPayload
from fleetwire.events import EVENT_TYPES
from fleetwire.identity import MAXIMUM_SEQUENCE, Key, Terminal
from fleetwire.json_members import members
from fleetwire.media_type import is_json, media_type
from fleetwire.shown import shown

JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
CLOUD_EVENTS: Final = "application/cloudevents"
TYPE_PREFIX = "storefleet."
TYPE_SUFFIX = ".v1"
MAXIMUM_ATTEMPT = 1_000_000
MAXIMUM_ATTRIBUTES: Final = 64
MAXIMUM_VALUE_CHARACTERS: Final = 4_096

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


_OWN: Final = frozenset(dict(Envelope(Key("", 0), "", "").properties()))
_SHORT_TYPES: Final = {TYPE_PREFIX + name + TYPE_SUFFIX: name for name in EVENT_TYPES}
_ATTRIBUTE_NAME: Final = re.compile(r"[a-z0-9]+")
_DATA: Final = frozenset(("data", "data_base64"))
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


def read_event(properties: Properties, payload: bytes, content_type: str | None) -> tuple[Envelope, bytes]:
    """The attributes of an event and its data, in the mode that the message is in; raises BadPayload."""
    if content_type == JSON:
        return read_binary(properties), payload
    if content_type:
        name = media_type(content_type)
        if name == STRUCTURED:
            return _read_accompanied(properties, payload)
        if name.startswith(CLOUD_EVENTS):
            raise BadPayload("schema", f"content type {shown(content_type)}: of event formats only {STRUCTURED} is read")
        _check_json(name, content_type)
    elif not properties:
        return _read_bare(payload)
    return read_binary(properties, content_type or ""), payload


def may_be_structured(properties: Properties, content_type: str | None) -> bool:
    """Whether the payload may say what the event is, for a message that may be damaged otherwise."""
    if content_type:
        return content_type.lstrip().lower().startswith(CLOUD_EVENTS)
    return not properties


def read_binary(properties: Properties, content_type: str = "") -> Envelope:
    """Read the attributes of binary mode; raises BadPayload."""
    attributes = dict(properties)
    if len(attributes) != len(properties):
        raise faults.twice(name for name, _ in properties)
    if not attributes.keys() <= _OWN:
        _check_others(attributes)
        if (declared := attributes.get("datacontenttype")) and content_type:
            _check_same_type(declared, content_type)
    return _envelope(attributes, faults.PROPERTY)


def read_structured(payload: bytes) -> tuple[Envelope, bytes]:
    """Read a structured-mode payload into its attributes and its data; raises BadPayload."""
    attributes, data = _split(payload)
    return _envelope(attributes, faults.MEMBER), data()


def _read_accompanied(properties: Properties, payload: bytes) -> tuple[Envelope, bytes]:
    """Structured mode of MQTT 5: user properties may repeat what the payload says (section 3.2.3), nothing else."""
    outside = dict(properties)
    if len(outside) != len(properties):
        raise faults.twice(name for name, _ in properties)
    _check_others(outside)
    attributes, data = _split(payload)
    for name, value in outside.items():
        if value != attributes.get(name, "") and (name in _OWN or name in attributes):
            raise faults.two_values(name, value, attributes.get(name))
    return _envelope(attributes, faults.MEMBER), data()


def _read_bare(payload: bytes) -> tuple[Envelope, bytes]:
    """A message without any property: all that MQTT 3.1.1 can send, and what a person sends by hand."""
    if not any(name in ("specversion", "source") for name, _ in members(payload.decode(errors="replace"))):
        raise faults.nothing_said()
    return read_structured(payload)


def _envelope(attributes: Mapping[str, str], where: str) -> Envelope:
    get = attributes.get
    source, digits = get("source"), get("sequence")
    if not source or not digits:
        raise faults.missing("no_key", attributes, where)
    Terminal.parse(source)
    sequence = _number(digits, MAXIMUM_SEQUENCE)
    if sequence is None:
        raise BadPayload("no_key", f"{where} sequence={shown(digits, 40)} is no number from 1 to {MAXIMUM_SEQUENCE}")
    if get("specversion") != "1.0" or not get("id"):
        raise faults.unversioned(attributes, where)
    kind = _SHORT_TYPES.get(get("type", ""))
    if kind is None:
        raise faults.unknown_type(attributes, where)
    attempt = get("attempt") or "1"
    count = 1 if attempt == "1" else _number(attempt, MAXIMUM_ATTEMPT)
    if count is None:
        raise BadPayload("schema", f"{where} attempt={shown(attempt, 40)} is no number from 1 to {MAXIMUM_ATTEMPT}")
    return Envelope(Key(source, sequence), kind, get("time") or "", count)


def _number(text: str, maximum: int) -> int | None:
    """A whole number from 1 in its one notation: no sign, no zeros before it, ASCII."""
    try:
        number = int(text) if len(text) <= 16 else 0
    except ValueError:
        return None
    return number if 1 <= number <= maximum and str(number) == text else None


def _split(payload: bytes) -> tuple[dict[str, str], "_Data"]:
    """The attributes of a structured event as texts, and what gives its data; raises BadPayload."""
    try:
        raw = _decode_members(payload)
        found = list(members(payload.decode()))
    except msgspec.ValidationError as error:
        raise BadPayload("no_key", f"structured CloudEvent: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPayload("malformed_json", f"structured CloudEvent: {error}"[:300]) from error
    if len(found) != len(raw):
        raise faults.twice(name for name, _ in found)
    attributes = {}
    for name, value in found:
        if name in _DATA:
            continue
        if value is None:
            raise faults.no_text(name)
        attributes[name] = value
    _check_others(attributes)
    return attributes, _Data(raw)


class _Data:
    """The data of a structured event: said once, as JSON or in base 64 (CloudEvents JSON format 1.0.2, section 3.1)."""

    __slots__ = ("_members",)

    def __init__(self, raw: Mapping[str, msgspec.Raw]) -> None:
        self._members = raw

    def __call__(self) -> bytes:
        """Its bytes; raises BadPayload."""
        data, encoded = self._members.get("data"), self._members.get("data_base64")
        if data is not None and encoded is not None:
            raise BadPayload("ambiguous", "members 'data' and 'data_base64' are both given; leave one out")
        if data is not None:
            return bytes(data)
        if encoded is None:
            raise BadPayload("schema", "member 'data' is missing: it holds the event as its brand writes it")
        try:
            return binascii.a2b_base64(_decode_text(encoded), strict_mode=True)
        except (msgspec.MsgspecError, ValueError) as error:
            raise BadPayload("schema", f"member 'data_base64': expected text in base 64: {error}"[:300]) from error


def _check_others(attributes: Mapping[str, str]) -> None:
    """What attributes may be called, how many and how long they may be; and of which type the data is said to be."""
    if len(attributes) > MAXIMUM_ATTRIBUTES:
        raise BadPayload("oversized", f"{len(attributes)} attributes, at most {MAXIMUM_ATTRIBUTES}")
    for name, value in attributes.items():
        if name in _DATA:
            raise BadPayload("ambiguous", f"user property {name}: the data of binary mode is the payload")
        if _ATTRIBUTE_NAME.fullmatch(name) is None:
            raise BadPayload("schema", f"attribute {shown(name)}: a name has only lower-case letters and digits")
        if len(value) > MAXIMUM_VALUE_CHARACTERS:
            raise BadPayload("oversized", f"attribute {name} has more than {MAXIMUM_VALUE_CHARACTERS} characters")
    if declared := attributes.get("datacontenttype"):
        _check_json(media_type(declared), declared)


def _check_json(name: str, said: str) -> None:
    if not is_json(name) or name.startswith(CLOUD_EVENTS):
        raise BadPayload("schema", f"data of content type {shown(said)}: expected {JSON}")


def _check_same_type(declared: str, content_type: str) -> None:
    if media_type(declared) != media_type(content_type):
        raise faults.two_values("datacontenttype", declared, content_type)
