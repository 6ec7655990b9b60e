"""The process driver: starts, supervises, pauses and ends the processes of one lab; no process outlives it.

Every child has a session of its own (a Ctrl-C reaches only the lab), its output goes to a log file, its identity to the
guardian and to ``processes.json`` before anything else happens. One that ends unasked is started again after 0.2 s,
doubling to 5 s; the count and the last exit are kept. Containers can take this module's place: a driver has start, kill,
terminate, pause, resume and stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetwire.clock import now_ms
from fleetwire.errors import SettingsError
from storefleet import home
from storefleet.last_words import last_words
from storefleet.own_python import own_process
from storefleet.process_identity import ProcessIdentity, end_all, identify
from storefleet.process_journal import ProcessJournal
from storefleet.run_log import Note, unnoted
from storefleet.verdict.machine import LAB_PROCESS

RESTART_DELAY_MINIMUM_S: Final = 0.2
RESTART_DELAY_MAXIMUM_S: Final = 5.0
BEHIND_A_GATE: Final = ("/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh")
"""Words before every command: a process becomes what it shall be once it is written down, by the guardian too. A lab
that is killed before has opened no gate, so nothing runs that nobody knows of."""
STEADY_AFTER_S: Final = 10.0
"""A process that ran so long is started again at once: its next failure counts as a first one."""

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Child:
    """One supervised process: how to start it, and how it fares."""

    name: str
    command: Sequence[str]
    environment: Callable[[int], Mapping[str, str]]
    """Called with the incarnation (from 1) at every start."""
    log_file: Path
    working_folder: Path | None = None
    incarnation: int = 0
    """Counted over the whole run, whichever lab started it."""
    starts: int = 0
    """How often this lab started it."""
    last_exit: str = ""
    """How it ended the last time unasked: its signal, or its exit status and last words."""
    started_at_ms: int = 0
    """When this lab started it the last time."""
    log_begins: int = 0
    """How long its log file was then, in bytes."""
    identity: ProcessIdentity | None = None
    process: asyncio.subprocess.Process | None = None
    wanted: bool = True

    @property
    def restarts(self) -> int:
        """How often this lab started it again."""
        return max(0, self.starts - 1)

    @property
    def running(self) -> bool:
        """Whether it runs now."""
        return self.process is not None and self.process.returncode is None


class Processes:
    """All processes of one lab. Use ``async with``: leaving it ends every process."""

    def __init__(
        self,
        lab_folder: Path,
        journal: ProcessJournal,
        note: Note = unnoted,
        secrets_of: Callable[[str], Iterable[str]] = lambda _: (),
    ) -> None:
        """``note`` hears of starts and ends; ``secrets_of`` a process, which its last words must not tell."""
        self.children: dict[str, Child] = {}
        self._note = note
        self._secrets_of = secrets_of
        self._journal = journal
        self._record = lab_folder / "processes.json"
        self._supervisors: dict[str, asyncio.Task[None]] = {}
        self._guardian: subprocess.Popen[str] | None = None

    async def __aenter__(self) -> Processes:
        guardian = own_process("storefleet.guardian")
        self._guardian = subprocess.Popen(  # noqa: ASYNC220 - milliseconds, before anything else runs
            guardian.command,
            env=guardian.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self._write_record()
        self._journal.start(LAB_PROCESS)
        self._note("start", LAB_PROCESS)
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.stop(list(reversed(self.children)), timeout_s=3.0)
        finally:  # whoever is stopped meanwhile leaves the rest to the guardian
            if self._guardian is not None and self._guardian.stdin is not None:
                self._guardian.stdin.close()
                await asyncio.to_thread(self._guardian.wait)

    async def start(self, child: Child) -> None:
        """Start and supervise a process. Raises OSError when the first start fails (e.g. no such command)."""
        self.children[child.name] = child
        await self._spawn(child)
        self._supervisors[child.name] = asyncio.create_task(self._supervise(child), name=f"supervisor[{child.name}]")

    def start_none_again(self) -> None:
        """What ends from now on ends for good, and nobody is told so."""
        for child in self.children.values():
            child.wanted = False

    async def stop(self, names: Sequence[str], *, timeout_s: float) -> None:
        """SIGTERM the named ones, in this order, all at once; what still runs after ``timeout_s`` is killed."""
        stopping = [self.children[name] for name in names if name in self.children]
        running = [child for child in stopping if child.running]
        for child in stopping:
            child.wanted = False
            self._send(child, signal.SIGCONT)
            self._send(child, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for child in stopping:
                    if child.process is not None:
                        await child.process.wait()
        for child in stopping:
            if child.running:
                _log.warning("%s did not end within %g s; killing it", child.name, timeout_s)
                self._send(child, signal.SIGKILL)
                if child.process is not None:
                    await child.process.wait()
            await self._end_supervisor(child)
        for child in running:
            self._note("stop", child.name, _how_it_stopped(child))

    def kill(self, name: str) -> None:
        """kill -9; the supervisor starts it again."""
        self._send(self.children[name], signal.SIGKILL)

    def terminate(self, name: str) -> None:
        """SIGTERM: it ends in order; the supervisor starts it again."""
        self._send(self.children[name], signal.SIGTERM)

    def pause(self, name: str) -> None:
        """SIGSTOP: it keeps its connections and does nothing."""
        self._send(self.children[name], signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self._send(self.children[name], signal.SIGCONT)

    async def _end_supervisor(self, child: Child) -> None:
        task = self._supervisors.pop(child.name, None)
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _spawn(self, child: Child) -> None:
        _require_program(child)
        child.incarnation = self._journal.start(child.name)
        child.starts += 1
        environment = {**os.environ, **child.environment(child.incarnation)}
        with child.log_file.open("ab") as log, _gate() as (gate, opener):
            child.log_begins, child.started_at_ms = log.tell(), now_ms()
            starting = asyncio.ensure_future(
                asyncio.create_subprocess_exec(
                    *BEHIND_A_GATE,
                    *child.command,
                    stdin=gate,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    cwd=child.working_folder,
                    start_new_session=True,
                )
            )
            try:
                child.process = await asyncio.shield(starting)
            except asyncio.CancelledError:
                await _undo(starting)
                raise
            child.identity = identify(child.process.pid)
            self._tell_guardian(child.identity)
            self._write_record()
            with contextlib.suppress(BrokenPipeError):  # ended by somebody; its supervisor will say so
                os.write(opener, b"\n")
        if child.starts > 1:
            self._note("restart", child.name, f"after {child.last_exit}" if child.last_exit else "")
        else:
            self._note("start", child.name)

    async def _supervise(self, child: Child) -> None:
        delay_s = RESTART_DELAY_MINIMUM_S
        loop = asyncio.get_running_loop()
        while child.process is not None:
            started_s = loop.time()
            code = await child.process.wait()
            self._send(child, signal.SIGKILL)  # what it started itself must not live on beside its next incarnation
            if not child.wanted:
                return
            child.last_exit = self._reason(child, code)
            self._journal.end(child.name, child.last_exit)
            self._note("end", child.name, child.last_exit)
            if loop.time() - started_s > STEADY_AFTER_S:
                delay_s = RESTART_DELAY_MINIMUM_S
            _log.warning("%s ended (%s); starting it again in %.1f s", child.name, child.last_exit, delay_s)
            delay_s = await self._start_again(child, delay_s)

    async def _start_again(self, child: Child, delay_s: float) -> float:
        """As soon as it can be started, unless it is not wanted any more; returns how long to wait the next time."""
        while True:
            await asyncio.sleep(delay_s)
            delay_s = min(RESTART_DELAY_MAXIMUM_S, delay_s * 2)
            if not child.wanted:
                return delay_s
            try:
                await self._spawn(child)
            except OSError as error:
                reason = error.strerror
                _log.warning("%s cannot be started again: %s; the next try is in %.1f s", child.name, reason, delay_s)
            else:
                return delay_s

    def _reason(self, child: Child, code: int) -> str:
        """A signal says all; what exits by itself says why in its log."""
        said = ""
        if code >= 0:
            said = last_words(child.log_file, since_bytes=child.log_begins, secrets=self._secrets_of(child.name))
        return f"{_exit_text(code)}: {said}" if said else _exit_text(code)

    def _send(self, child: Child, number: signal.Signals) -> None:
        if child.identity is not None and child.identity.started:
            child.identity.signal_group(number)

    def _tell_guardian(self, identity: ProcessIdentity) -> None:
        if self._guardian is not None and self._guardian.stdin is not None:
            self._guardian.stdin.write(f"{identity.process_id} {identity.started}\n")
            self._guardian.stdin.flush()

    def _write_record(self) -> None:
        children = [(child.name, child.identity) for child in self.children.values() if child.identity is not None]
        home.write_private(self._record, record_text(children))


def record_text(children: Iterable[tuple[str, ProcessIdentity]]) -> str:
    """``processes.json``: this process as the lab, and its children by name."""
    rows = [(LAB_PROCESS, identify(os.getpid())), *children]
    return json.dumps([{"name": name, "process_id": one.process_id, "started": one.started} for name, one in rows])


@contextlib.contextmanager
def _gate() -> Iterator[tuple[int, int]]:
    """Two ends of a pipe, closed in the end: what waits at the one goes on when something is written into the other."""
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


def _require_program(child: Child) -> None:
    """Raises OSError where the command is no program: behind the gate nobody could tell that from its own failure."""
    if child.working_folder is not None and not child.working_folder.is_dir():
        raise OSError(errno.ENOENT, f"there is no folder {child.working_folder} to run it in")
    program = child.command[0]
    if "/" in program:
        program = str((child.working_folder or Path.cwd()) / program)
    if shutil.which(program) is None:
        code = errno.EACCES if Path(program).is_file() else errno.ENOENT
        raise OSError(code, os.strerror(code), child.command[0])


async def _undo(starting: asyncio.Future[asyncio.subprocess.Process]) -> None:
    """Whoever is stopped while a process starts leaves none behind that nobody knows."""
    with contextlib.suppress(OSError):
        process = await starting
        process.kill()
        await process.wait()


def recorded(lab_folder: Path) -> dict[str, ProcessIdentity]:
    """The processes of a lab as written down, by name; empty when it had none, or where that cannot be read any more."""
    path = lab_folder / "processes.json"
    if not path.exists():
        return {}
    try:
        return {row["name"]: ProcessIdentity(row["process_id"], row["started"]) for row in home.read_json(path)}
    except (SettingsError, LookupError, TypeError) as error:
        _log.warning("%s: what a lab has left running is not known: %s", path, error)
        return {}


def is_live(lab_folder: Path) -> bool:
    """Whether the lab's own process still runs."""
    own = recorded(lab_folder).get(LAB_PROCESS)
    return own is not None and own.alive()


def reap(lab_folder: Path) -> list[str]:
    """End whatever a crashed lab left running; returns the names of what was still alive."""
    left = recorded(lab_folder)
    left.pop(LAB_PROCESS, None)
    ended = end_all(list(left.values()))
    return [name for name, identity in left.items() if identity in ended]


def survivors(lab_folder: Path) -> list[str]:
    """What of a dead lab still runs by name, although it was killed: it waits in the kernel, as for a disk."""
    return [name for name, identity in recorded(lab_folder).items() if name != LAB_PROCESS and identity.alive()]


def _how_it_stopped(child: Child) -> str:
    """Nothing more to say of what ended in order."""
    code = child.process.returncode if child.process is not None else None
    return "" if not code else _exit_text(code)


def _exit_text(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit status {code}"
