"""What is on a lab's broker, as it happens: one line a message, for people or as JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from fleetwire.broker_endpoint import broker_endpoint
from fleetwire.errors import SettingsError
from fleetwire.mqtt import Message, MqttError, SessionOptions, StageClient, TopicFilter
from storefleet import home
from storefleet.broker_advice import advice_on
from storefleet.lab_options import take_password

PAYLOAD_SHOWN: Final = 160
HELD_LIMIT: Final = 10_000


async def follow(
    name: str | None, pattern: str | None, count: int, *, as_json: bool, say: Callable[[str], None]
) -> None:
    """Print messages until ``count`` are shown (0: for ever). Raises SettingsError."""
    lab = home.read_json(home.lab_folder(home.the_lab(name)) / "lab.json")
    chosen = pattern or f"{lab['topic_root']}/#"
    if "/" not in chosen:
        raise SettingsError(
            f"filter {chosen!r}: every topic of this lab lies below {lab['topic_root']}/, e.g. "
            f"{lab['topic_root']}/dead-letter/#"
        )
    shown = 0
    done = asyncio.Event()

    def show(message: Message) -> None:
        nonlocal shown
        if not done.is_set():
            shown += 1
            say(_json_line(message) if as_json else _line(message))
            if count and shown >= count:
                done.set()

    password = take_password(None)
    options = SessionOptions(
        client_id=f"{lab['name']}.tail-{secrets.token_hex(3)}",
        username=lab["broker"]["username"] or None,
        password=password.encode() if password else None,
        clean_start=True,
    )
    handlers = [(TopicFilter(pattern=chosen, qos=0), show)]
    broker = broker_endpoint(lab["broker"]["url"], lab["broker"]["ca_file"])
    try:
        async with StageClient(broker, options, handlers=handlers, backlog_limit=HELD_LIMIT):
            await done.wait()
    except MqttError as error:
        raise SettingsError(f"{error}; {advice_on(error)}") from error


def _line(message: Message) -> str:
    now = f"{datetime.now(UTC):%H:%M:%S.%f}"[:-3]
    marks = "".join(("r" if message.retain else "-", "d" if message.duplicate else "-", str(message.qos)))
    properties = dict(message.properties)
    about = " ".join(f"{name}={properties[name]}" for name in ("id", "type", "attempt", "reason") if name in properties)
    return f"{now} {marks} {message.topic}  {about}  {_shown(message.payload)}"


def _shown(payload: bytes) -> str:
    text = payload[: PAYLOAD_SHOWN + 1].decode("utf-8", errors="replace")
    printable = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return printable[:PAYLOAD_SHOWN] + ("..." if len(payload) > PAYLOAD_SHOWN else "")


def _json_line(message: Message) -> str:
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
    return json.dumps(value, ensure_ascii=False)
