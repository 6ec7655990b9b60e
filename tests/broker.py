"""A real Mosquitto on a free loopback port, for one test; it is ended by its process id."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fleetwire.host_port import family_of, host_port

_ANSWER_S = 30.0
_ATTEMPTS = 3
_CONNECT_FRAME = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x03wfb"
_SYSTEM_FOLDERS = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/sbin:/usr/bin"


def find_mosquitto() -> str | None:
    """Path of the Mosquitto binary, looked for where an ordinary user's PATH does not."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=_SYSTEM_FOLDERS)


class ReservedPort:
    """A loopback port that no other process is given, before a server listens there and while it is away.

    A socket stays bound to it without listening; a server that sets SO_REUSEADDR, as all do, listens beside it. Linux
    allows that; elsewhere the port was merely free a moment ago.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self._holder = socket.socket(family_of(host))
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind((host, 0))
        self.number: int = self._holder.getsockname()[1]
        if sys.platform != "linux":
            self.close()

    def close(self) -> None:
        """Give it back."""
        self._holder.close()


class Broker:
    """Mosquitto with ``lines`` added to its configuration; without persistence, and without passwords unless told.

    ``folder`` is readable by everybody, since Mosquitto started by root drops to its own user: put files there.
    """

    def __init__(
        self,
        lines: Sequence[str] = (),
        *,
        anonymous: bool = True,
        persistence: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self._reserved = ReservedPort(host)
        self.port = self._reserved.number
        self.folder = Path(tempfile.mkdtemp(prefix="storefleet-broker-"))
        self.folder.chmod(0o777 if persistence else 0o755)
        self._lines = [
            f"allow_anonymous {str(anonymous).lower()}",
            f"persistence {str(persistence).lower()}",
            *([f"persistence_location {self.folder}/"] if persistence else []),
            *lines,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker as ``mqtt://host:port``."""
        return f"mqtt://{host_port(self.host, self.port)}"

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self._process is not None, "the broker was not started"
        return self._process.pid

    @property
    def log(self) -> str:
        """What the broker has written so far."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def write(self, name: str, content: bytes) -> Path:
        """Put a file where the broker can read it, before the start."""
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o644)
        return path

    def add_line(self, line: str) -> None:
        """Add a line to the configuration, before the start."""
        self._lines.append(line)

    def start(self) -> Broker:
        """Start on its port, another one where that could not be reserved; returns once it answers a CONNECT."""
        for _ in range(_ATTEMPTS):
            if self._start():
                return self
            self._reserved.close()
            self._reserved = ReservedPort(self.host)
            self.port = self._reserved.number
        raise RuntimeError(f"Mosquitto did not start:\n{self.log}")

    def restart(self) -> None:
        """Start again on the same port, after :meth:`kill` or :meth:`stop`."""
        if not self._start():
            raise RuntimeError(f"Mosquitto did not start again on port {self.port}:\n{self.log}")

    def _start(self) -> bool:
        binary = find_mosquitto()
        if binary is None:
            raise RuntimeError("Mosquitto is not installed: the tests need the real one (apt install mosquitto)")
        # The listener comes first: in Mosquitto's file the options of a listener follow it.
        lines = [f"listener {self.port} {self.host}", *self._lines]
        configuration = self.write("mosquitto.conf", "\n".join([*lines, ""]).encode())
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binary, "-c", str(configuration)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline_s and self._process.poll() is None:
            if self._answers():
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                if any(line.startswith("certfile") for line in self._lines):
                    return True
                connection.sendall(_CONNECT_FRAME)
                return connection.recv(1) == b"\x20"
        except OSError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, such as SIGSTOP and SIGCONT."""
        assert self._process is not None, "the broker was not started"
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL, as a crash does."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """End it in an orderly way."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        """Stop it, remove its folder and give its port back."""
        self.stop()
        self._reserved.close()
        shutil.rmtree(self.folder, ignore_errors=True)
