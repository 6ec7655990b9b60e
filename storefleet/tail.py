"""What is on a lab's broker, as it happens: one line a message, for people or as JSON."""

from __future__ import annotations

import asyncio
import functools
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fleetwire.broker_endpoint import broker_endpoint
from fleetwire.errors import SettingsError
from fleetwire.mqtt import EveryQosFilter, Message, MqttError, SessionOptions, StageClient
from fleetwire.topics import Topics
from storefleet import home
from storefleet.broker_advice import advice_on
from storefleet.command_output import fail, say_progress
from storefleet.control_client import require_live
from storefleet.endings import UNKNOWN, Doing
from storefleet.lab_options import take_password
from storefleet.processes import is_live
from storefleet.tail_lines import json_line, letter_line, line
from storefleet.topic_filter import problem_of

HELD_LIMIT: Final = 10_000
SUBSCRIBE_TIMEOUT_S: Final = 10.0
LOOK_INTERVAL_S: Final = 0.5


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
    """Print messages until ``count`` are shown (0: as long as the lab runs). Raises SettingsError.

    ``say_aside`` is told first where the messages come from. A message is shown with the QoS that it was sent with.
    A lab that ends before leaves it unknown what else would have come: exit status 3.
    """
    chosen_lab = home.the_lab(name)
    require_live(chosen_lab)
    lab = home.read_json(home.lab_folder(chosen_lab) / "lab.json")
    topics = Topics(lab["topic_root"])
    everything = topics.all_dead_letters() if dead_letters else f"{topics.root}/#"
    chosen = pattern if pattern is not None else everything
    if "/" not in chosen:
        raise SettingsError(
            f"filter {chosen!r}: every topic of this lab lies below {lab['topic_root']}/, e.g. "
            f"{lab['topic_root']}/dead-letter/#"
        )
    if problem := problem_of(chosen):
        raise SettingsError(f"filter {chosen!r}: {problem}; e.g. {lab['topic_root']}/#")
    render = json_line if as_json else functools.partial(letter_line if dead_letters else line, topics=topics)
    shown = 0
    told = False
    done = asyncio.Event()

    def show(message: Message) -> None:
        nonlocal shown
        if not done.is_set():
            shown += 1
            say(render(message))
            if count and shown >= count:
                done.set()
        client.acknowledge(message)

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
    handlers = [(EveryQosFilter(pattern=chosen), show)]
    broker = broker_endpoint(lab["broker"]["url"], lab["broker"]["ca_file"])
    say_aside(f"topic root {topics.root!r} at {lab['broker']['url']}, filter {chosen!r}")
    client = StageClient(broker, options, handlers=handlers, backlog_limit=HELD_LIMIT)
    try:
        async with client:
            await client.until_subscribed(SUBSCRIBE_TIMEOUT_S)
            with Doing(nothing_yet, endless=True):
                await _until_first(done.wait(), client.until_useless(), _until_ended(lab["name"]))
    except MqttError as error:
        raise SettingsError(f"{error}; {advice_on(error)}") from error
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
