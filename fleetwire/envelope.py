"""CloudEvents 1.0 over MQTT 5: what an event says about itself outside its payload.

Binary mode (the lab's own): payload is the data, MQTT content type is ``datacontenttype``, every other attribute is a
user property with its bare name (CloudEvents MQTT protocol binding 1.0.2, section 3.1). Structured mode: the payload is
one JSON object of content type ``application/cloudevents+json`` (section 3.2), for peers without user properties.
``sequence``, ``traceparent`` and ``attempt`` are extension attributes; ``attempt`` counts deliveries from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Literal

import msgspec

from fleetwire.errors import BadPayload
from fleetwire.identity import MAXIMUM_SEQUENCE, Key, Terminal

JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
TYPE_PREFIX = "storefleet."
TYPE_SUFFIX = ".v1"
MAXIMUM_ATTEMPT = 1_000_000

Properties = Sequence[tuple[str, str]]


class Envelope(msgspec.Struct, frozen=True):
    """The attributes of one event; ``type`` is the short form (``transaction.retail``)."""

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
        attributes: dict[str, object] = dict(self.properties())
        attributes["datacontenttype"] = JSON
        attributes["data"] = msgspec.Raw(data)
        return msgspec.json.encode(attributes)


def trace_parent(key_text: str) -> str:
    """W3C trace context that is a pure function of the key, so every stage agrees on it without being told."""
    digest = blake2b(key_text.encode(), digest_size=24).hexdigest()
    return f"00-{digest[:32]}-{digest[32:48]}-01"


def read_binary(properties: Properties) -> Envelope:
    """Read the attributes of binary mode; raises BadPayload(no_key | unknown_type). Unknown attributes are ignored."""
    return _from_attributes(dict(properties))


class _Structured(msgspec.Struct):
    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    time: str
    sequence: str
    data: msgspec.Raw
    attempt: str = "1"


_decode_structured = msgspec.json.Decoder(_Structured).decode


def read_structured(payload: bytes) -> tuple[Envelope, bytes]:
    """Read a structured-mode payload into its attributes and its data; raises BadPayload."""
    try:
        message = _decode_structured(payload)
    except msgspec.ValidationError as error:
        raise BadPayload("no_key", f"structured CloudEvent: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadPayload("malformed_json", f"structured CloudEvent: {error}") from error
    attributes = {name: getattr(message, name) for name in ("source", "sequence", "type", "time", "attempt")}
    return _from_attributes(attributes), bytes(message.data)


def _from_attributes(attributes: dict[str, str]) -> Envelope:
    source = attributes.get("source", "")
    Terminal.parse(source)
    sequence = _number(attributes.get("sequence", ""), "sequence", MAXIMUM_SEQUENCE)
    attempt = _number(attributes.get("attempt", "1"), "attempt", MAXIMUM_ATTEMPT)
    full_type = attributes.get("type", "")
    if not (full_type.startswith(TYPE_PREFIX) and full_type.endswith(TYPE_SUFFIX)):
        raise BadPayload("unknown_type", f"event type {full_type[:100]!r}")
    short = full_type[len(TYPE_PREFIX) : -len(TYPE_SUFFIX)]
    return Envelope(Key(source, sequence), short, attributes.get("time", ""), attempt)


def _number(text: str, name: str, maximum: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and 1 <= int(text) <= maximum):
        raise BadPayload("no_key", f"user property {name}={text[:40]!r} is no number from 1 to {maximum}")
    return int(text)
