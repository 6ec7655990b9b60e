"""What is on a lab's broker, as it happens: one line a message, for people or as JSON."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Callable
from typing import Final

from fleetwire.broker_endpoint import broker_endpoint
from fleetwire.errors import SettingsError
from fleetwire.mqtt import EveryQosFilter, Message, SessionOptions, StageClient
from fleetwire.topics import Topics
from storefleet import home
from storefleet.control_client import require_live
from storefleet.lab_options import take_password
from storefleet.tail_lines import json_line, letter_line, line

HELD_LIMIT: Final = 10_000


async def follow(
    name: str | None,
    pattern: str | None,
    count: int,
    *,
    as_json: bool,
    dead_letters: bool = False,
    say: Callable[[str], None],
    say_aside: Callable[[str], None],
) -> None:
    """Print messages until ``count`` are shown (0: for ever). Raises SettingsError, MqttError.

    ``say_aside`` is told first where the messages come from. A message is shown with the QoS that it was sent with.
    """
    chosen_lab = home.the_lab(name)
    require_live(chosen_lab)
    lab = home.read_json(home.lab_folder(chosen_lab) / "lab.json")
    topics = Topics(lab["topic_root"])
    chosen = pattern or (topics.all_dead_letters() if dead_letters else f"{topics.root}/#")
    if "/" not in chosen:
        raise SettingsError(
            f"filter {chosen!r}: every topic of this lab lies below {lab['topic_root']}/, e.g. "
            f"{lab['topic_root']}/dead-letter/#"
        )
    render = json_line if as_json else functools.partial(letter_line, topics=topics) if dead_letters else line
    shown = 0
    done = asyncio.Event()

    def show(message: Message) -> None:
        nonlocal shown
        if not done.is_set():
            shown += 1
            say(render(message))
            if count and shown >= count:
                done.set()
        client.acknowledge(message)

    password = take_password(None)
    options = SessionOptions(
        client_id=f"{lab['name']}.tail-{secrets.token_hex(3)}",
        username=lab["broker"]["username"] or None,
        password=password.encode() if password else None,
        clean_start=True,
    )
    handlers = [(EveryQosFilter(pattern=chosen), show)]
    broker = broker_endpoint(lab["broker"]["url"], lab["broker"]["ca_file"])
    say_aside(f"topic root {topics.root!r} at {lab['broker']['url']}, filter {chosen!r}")
    client = StageClient(broker, options, handlers=handlers, backlog_limit=HELD_LIMIT)
    async with client:
        await done.wait()
