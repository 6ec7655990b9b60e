"""What a command asks a lab over a connection of its own, which is closed whatever comes of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from storefleet import home
from storefleet.control_client import ask_lab
from storefleet.processes import record_text


async def test_whoever_gives_up_on_a_silent_lab_leaves_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A paused lab accepts connections and says nothing: the one that asked goes with its question."""
    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path))
    greeted, left = asyncio.Event(), asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        greeted.set()
        await reader.read()
        left.set()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    folder = home.make_lab_folder("silent", record_text(()))
    home.write_private(folder / "control.json", json.dumps({"address": f"{host}:{port}", "token": "secret"}))
    async with server:
        asking = asyncio.create_task(ask_lab("silent", "status"))
        await greeted.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(60.0):
            await left.wait()
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "control.client"]
