"""A message as one line: for people, as JSON for programs, and a dead letter in its own words.

Whatever a client publishes is shown on one line; what cannot be printed is replaced.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final

from fleetwire.dead_letters import DETAIL_CHARACTERS, UNKNOWN
from fleetwire.envelope import TYPE_PREFIX, TYPE_SUFFIX, read_event
from fleetwire.errors import BadPayload
from fleetwire.mqtt import Message
from fleetwire.terminal_text import GAP, json_shown, printable, shown
from fleetwire.topics import Topics
from storefleet.letter_words import detail_of

PAYLOAD_SHOWN: Final = 160
EVENT_BYTES: Final = 1_048_576


def line(message: Message, topics: Topics) -> str:
    """Time, marks (retained, duplicate, QoS as sent), topic, what it says of itself, and the payload in short."""
    marks = "".join(("r" if message.retain else "-", "d" if message.duplicate else "-", str(message.qos)))
    return _one_line(f"{_now()} {marks} {message.topic}  {about(message, topics)}  {_shown(message.payload)}")


def about(message: Message, topics: Topics) -> str:
    """What a message says of itself; of an event or a dead letter also what it fails to say."""
    properties = dict(message.properties)
    plane, _, rest = message.topic.removeprefix(f"{topics.root}/").partition("/")
    if plane == "dead-letter":
        key = f"key={properties['key']} " if "key" in properties else ""
        return f"{key}{detail_of(properties)}"
    if plane == "terminal" and rest.startswith("transaction/"):
        return _about_event(message)
    if plane == "canonical" and rest.startswith("transaction/") and not properties.get("id"):
        return "user property 'id' is missing"
    return " ".join(f"{name}={properties[name]}" for name in ("id", "type", "attempt") if name in properties)


def _about_event(message: Message) -> str:
    try:
        event, _ = read_event(message.properties, message.payload[:EVENT_BYTES], message.content_type)
    except BadPayload as error:
        return f"no event: {error.detail}"
    return f"id={event.key} type={TYPE_PREFIX}{event.type}{TYPE_SUFFIX} attempt={event.attempt}"


def letter_line(message: Message, topics: Topics) -> str:
    """A dead letter: who wrote it and why, about which event, where it was sent, and the original payload in short."""
    properties = dict(message.properties)
    stage, reason, source = topics.read_dead_letter(message.topic)
    whose = properties.get("key") or source or UNKNOWN
    detail = detail_of(properties)[:DETAIL_CHARACTERS]
    words = (f"{_now()} {properties.get('stage', stage)}: {properties.get('reason', reason)}, {whose}", detail,
             f"sent to {properties.get('original_topic', UNKNOWN)}", _shown(message.payload))  # fmt: skip
    return _one_line("; ".join(word for word in words if word))


def _now() -> str:
    return f"{datetime.now(UTC):%H:%M:%S.%f}"[:-3]


def _shown(payload: bytes) -> str:
    text = payload[: PAYLOAD_SHOWN + 1].decode("utf-8", errors="replace")
    return printable(text[:PAYLOAD_SHOWN]) + ("..." if len(payload) > PAYLOAD_SHOWN else "")


def _one_line(text: str) -> str:
    return shown(text).replace("\n", GAP).replace("\t", GAP)


def json_line(message: Message) -> str:
    """The same as one line of JSON, with all of it."""
    value: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(),
        "topic": message.topic,
        "qos": message.qos,
        "retain": message.retain,
        "duplicate": message.duplicate,
        "properties": message.properties,
    }
    try:
        value["payload"] = message.payload.decode()
    except UnicodeDecodeError:
        value["payload_base64"] = base64.b64encode(message.payload).decode()
    return json_shown(json.dumps(value, ensure_ascii=False))
