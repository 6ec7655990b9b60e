"""The gateway as a process: what it acknowledged survives a kill, and a stop is quick."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

DEADLINE_S = 40.0
ROOT = Path(__file__).resolve().parents[2]
LISTENS = re.compile(r"gateway listens on (127\.0\.0\.1:\d+)")


class GatewayProcess:
    """One process of the gateway; `url` is known as soon as it listens."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "consumers.gateway"],
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "STOREFLEET_STAGE": "gateway",
                "STOREFLEET_STATE_DIR": str(folder),
                "STOREFLEET_LISTEN": "127.0.0.1:0",
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = ""
        self.log = ""
        self._listens = threading.Event()
        self._reader = threading.Thread(target=self._read_log, name="gateway log")
        self._reader.start()

    def wait_until_it_listens(self) -> "GatewayProcess":
        """Returns itself when it listens; fails with its log when it ended before."""
        assert self._listens.wait(DEADLINE_S), self.log
        assert self.url, self.log
        return self

    def end(self, number: int) -> int:
        """Sends the signal and waits; returns the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(DEADLINE_S)
        self.close()
        return status

    def close(self) -> None:
        """Ends whatever is left of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            for line in lines:
                self.log += line
                if found := LISTENS.search(line):
                    self.url = f"http://{found[1]}/fleet"
                    self._listens.set()
        self._listens.set()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., GatewayProcess]]:
    """Starts gateways on one state folder with a space and a letter beyond ASCII in its name."""
    started: list[GatewayProcess] = []

    def make(**environment: str) -> GatewayProcess:
        started.append(GatewayProcess(tmp_path / "state ñ", **environment))
        return started[-1]

    yield make
    for process in started:
        process.close()


def write_until_killed(gateway: GatewayProcess, acknowledged: list[str], batches: list[int]) -> None:
    """Writes batches of 20 and notes what was acknowledged, until the connection breaks."""
    with httpx.Client(trust_env=False, timeout=DEADLINE_S) as client:
        for batch in range(10_000):
            names = [f"k{batch}.{number}" for number in range(20)]
            body = {"docs": [{"_id": name, "_rev": "1-x"} for name in names], "new_edits": False}
            try:
                answer = client.post(f"{gateway.url}/_bulk_docs", json=body)
            except httpx.TransportError:
                return
            assert answer.status_code == 201
            acknowledged += [row["id"] for row in answer.json() if "rev" in row]
            batches.append(batch)


def test_kill_keeps_everything_that_was_acknowledged(start: Callable[..., GatewayProcess]) -> None:
    """After kill -9 in the middle of writing, every acknowledged document is there, and sequences go on."""
    first = start().wait_until_it_listens()
    acknowledged: list[str] = []
    batches: list[int] = []
    writer = threading.Thread(target=write_until_killed, args=(first, acknowledged, batches))
    writer.start()
    deadline = time.monotonic() + DEADLINE_S
    while len(batches) < 20 and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    assert first.end(signal.SIGKILL) == -signal.SIGKILL
    writer.join(DEADLINE_S)
    assert len(acknowledged) >= 400
    second = start().wait_until_it_listens()
    changes = httpx.get(f"{second.url}/_changes", trust_env=False, timeout=DEADLINE_S).json()
    stored = [entry["id"] for entry in changes["results"]]
    assert set(acknowledged) <= set(stored)
    assert len(stored) == len(set(stored))
    assert len(stored) % 20 == 0, "a batch is stored whole or not at all"
    after = httpx.put(f"{second.url}/after", json={}, trust_env=False, timeout=DEADLINE_S)
    assert after.status_code == 201
    assert httpx.get(f"{second.url}/", trust_env=False, timeout=DEADLINE_S).json()["update_seq"] == len(stored) + 1


def test_sigterm_ends_it_quickly_with_a_feed_open(start: Callable[..., GatewayProcess]) -> None:
    """SIGTERM ends open feeds and the process with status 0 soon, not at the next heartbeat."""
    gateway = start().wait_until_it_listens()
    with (
        httpx.Client(trust_env=False, timeout=DEADLINE_S) as client,
        client.stream("GET", f"{gateway.url}/_changes", params={"feed": "continuous"}) as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines) == ""
        started = time.monotonic()
        assert gateway.end(signal.SIGTERM) == 0
        assert time.monotonic() - started < DEADLINE_S / 2
        assert list(lines) == []
    assert "Traceback" not in gateway.log


def test_a_taken_port_is_said_in_one_line(start: Callable[..., GatewayProcess]) -> None:
    """When its port is taken the process ends with status 2 and names the address."""
    first = start().wait_until_it_listens()
    address = first.url.removeprefix("http://").removesuffix("/fleet")
    second = start(STOREFLEET_LISTEN=address)
    assert second.process.wait(DEADLINE_S) == 2
    second.close()
    assert f"cannot listen on {address}" in second.log
    assert "Traceback" not in second.log
