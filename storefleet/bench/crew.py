"""The processes of a benchmark: fresh brokers and workers, each alone for one measurement.

However the benchmark ends, none of them outlives it: leaving the crew ends them, and when the benchmark itself is
killed its guardian does. They have sessions of their own, so that a Ctrl-C reaches the benchmark only, which then
ends them.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from fleetwire import bounded_json
from fleetwire.errors import FleetError
from storefleet import broker as broker_module
from storefleet.bench.interrupts import Interrupts
from storefleet.own_python import own_process
from storefleet.ports import Ports
from storefleet.process_identity import identify

BROKER_START_S: Final = 30.0
"""Longer than a machine stalls; a broker that ends instead is noticed at once."""
END_S: Final = 3.0


class Crew:
    """Use it as ``with Crew(interrupts) as crew``; ``folder`` is a working folder that goes with it."""

    def __init__(self, interrupts: Interrupts) -> None:
        self._interrupts = interrupts
        self._own_folder = tempfile.TemporaryDirectory(prefix="storefleet-bench-", ignore_cleanup_errors=True)
        self.folder = Path(self._own_folder.name)
        self._guardian: subprocess.Popen[str] | None = None
        self._running: list[subprocess.Popen[bytes]] = []
        self._brokers = 0

    def __enter__(self) -> Self:
        # Mosquitto started by root drops to its own user and must still reach its configuration.
        self.folder.chmod(0o755)
        with self._interrupts.held():
            guardian = own_process("storefleet.guardian")
            self._guardian = subprocess.Popen(
                guardian.command,
                env=guardian.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        with self._interrupts.held():
            for process in list(self._running):
                self._end(process)
            if self._guardian is not None and self._guardian.stdin is not None:
                self._guardian.stdin.close()
                self._guardian.wait()
            self._own_folder.cleanup()

    @contextlib.contextmanager
    def broker(self, terminals: int) -> Iterator[int]:
        """A Mosquitto of its own, configured as a lab's for so many terminals; gives its port. Raises FleetError."""
        binary = broker_module.find_mosquitto()
        self._brokers += 1
        configuration = self.folder / f"mosquitto-{self._brokers}.conf"
        with contextlib.closing(Ports()) as ports:
            port = ports.reserve()
            configuration.write_text(broker_module.configuration(port, terminals), encoding="utf-8")
            with self.running([binary, "-c", str(configuration)]) as process:
                _until_answers(process, port)
                yield port

    @contextlib.contextmanager
    def running(
        self, command: Sequence[str], *, environment: Mapping[str, str] | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process for as long as the block lasts; what it says is dropped."""
        process = self._start(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        )
        try:
            yield process
        finally:
            self._end(process)

    def feed(self, command: Sequence[str], lines: Path, *, timeout_s: float) -> float:
        """Run a program with a file as its standard input; returns its seconds. Raises FleetError when it fails."""
        with lines.open("rb") as source:
            started_s = time.perf_counter()
            process = self._start(command, stdin=source, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            _, error = self._finish(process, b"", command[0], timeout_s)
            elapsed_s = time.perf_counter() - started_s
        if process.returncode:
            raise FleetError(f"{command[0]} ended with status {process.returncode}: {_last_line(error)}")
        return elapsed_s

    def work(self, worker: str, task: Mapping[str, object], *, timeout_s: float) -> dict[str, Any]:
        """Give a worker its task in a process of its own and wait for its result. Raises FleetError."""
        own = own_process(f"storefleet.bench.workers.{worker}")
        process = self._start(
            own.command, env=own.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, error = self._finish(process, msgspec.json.encode(task), worker, timeout_s)
        if process.returncode:
            raise FleetError(f"worker {worker} ended with status {process.returncode}: {_last_line(error)}")
        try:
            return bounded_json.decode(output, type=dict[str, Any])
        except msgspec.DecodeError as failure:
            raise FleetError(f"worker {worker} gave no result ({failure}): {_last_line(error)}") from failure

    def _start(self, command: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
        with self._interrupts.held():
            try:
                process = subprocess.Popen(command, start_new_session=True, **streams)
            except OSError as error:
                raise FleetError(f"cannot run {command[0]}: {error.strerror}") from error
            self._running.append(process)
            self._tell_guardian(process)
        return process

    def _tell_guardian(self, process: subprocess.Popen[bytes]) -> None:
        identity = identify(process.pid)
        if self._guardian is not None and self._guardian.stdin is not None:
            self._guardian.stdin.write(f"{identity.process_id} {identity.started}\n")
            self._guardian.stdin.flush()

    def _finish(
        self, process: subprocess.Popen[bytes], given: bytes, name: str, timeout_s: float
    ) -> tuple[bytes, bytes]:
        try:
            output, error = process.communicate(given or None, timeout=timeout_s)
        except subprocess.TimeoutExpired as late:
            raise FleetError(f"{name} was not done within {timeout_s:g} s; is the machine busy?") from late
        finally:
            self._end(process)
        return output or b"", error or b""

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        if process in self._running:
            self._running.remove(process)


def _until_answers(process: subprocess.Popen[bytes], port: int) -> None:
    deadline_s = time.monotonic() + BROKER_START_S
    while process.poll() is None and time.monotonic() < deadline_s:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return
        time.sleep(0.005)
    raise FleetError(f"Mosquitto does not answer on port {port} within {BROKER_START_S:g} s")


def _last_line(text: bytes) -> str:
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:300] if lines else "it said nothing"
