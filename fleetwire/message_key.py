"""What a message says of its event before it is known to be sound: key and attempt, in either mode of the envelope.

A key is taken only where nothing contradicts it: one sequence, however often it is said, and no source other than the
terminal that the topic names, since the broker knows who may publish there.
"""

from __future__ import annotations

from fleetwire.envelope import JSON, MAXIMUM_ATTEMPT, may_be_structured
from fleetwire.errors import BadPayload
from fleetwire.identity import Key, Terminal
from fleetwire.json_members import members
from fleetwire.mqtt import Message


def key_of(message: Message) -> Key | None:
    """The key by the topic's last level and the attribute ``sequence``; None when the message gives none, or two."""
    sender = message.topic.rpartition("/")[2]
    keys = keys_of(message)
    if len(keys) != 1 or any(_is_terminal(said) and said != sender for said in _said(message, "source")):
        return None
    return keys[0]


def keys_of(message: Message) -> list[Key]:
    """Every key that the message gives by its topic and ``sequence``; more than one when that contradicts itself."""
    sender = message.topic.rpartition("/")[2]
    said = dict.fromkeys(_said(message, "sequence"))
    keys = [key for text in said if (key := _key(f"{sender}.{text}")) is not None]
    return keys if len(keys) == len(said) or len(said) > 1 else []


def attempt_of(message: Message) -> int:
    """How often the terminal has sent it, by the attribute ``attempt``; 1 when that is missing, no number, or two."""
    texts = _said(message, "attempt")
    text = (texts[0] or "1") if len(texts) == 1 else "1"
    if not (text.isascii() and text.isdigit() and len(text) <= 7):
        return 1
    return min(max(int(text), 1), MAXIMUM_ATTEMPT)


def _said(message: Message, name: str) -> list[str]:
    """Every value of an attribute that the message gives, outside and, where that may be its place, in the payload."""
    values = [value for key, value in message.properties if key == name]
    content_type = message.content_type
    if content_type != JSON and may_be_structured(message.properties, content_type):
        text = message.payload.decode(errors="replace")
        values += [value or "" for key, value in members(text) if key == name]
    return values


def _key(text: str) -> Key | None:
    try:
        return Key.parse(text)
    except BadPayload:
        return None


def _is_terminal(text: str) -> bool:
    try:
        Terminal.parse(text)
    except BadPayload:
        return False
    return True
