"""What a message says of its event before it is known to be sound: key and attempt, in either mode of the envelope.

The terminal is the one that the topic names, since the broker knows who may publish there, whatever ``source`` says: it is
told what became of what it has sent. A key is taken only where one sequence and one source are said, however often.
``in_payload`` is False for canonical messages, which have one mode alone: their attributes are user properties.
"""

from __future__ import annotations

from typing import Final

from fleetwire.envelope import JSON, MAXIMUM_ATTEMPT, may_be_structured, whole_number
from fleetwire.errors import BadPayload
from fleetwire.identity import Key
from fleetwire.json_members import members
from fleetwire.mqtt import Message

READ_BYTES: Final = 65_536
"""So much of a payload is searched for attributes, whatever a broker lets through."""


def key_of(message: Message, *, in_payload: bool = True) -> Key | None:
    """The key by the topic's last level and the attribute ``sequence``; None when the message gives none, or two."""
    sender = message.topic.rpartition("/")[2]
    said = _said(message, in_payload)
    numbers = set(said["sequence"])
    if len(numbers) != 1 or len({*said["source"]} - {""}) > 1:
        return None
    return _key(f"{sender}.{numbers.pop()}")


def keys_of(message: Message, *, in_payload: bool = True) -> list[Key]:
    """Every key that the message gives by its topic and ``sequence``; more than one when that contradicts itself."""
    sender = message.topic.rpartition("/")[2]
    keys = (_key(f"{sender}.{number}") for number in dict.fromkeys(_said(message, in_payload)["sequence"]))
    return [key for key in keys if key is not None]


def attempt_of(message: Message, *, in_payload: bool = True) -> int:
    """How often the terminal has sent it, by the attribute ``attempt``; 1 when that is missing, no number, or two."""
    if message.content_type == JSON or not in_payload:
        texts = {value for name, value in message.properties if name == "attempt"}
    else:
        texts = set(_said(message, in_payload)["attempt"])
    text = texts.pop() if len(texts) == 1 else "1"
    return 1 if text == "1" else whole_number(text, MAXIMUM_ATTEMPT) or 1


def _said(message: Message, in_payload: bool) -> dict[str, list[str]]:
    """Every value that the message gives, outside and, where that may be its place, in the payload."""
    said: dict[str, list[str]] = {"source": [], "sequence": [], "attempt": []}
    for name, value in message.properties:
        if name in said:
            said[name].append(value)
    content_type = message.content_type
    if in_payload and content_type != JSON and may_be_structured(message.properties, content_type):
        for name, inside in members(message.payload[:READ_BYTES].decode(errors="replace")):
            if name in said:
                said[name].append(inside or "")
    return said


def _key(text: str) -> Key | None:
    try:
        return Key.parse(text)
    except BadPayload:
        return None
