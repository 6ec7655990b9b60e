"""From a canonical message to its document: pure, checks everything, since a foreign PARM may send anything.

The revision of a document is a function of the event's values alone: whoever transformed it, in whatever key order or
number format, the same event has the same first revision. A sending after the first stands beside the values, so that
whoever reads the document knows that no earlier one was stored.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from fleetwire.documents import TransactionDocument
from fleetwire.errors import BadPayload
from fleetwire.events import EVENT_TYPES, CanonicalEvent, StoreStatus
from fleetwire.identity import MAXIMUM_SEQUENCE, Key, Terminal, is_word
from fleetwire.message_key import attempt_of
from fleetwire.mqtt import Message
from fleetwire.revisions import canonical_json, revision_id_of_canonical
from fleetwire.topics import Topics

_decode_status = msgspec.json.Decoder(StoreStatus).decode
_decode_event = msgspec.json.Decoder(CanonicalEvent).decode
_decode_data: Final = {name: msgspec.json.Decoder(shape).decode for name, shape in EVENT_TYPES.items()}
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Prepared(Struct, frozen=True):
    """One event, ready to be written; ``document`` is raw JSON with ``_id`` and ``_rev``, its ``revision``."""

    key: Key
    attempt: int
    document: bytes
    revision: str


class _Claim(Struct):
    source: str
    sequence: int


_decode_claim = msgspec.json.Decoder(_Claim).decode


def prepare(topics: Topics, message: Message, maximum_payload_bytes: int) -> Prepared:
    """Read one canonical message; raises BadPayload."""
    if len(message.payload) > maximum_payload_bytes:
        raise BadPayload("oversized", f"{len(message.payload)} bytes; the limit is {maximum_payload_bytes}")
    try:
        event = _decode_event(message.payload)
        decode_data = _decode_data.get(event.type)
        if decode_data is None:
            raise BadPayload("unknown_type", f"event type {event.type!r}")
        data = decode_data(event.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(message.payload, error) from error
    key = _checked_key(topics, message, event)
    return _prepared(event, key, attempt_of(message), data)


def read_status(topics: Topics, message: Message) -> StoreStatus:
    """Read one store status; raises BadPayload."""
    try:
        status = _decode_status(message.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable(message.payload, error) from error
    words = (status.brand, status.region, status.store)
    if not all(is_word(word) for word in words):
        raise BadPayload("schema", f"{words!r} is no store"[:200])
    if topics.status(*words) != message.topic:
        raise BadPayload("topic_mismatch", f"the status of {'.'.join(words)} came on {message.topic[:200]!r}")
    return status


def claimed_key(message: Message) -> Key | None:
    """The key that an unusable message names in its payload, if its topic agrees on the source."""
    try:
        claim = _decode_claim(message.payload)
        key = Key.parse(f"{claim.source}.{claim.sequence}")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BadPayload):
        return None
    return key if message.topic.rpartition("/")[2] == key.source else None


def _checked_key(topics: Topics, message: Message, event: CanonicalEvent) -> Key:
    if event.sequence > MAXIMUM_SEQUENCE:
        raise BadPayload("schema", f"sequence {event.sequence} is beyond {MAXIMUM_SEQUENCE}")
    try:
        terminal = Terminal.parse(event.source)
    except BadPayload as error:
        raise BadPayload("schema", error.detail) from error
    if topics.canonical("transaction", terminal) != message.topic:
        raise BadPayload("topic_mismatch", f"{event.source} says that it sent what came on {message.topic[:200]!r}")
    key = Key(event.source, event.sequence)
    if event.key != str(key):
        raise BadPayload("schema", f"key {event.key!r} is not {key}")
    sequence = message.user_property("sequence")
    if sequence is not None and sequence != str(event.sequence):
        raise BadPayload("topic_mismatch", f"user property sequence={sequence[:40]!r}, payload {event.sequence}")
    return key


def _prepared(event: CanonicalEvent, key: Key, attempt: int, data: Struct) -> Prepared:
    document = TransactionDocument(
        type=event.type,
        source=event.source,
        sequence=event.sequence,
        time=event.time,
        business_day_date=event.business_day_date,
        data=Raw(_encode_sorted(data)),
    )
    values = msgspec.structs.asdict(document)
    del values["attempt"]
    canonical = canonical_json(values)
    revision = revision_id_of_canonical(1, "", canonical)
    again = b'"attempt":%d,' % attempt if attempt > 1 else b""
    text = b'{"_id":"%b","_rev":"%b",%b%b' % (str(key).encode(), revision.encode(), again, canonical[1:])
    return Prepared(key, attempt, text, revision)


def _unreadable(payload: bytes, error: Exception) -> BadPayload:
    if isinstance(error, msgspec.ValidationError):
        return BadPayload("schema", str(error))
    try:
        payload.decode()
    except UnicodeDecodeError:
        return BadPayload("not_utf8", str(error))
    return BadPayload("malformed_json", str(error))
