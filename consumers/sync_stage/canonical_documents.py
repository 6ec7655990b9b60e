"""From a canonical message to its document: pure, checks everything, since a foreign PARM may send anything.

The revision of a document is a function of the event's values alone: whoever transformed it, in whatever key order or
number format, the same event has the same first revision. A sending after the first stands beside the values, so that
whoever reads the document knows that no earlier one was stored.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from fleetwire import bounded_json
from fleetwire.canonical_message import read_whole, unreadable
from fleetwire.documents import TransactionDocument
from fleetwire.errors import BadPayload
from fleetwire.events import CanonicalEvent, StoreStatus
from fleetwire.identity import Key, is_word
from fleetwire.message_key import attempt_of
from fleetwire.mqtt import Message
from fleetwire.quoted import quoted
from fleetwire.revisions import canonical_json, revision_id_of_canonical
from fleetwire.topics import Topics

_decode_status = bounded_json.Decoder(StoreStatus).decode
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


class Prepared(Struct, frozen=True):
    """One event, ready to be written; ``document`` is raw JSON with ``_id`` and ``_rev``, its ``revision``."""

    key: Key
    attempt: int
    document: bytes
    revision: str


def prepare(topics: Topics, message: Message, maximum_payload_bytes: int) -> Prepared:
    """Read one canonical message; raises BadPayload."""
    if len(message.payload) > maximum_payload_bytes:
        raise BadPayload("oversized", f"{len(message.payload)} bytes; the limit is {maximum_payload_bytes}")
    whole = read_whole(topics, message)
    return _prepared(whole.event, whole.key, attempt_of(message, in_payload=False), whole.data)


def read_status(topics: Topics, message: Message) -> StoreStatus:
    """Read one store status; raises BadPayload."""
    try:
        status = _decode_status(message.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise unreadable(message.payload, error) from error
    words = (status.brand, status.region, status.store)
    if not all(is_word(word) for word in words):
        raise BadPayload("schema", f"{quoted('.'.join(words), 200)} is no store (brand.region.store)")
    if topics.status(*words) != message.topic:
        raise BadPayload("topic_mismatch", f"the status of {'.'.join(words)} came on {message.topic[:200]!r}")
    return status


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
