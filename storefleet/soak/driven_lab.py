"""A lab that lives by itself, driven from outside: by its commands, its control plane, and its processes' identities.

It is brought up, taken up again after its death and ended by the same commands that a person would type. Whatever
happens to whoever drives it, :meth:`DrivenLab.end` leaves nothing of it running.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from fleetwire.errors import ControlError, FleetError
from storefleet import home
from storefleet.cleaning import give_way
from storefleet.control_client import ask_lab
from storefleet.own_python import own_process
from storefleet.process_identity import ProcessIdentity, end_all
from storefleet.processes import recorded
from storefleet.verdict.machine import LAB_PROCESS, Stall
from storefleet.verdict.result import EXIT_STATUS, Validity

STATUS_TIMEOUT_S: Final = 2.0
DOWN_TIMEOUT_S: Final = 120.0


class ProcessState(Struct, frozen=True):
    """One process, as the lab tells of it; ``ready``: it runs, and has said so since it was started."""

    ready: bool


class Terminals(Struct, frozen=True):
    """How many terminals are online, by what the emulator said at ``at_ms``."""

    online: int
    of: int
    at_ms: int


class StageFigures(Struct, frozen=True):
    """What waits for one stage, over all its instances."""

    stage: str
    backlog: int


class Stages(Struct, frozen=True):
    """The part of a picture that is looked at here."""

    stages: list[StageFigures]


class Status(Struct, frozen=True):
    """What ``storefleet status`` tells, as far as it is looked at here."""

    processes: dict[str, ProcessState]
    terminals: Terminals
    stalls: list[Stall]
    picture: Stages


class DrivenLab:
    """One lab by its name. ``attached`` is unset while the lab is dead and being taken up again."""

    def __init__(self, name: str, runs: Path) -> None:
        """``runs``: an existing folder, for its run folder and, until it has ended, the log of its own process."""
        self.name = name
        self.run_folder: Path | None = None
        """Known once it is up."""
        self.attached = asyncio.Event()
        self.attached.set()
        self._runs = runs.resolve()

    # -- from start to end ---------------------------------------------------------------------------------------

    async def up(self, options: Sequence[str]) -> None:
        """Bring it up with options of ``storefleet up``, and wait until it is ready; raises FleetError with its words."""
        await self._bring_up("--name", self.name, "--runs", str(self._runs), "--keep", "all", *options)
        self.run_folder = Path(home.read_json(home.lab_folder(self.name) / "lab.json")["run_folder"])

    async def take_up_again(self) -> None:
        """After its own process has died: go on with the same run; raises FleetError with what the command said."""
        await self._bring_up("--resume", str(self.run_folder))

    async def _bring_up(self, *options: str) -> None:
        exit_status, _, errors = await self.command("up", *options, "--detach")
        if exit_status:
            last = (errors.strip().splitlines() or [f"exit status {exit_status}"])[-1]
            raise FleetError(f"storefleet up: {last.removeprefix('storefleet: ')}")

    async def down(self) -> tuple[Validity, str]:
        """End it; returns the verdict and its words. A lab that is dead, or does not end, is judged by what is there."""
        exit_status, words, _ = await self.command("down", "--name", self.name, "--timeout", f"{DOWN_TIMEOUT_S:g}s")
        if self.alive or exit_status not in EXIT_STATUS.values():
            self.end()
            exit_status, words, _ = await self.command("verdict", str(self.run_folder))
        self._keep_log()
        found = {status: validity for validity, status in EXIT_STATUS.items()}
        return found.get(exit_status, "unknown"), words

    def end(self) -> None:
        """Kill whatever of it still runs, and forget it; nothing to do after :meth:`down`."""
        own = self.identities().get(LAB_PROCESS)
        if own is not None:
            end_all([own])
            give_way(self.name)

    @property
    def alive(self) -> bool:
        """Whether its own process runs."""
        own = self.identities().get(LAB_PROCESS)
        return own is not None and own.alive()

    def _keep_log(self) -> None:
        """What its own process said belongs to the run."""
        log = self._runs / f"storefleet-{self.name}.log"
        if log.exists() and self.run_folder is not None:
            log.replace(self.run_folder / log.name)

    async def command(self, *words: str) -> tuple[int, str, str]:
        """Exit status, output and errors of a command of ours; whoever is stopped meanwhile stops it, in order."""
        own = own_process("storefleet", *words)
        process = await asyncio.create_subprocess_exec(
            *own.command,
            env=own.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._runs,
            start_new_session=True,
        )
        try:
            output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")

    # -- what is asked -------------------------------------------------------------------------------------------

    def identities(self) -> dict[str, ProcessIdentity]:
        """Every process as the lab has written it down, its own as ``lab``; none while there is no lab."""
        try:
            return recorded(home.lab_folder(self.name))
        except FleetError:  # it went between two looks
            return {}

    async def status(self) -> Status:
        """How it is; raises FleetError when it does not answer, as one does that is paused."""
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                return msgspec.convert(await ask_lab(self.name, "status"), Status)
        except TimeoutError:
            raise ControlError(f"lab {self.name} does not answer within {STATUS_TIMEOUT_S:g} s") from None

    async def converged(self, timeout_s: float) -> dict[str, int]:
        """View -> milliseconds until it agreed with the tills; raises ControlError that names those that did not."""
        params = {"what": "converged", "timeout_s": timeout_s}
        answer = await ask_lab(self.name, "wait", params, timeout_s=timeout_s + 10.0)
        return msgspec.convert(answer, dict[str, int])
