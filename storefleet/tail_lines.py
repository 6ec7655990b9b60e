"""A message as one line: for people, as JSON for programs, and a dead letter in its own words.

Whatever a client publishes is shown on one line; what cannot be printed is replaced.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any, Final

from fleetwire.dead_letters import DETAIL_CHARACTERS, UNKNOWN
from fleetwire.mqtt import Message
from fleetwire.terminal_text import GAP, json_shown, shown
from fleetwire.topics import Topics

PAYLOAD_SHOWN: Final = 160


def line(message: Message) -> str:
    """Time, marks (retained, duplicate, QoS as sent), topic, what its properties tell, and the payload in short."""
    marks = "".join(("r" if message.retain else "-", "d" if message.duplicate else "-", str(message.qos)))
    properties = dict(message.properties)
    about = " ".join(f"{name}={properties[name]}" for name in ("id", "type", "attempt", "reason") if name in properties)
    return _one_line(f"{_now()} {marks} {message.topic}  {about}  {_shown(message.payload)}")


def letter_line(message: Message, topics: Topics) -> str:
    """A dead letter: who wrote it and why, about which event, where it was sent, and the original payload in short."""
    properties = dict(message.properties)
    stage, reason, source = topics.read_dead_letter(message.topic)
    about = properties.get("key") or source or UNKNOWN
    detail = properties.get("detail", "")[:DETAIL_CHARACTERS]
    words = (f"{_now()} {properties.get('stage', stage)}: {properties.get('reason', reason)}, {about}", detail,
             f"sent to {properties.get('original_topic', UNKNOWN)}", _shown(message.payload))  # fmt: skip
    return _one_line("; ".join(word for word in words if word))


def _now() -> str:
    return f"{datetime.now(UTC):%H:%M:%S.%f}"[:-3]


def _shown(payload: bytes) -> str:
    text = payload[: PAYLOAD_SHOWN + 1].decode("utf-8", errors="replace")
    printable = "".join(character if character.isprintable() else GAP for character in text)
    return printable[:PAYLOAD_SHOWN] + ("..." if len(payload) > PAYLOAD_SHOWN else "")


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
