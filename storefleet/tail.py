"""What is on a lab's broker, as it happens: one line a message, for people or as JSON."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

from fleetwire.broker_endpoint import broker_endpoint
from fleetwire.errors import SettingsError
from fleetwire.mqtt import Message, SessionOptions, StageClient, TopicFilter
from storefleet import home
from storefleet.command_output import UNKNOWN, fail, say_progress
from storefleet.endings import Doing
from storefleet.lab_options import take_password
from storefleet.processes import is_live
from storefleet.topic_filter import problem_of

PAYLOAD_SHOWN: Final = 160
HELD_LIMIT: Final = 10_000
SUBSCRIBE_TIMEOUT_S: Final = 10.0
LOOK_INTERVAL_S: Final = 0.5


async def follow(
    name: str | None, pattern: str | None, count: int, *, as_json: bool, say: Callable[[str], None]
) -> None:
    """Print messages until ``count`` are shown (0: as long as the lab runs). Raises SettingsError, MqttError.

    A lab that ends before leaves it unknown what else would have come: exit status 3.
    """
    lab = home.read_json(home.lab_folder(home.the_lab(name)) / "lab.json")
    chosen = pattern if pattern is not None else f"{lab['topic_root']}/#"
    if "/" not in chosen:
        raise SettingsError(
            f"filter {chosen!r}: every topic of this lab lies below {lab['topic_root']}/, e.g. "
            f"{lab['topic_root']}/dead-letter/#"
        )
    if problem := problem_of(chosen):
        raise SettingsError(f"filter {chosen!r}: {problem}; e.g. {lab['topic_root']}/#")
    shown = 0
    told = False
    done = asyncio.Event()

    def show(message: Message) -> None:
        nonlocal shown
        if not done.is_set():
            shown += 1
            say(_json_line(message) if as_json else _line(message))
            if count and shown >= count:
                done.set()

    def nothing_yet() -> str:
        """Once, where nothing matches."""
        nonlocal told
        first, told = not shown and not told, True
        below = f"every topic of this lab lies below {lab['topic_root']}/"
        return f"no message of filter {chosen!r} yet; {below}" if first else ""

    password = take_password(None)
    options = SessionOptions(
        client_id=f"{lab['name']}.tail-{secrets.token_hex(3)}",
        username=lab["broker"]["username"] or None,
        password=password.encode() if password else None,
        clean_start=True,
    )
    handlers = [(TopicFilter(pattern=chosen, qos=0), show)]
    broker = broker_endpoint(lab["broker"]["url"], lab["broker"]["ca_file"])
    async with StageClient(broker, options, handlers=handlers, backlog_limit=HELD_LIMIT) as client:
        await client.until_subscribed(SUBSCRIBE_TIMEOUT_S)
        with Doing(nothing_yet, endless=True):
            await _until_first(done.wait(), client.until_useless(), _until_ended(lab["name"]))
    if count and shown < count:
        fail(f"lab {lab['name']} has ended; {shown:,} of {count:,} messages were shown", UNKNOWN)


async def _until_first(*waits: Coroutine[Any, Any, object]) -> None:
    """Until one of them is over, or fails."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        over, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    for task in over:
        task.result()


async def _until_ended(name: str) -> None:
    """Until the lab does not run any more: its broker would be waited for in vain."""
    folder = home.lab_folder(name)
    while is_live(folder):  # noqa: ASYNC110 - another process is looked at
        await asyncio.sleep(LOOK_INTERVAL_S)
    say_progress(f"lab {name} has ended")


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
