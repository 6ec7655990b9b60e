"""The payload of structured mode: one JSON object that holds the attributes of an event and its data.

CloudEvents JSON event format 1.0.2, sections 2 and 3. An attribute is a text, an integer or a truth value and counts as
its text; ``null`` is a missing one. The data stand there once, as JSON (``data``) or in base 64 (``data_base64``).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from typing import Final

import msgspec

from fleetwire import bounded_json
from fleetwire import envelope_faults as faults
from fleetwire.errors import BadPayload
from fleetwire.json_members import members
from fleetwire.quoted import quoted

DATA: Final = frozenset(("data", "data_base64"))
_NO_TEXT: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
"""What a String of CloudEvents may not hold ("Type System"); a broker lets none of it through in a user property."""
_decode_members = bounded_json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = bounded_json.Decoder(str).decode

Members = dict[str, msgspec.Raw]


def says_an_event(payload: bytes) -> bool:
    """Whether the payload begins as an object that says which event it is."""
    return any(name in ("specversion", "source") for name, _ in members(payload.decode(errors="replace")))


def split(payload: bytes) -> tuple[dict[str, str], Callable[[], bytes]]:
    """The attributes, and what gives the data once the attributes are found to be sound; both raise BadPayload."""
    raw, text = _parsed(payload)
    found = list(members(text))
    if len(found) < len(raw):
        raise BadPayload(
            "malformed_json", "structured CloudEvent: a text with an unknown escape or a control character"
        )
    if len(found) > len(raw):
        raise faults.twice(name for name, _ in found)
    attributes = {}
    for name, value in found:
        if name in DATA:
            continue
        if value is None or _NO_TEXT.search(value) is not None:
            raise faults.no_text(name)
        attributes[name] = value
    return attributes, lambda: _data(raw)


def _parsed(payload: bytes) -> tuple[Members, str]:
    try:
        return _decode_members(payload), payload.decode()
    except msgspec.ValidationError as error:
        raise BadPayload("no_key", "structured CloudEvent: expected a JSON object of attributes and data") from error
    except UnicodeDecodeError as error:
        raise BadPayload("malformed_json", f"structured CloudEvent: byte {error.start} is no UTF-8") from error
    except msgspec.DecodeError as error:
        raise BadPayload("malformed_json", f"structured CloudEvent: {error}"[:300]) from error


def _data(raw: Members) -> bytes:
    data, encoded = raw.get("data"), raw.get("data_base64")
    if data is not None and encoded is not None:
        raise BadPayload("ambiguous", "members 'data' and 'data_base64' are both given; leave one out")
    if data is not None:
        return bytes(data)
    if encoded is None:
        raise BadPayload("schema", "member 'data' is missing: it holds the event as its brand writes it")
    try:
        return binascii.a2b_base64(_decode_text(encoded), strict_mode=True)
    except (msgspec.MsgspecError, ValueError) as error:
        raise BadPayload(
            "schema", f"member 'data_base64'={quoted(bytes(encoded))}: expected text in base 64"
        ) from error
