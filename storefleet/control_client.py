"""How commands speak to a running lab: by its control.json, over the control plane."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

from fleetwire.control import Channel, connect
from fleetwire.errors import ControlError, SettingsError
from fleetwire.host_port import read_host_port
from storefleet import home
from storefleet.processes import is_live
from storefleet.unfinished_runs import unfinished_run, way_on


def require_live(name: str) -> None:
    """A lab whose process is there; raises SettingsError with the way on."""
    folder = home.lab_folder(name)
    if not is_live(folder):
        run = unfinished_run(folder)
        advice = "" if run is None else f"{way_on(run)}; "
        raise SettingsError(f"lab {name} is not running any more (it crashed?); {advice}tidy up with: storefleet clean")


async def open_channel(name: str) -> tuple[Channel, asyncio.Task[None]]:
    """Connect to a lab and say hello; raises SettingsError when it does not run any more."""
    require_live(name)
    folder = home.lab_folder(name)
    control = folder / "control.json"
    if not control.exists():
        raise SettingsError(f"lab {name} is just starting; try again in a moment")
    record = home.read_json(control)
    channel = await connect(read_host_port(record["address"]), {})
    reader = asyncio.create_task(channel.run(), name="control.client")
    try:
        await channel.call("hello", {"token": record["token"]}, timeout_s=5.0)
    except BaseException:
        await _close(channel, reader)
        raise
    return channel, reader


async def _close(channel: Channel, reader: asyncio.Task[None]) -> None:
    channel.close()
    with contextlib.suppress(ControlError):
        await reader


async def ask_lab(name: str, method: str, params: object = None, *, timeout_s: float = 30.0) -> Any:
    """One call to a lab, over a connection of its own. Raises SettingsError, ControlError."""
    channel, reader = await open_channel(name)
    try:
        return await channel.call(method, params, timeout_s=timeout_s)
    finally:
        await _close(channel, reader)


def call_lab(name: str | None, method: str, params: object = None, *, timeout_s: float = 30.0) -> Any:
    """The same from a command that is not asynchronous; ``name`` None: the only lab there is."""
    return asyncio.run(ask_lab(home.the_lab(name), method, params, timeout_s=timeout_s))
