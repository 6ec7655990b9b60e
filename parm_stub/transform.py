"""PARM's core: one raw message in, one canonical event out, or BadPayload with the reason of its dead letter.

A pure function of the message and the settings; no clock, no state. Whatever a peer sends, nothing but BadPayload
leaves :meth:`Transformer.transform`. The canonical event says exactly what the terminal said: values are converted
between notations, never changed. JSON with a name twice in one object is refused as ``malformed_json``: two readers
would disagree about it (RFC 8259, section 4).
"""

from __future__ import annotations

import json
from collections.abc import Mapping as Table
from typing import Any, Final

import msgspec

from fleetwire import bounded_json
from fleetwire.envelope import Envelope, Properties, read_event
from fleetwire.errors import BadPayload
from fleetwire.events import EVENT_TYPES, CanonicalEvent
from fleetwire.identity import Terminal
from fleetwire.plain_words import plain
from fleetwire.quoted import quoted
from fleetwire.timestamp import same_moment
from fleetwire.topics import Topics
from parm_stub import decoder
from parm_stub.decoder import Reading
from parm_stub.validator import CHECKS, check_dates

DEFAULT_MAXIMUM_BYTES: Final = 65_536
_decode = bounded_json.Decoder(Any, bounded_json.DOCUMENT_DEPTH).decode
_encode = msgspec.json.Encoder().encode


class Transformer:
    """The compiled mappings of a fleet's brands; build one a process.

    ``dialects`` names the dialect of every brand, ``maximum_bytes`` the largest payload that is accepted.
    Raises SettingsError for a dialect that no mapping describes.
    """

    __slots__ = ("_mappings", "_maximum_bytes", "_topics")

    def __init__(
        self, topics: Topics, dialects: Table[str, str], *, maximum_bytes: int = DEFAULT_MAXIMUM_BYTES
    ) -> None:
        compiled = {name: decoder.packaged(name) for name in set(dialects.values())}
        self._mappings = {brand: compiled[name] for brand, name in dialects.items()}
        self._topics = topics
        self._maximum_bytes = maximum_bytes

    def transform(self, topic: str, properties: Properties, payload: bytes, content_type: str | None) -> CanonicalEvent:
        """The canonical event of a raw message, in binary or structured mode; raises BadPayload only."""
        if len(payload) > self._maximum_bytes:
            raise BadPayload("oversized", f"payload of {len(payload)} bytes, at most {self._maximum_bytes}")
        terminal = self._sender(topic)
        _check_utf8(payload)
        envelope, data = read_event(properties, payload, content_type)
        if envelope.key.source != terminal.id:
            raise BadPayload("topic_mismatch", f"source {envelope.key.source} came on the topic of {terminal.id}")
        reading = self._mappings[terminal.brand].read(_parse(data), terminal.id)
        _check_agreement(envelope, terminal, reading)
        return _canonical(envelope, reading)

    def _sender(self, topic: str) -> Terminal:
        """Who sent it, by the topic; a brand that the fleet does not have is said before any contradiction."""
        try:
            terminal = self._topics.read_terminal(topic).terminal
        except BadPayload as error:
            if error.reason == "topic_mismatch":
                self._check_brand(topic.split("/")[-4])
            raise
        self._check_brand(terminal.brand)
        return terminal

    def _check_brand(self, brand: str) -> None:
        if brand not in self._mappings:
            raise BadPayload("unknown_brand", f"brand {quoted(brand)} is none of this fleet")


def canonical_json(event: CanonicalEvent) -> bytes:
    """The event as it goes on the wire behind PARM."""
    return _encode(event)


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise BadPayload("not_utf8", f"byte {error.start} of the payload: {error.reason}") from error


def _check_agreement(envelope: Envelope, terminal: Terminal, reading: Reading) -> None:
    """The payload must say of itself what topic and properties say of it."""
    pairs = (
        ("store", terminal.store, reading.store),
        ("terminal", terminal.terminal, reading.terminal),
        ("sequence", envelope.key.sequence, reading.sequence),
        ("type", envelope.type, reading.type),
    )
    for name, outside, inside in pairs:
        if outside != inside:
            raise _disagree(name, outside, inside)
    time = envelope.time
    if time and time != reading.time and not same_moment(time, reading.time):
        raise _disagree("time", time, reading.time)


def _disagree(name: str, outside: object, inside: object) -> BadPayload:
    return BadPayload("topic_mismatch", f"{name}: {quoted(outside)} outside, {quoted(inside)} in the payload")


def _canonical(envelope: Envelope, reading: Reading) -> CanonicalEvent:
    try:
        data = msgspec.convert(reading.data, EVENT_TYPES[reading.type])
    except msgspec.ValidationError as error:
        raise BadPayload("schema", plain(error)[:300]) from error
    check_dates(reading.time, reading.business_day_date)
    check = CHECKS.get(reading.type)
    if check is not None:
        check(data, envelope.key)
    source, sequence = envelope.key
    return CanonicalEvent(
        key=str(envelope.key),
        type=reading.type,
        source=source,
        sequence=sequence,
        time=reading.time,
        business_day_date=reading.business_day_date,
        data=msgspec.Raw(_encode(data)),
    )


def _parse(payload: bytes) -> Any:
    try:
        document = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadPayload("malformed_json", f"{error}"[:300]) from error
    if _encode(document) != payload:
        _check_names(payload)
    return document


def _check_names(payload: bytes) -> None:
    """Look for a name twice in one object; only for JSON that is not written as we would write it, so rarely."""
    try:
        json.loads(payload, object_pairs_hook=_distinct)
    except ValueError as error:
        raise BadPayload("malformed_json", f"{error}"[:300]) from error


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name stands twice in one object")
