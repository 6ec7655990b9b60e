"""The lab's end of the control plane for one test, and the tiny stage's process beside it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from fleetwire.control import Params
from fleetwire.settings import StageSettings
from fleetwire.witness import Snapshot
from storefleet.control_server import ControlServer, Member

DEADLINE_S = 40.0
TOKEN = "a token"
REPOSITORY = Path(__file__).parents[2]
TINY_STAGE = Path(__file__).with_name("tiny_stage.py")


class LabEnd:
    """A real control server that keeps every snapshot, and starts processes of the tiny stage."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.snapshots: list[Snapshot] = []
        self.server = ControlServer(TOKEN, on_snapshot=self._take, client_handlers={})
        self.processes: list[asyncio.subprocess.Process] = []
        self.address = ""
        self._news = asyncio.Event()

    async def open(self) -> LabEnd:
        """Listen, and write the tiny stage's credential down."""
        self.address = await self.server.start()
        self.token_file = self.folder / "token"
        self.token_file.touch(mode=0o600)
        self.token_file.write_text(self.server.credentials.of("tiny", 2))
        return self

    async def close(self) -> None:
        """End every process that a failed test has left."""
        await self.server.stop()
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()  # to the end of its pipes, so that none of them is left open

    def _take(self, params: Params) -> None:
        self.snapshots.append(msgspec.convert(params, Snapshot))
        self._news.set()

    def settings(self) -> StageSettings:
        """Settings that let a tiny stage in."""
        return StageSettings(
            stage="tiny", instance=2, incarnation=3, control=self.address, token_file=str(self.token_file)
        )

    async def start(self, settings: StageSettings | None = None, **variables: str) -> asyncio.subprocess.Process:
        """Start the tiny stage as a process with these settings; ``variables`` win over them."""
        environment = (settings or self.settings()).environment() | variables
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(TINY_STAGE),
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **environment},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        self.processes.append(process)
        return process

    async def until_ready(self) -> Member:
        """The tiny stage, once it has said that it is ready."""
        async with asyncio.timeout(DEADLINE_S):
            while not (found := [member for member in self.server.stage("tiny") if member.ready]):
                self.server.changed.clear()
                await self.server.changed.wait()
        return found[0]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition on what the snapshots say."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._news.clear()
                await self._news.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[int, list[str]]:
    """Exit status and the lines of standard error, once the process has ended by itself."""
    _, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode is not None
    return process.returncode, errors.decode().splitlines()
