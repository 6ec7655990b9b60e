"""A canonical message read whole: the one place that says when such a message counts as its event.

It does when the topic's terminal is the event's source, ``key`` is source and sequence, the user properties that are
given agree (``source``, ``sequence``, ``id``), ``type`` is one of EVENT_TYPES and ``data`` has its shape. A foreign PARM,
or anybody, may publish anything; what is not whole is a BadPayload, never another error.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec import Struct

from fleetwire import bounded_json
from fleetwire.errors import BadPayload
from fleetwire.events import EVENT_TYPES, CanonicalEvent
from fleetwire.identity import MAXIMUM_ID_CHARACTERS, MAXIMUM_SEQUENCE, Key, Terminal
from fleetwire.message_key import keys_of
from fleetwire.mqtt import Message
from fleetwire.plain_words import plain
from fleetwire.quoted import quoted
from fleetwire.topics import Topics

_decode_event = bounded_json.Decoder(CanonicalEvent).decode
_decode_data: Final = {name: bounded_json.Decoder(shape).decode for name, shape in EVENT_TYPES.items()}
_CLAIMS: Final = frozenset(("source", "sequence", "id"))


class Whole(NamedTuple):
    """A message that is its event; ``data`` has the shape of the event's type."""

    key: Key
    event: CanonicalEvent
    data: Struct


class _Claim(Struct):
    source: Any = ""
    sequence: Any = 0
    key: Any = ""


_decode_claim = bounded_json.Decoder(_Claim).decode


def read_whole(topics: Topics, message: Message) -> Whole:
    """Read one canonical message; raises BadPayload."""
    try:
        event = _decode_event(message.payload)
        decode_data = _decode_data.get(event.type)
        if decode_data is None:
            raise BadPayload("unknown_type", f"event type {quoted(event.type)}")
        data = decode_data(event.data)
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError) as error:
        raise unreadable(message.payload, error) from error
    return Whole(_checked_key(topics, message, event), event, data)


def claimed_keys(message: Message) -> list[Key]:
    """Every key that a message bears, of its topic, its properties and its payload, whether or not it is whole."""
    claim = _claim(message.payload)
    topic_source = message.topic.rpartition("/")[2]
    texts = (f"{claim.source}.{claim.sequence}", str(claim.key), f"{topic_source}.{claim.sequence}")
    keys = [key for text in texts if (key := _key(text)) is not None]
    return list(dict.fromkeys([*keys, *keys_of(message, in_payload=False)]))


def key_in_payload(message: Message) -> Key | None:
    """The key that the payload names, if the topic agrees on the source."""
    claim = _claim(message.payload)
    key = _key(f"{claim.source}.{claim.sequence}")
    return key if key is not None and message.topic.rpartition("/")[2] == key.source else None


def claimed_source(payload: bytes) -> str:
    """The source that a payload names, if that could be one; else empty."""
    source = str(_claim(payload).source)
    return source if len(source) <= MAXIMUM_ID_CHARACTERS else ""


def unreadable(payload: bytes, error: Exception) -> BadPayload:
    """What is wrong with a payload that a decoder refused."""
    if isinstance(error, msgspec.ValidationError):
        return BadPayload("schema", plain(error))
    try:
        payload.decode()
    except UnicodeDecodeError:
        return BadPayload("not_utf8", str(error))
    return BadPayload("malformed_json", str(error))


def _claim(payload: bytes) -> _Claim:
    try:
        return _decode_claim(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, OverflowError):
        return _Claim()


def _key(text: str) -> Key | None:
    try:
        return Key.parse(text)
    except BadPayload:
        return None


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
    text = str(key)
    if event.key != text:
        raise BadPayload("schema", f"key {quoted(event.key, 160)} is not {text}")
    for name, value in message.properties:
        if name in _CLAIMS and value != (text if name == "id" else str(getattr(event, name))):
            said = f"user property {name}={quoted(value, 160)}, payload {text}"
            raise BadPayload("topic_mismatch", said)
    return key
