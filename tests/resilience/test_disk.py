"""A disk that is full under the gateway or the ledger is a state, not an end: counted, said, and over again."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storefleet.run import Run
from storefleet.verdict.log_file import LOG_FILE_NAME, read_log
from tests.resilience.laboratory import Played, counter, plan_of, play, until, until_traded

SIZE_MB = 12
ENOUGH_MB = 64
FLEET = {"stores": 8, "keep_alive_s": 4}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of SIZE_MB, which only root can mount."""
    if os.geteuid() != 0:
        pytest.skip("a small disk can only be mounted by root")
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={SIZE_MB}m,mode=0777"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"no tmpfs here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> Path:
    """Take what is left of the disk; deleting the file gives it back."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(bytes(4096))
            except OSError:
                return ballast


def seconds(log: str, words: str) -> list[str]:
    """The seconds in which a log line with these words was written."""
    return [line[11:19] for line in log.splitlines() if words in line]


async def full_for_a_while(run: Run, disk: Path, process: str, refused: Callable[[], float]) -> None:
    """Fill the disk under load until writes are refused, which is shown within 3 s, and a few seconds have passed; then
    make room."""
    await until_traded(run, 100)
    ballast = fill(disk)
    await until(lambda: refused() > 0, "writes are refused")
    full = f"{process}: disk full since "
    await until(lambda: any(one.startswith(full) for one in run.picture().troubles), full, deadline_s=3.0)
    await until(lambda: refused() > 3, "writes are refused again and again")
    await asyncio.sleep(2.0)
    ballast.unlink()


def assert_full_and_over(played: Played, process: str) -> None:
    """The log tells that the disk under it was full, and that it was not any more; nothing is wrong in the end."""
    told = [one for one in read_log(played.folder / LOG_FILE_NAME) if one.who == process and "trouble" in one.kind]
    assert [one.kind for one in told] == ["trouble_on", "trouble_off"], told
    assert told[0].text.startswith("disk full: ")
    assert told[1].text.startswith("disk full; it lasted ")


async def test_a_full_disk_under_the_gateway_loses_nothing(tmp_path: Path, small_disk: Path) -> None:
    """Writes are answered 503, the sync stage acknowledges nothing, and all goes on by itself when there is room."""
    refused = 0.0

    def prepare(run_folder: Path) -> None:
        (run_folder / "state").mkdir()
        (run_folder / "state" / "gateway-1").symlink_to(small_disk)

    async def script(run: Run) -> None:
        nonlocal refused
        await full_for_a_while(run, small_disk, "gateway-1", lambda: counter(run, "gateway", "writes_unavailable"))
        stored = counter(run, "sync_stage", "handed_on_total")
        await until(lambda: counter(run, "sync_stage", "handed_on_total") > stored + 100, "it goes on by itself")
        refused = counter(run, "gateway", "writes_unavailable")
        await run.wait_recovery(30.0)

    played = await play(tmp_path, plan_of(tmp_path, fleet=FLEET, rate="80/s"), script, prepare=prepare)
    played.assert_valid()
    assert refused > 3
    said = seconds(played.log("gateway-1"), "answered 503")
    assert said, "the gateway says what is the matter"
    assert len(said) <= len(set(said)) + 1, "once a second"
    assert "gateway-1" not in played.run.record.restarts
    assert_full_and_over(played, "gateway-1")


async def test_a_full_disk_under_the_ledger_stops_the_tills_and_nothing_else(tmp_path: Path, small_disk: Path) -> None:
    """No till sells what it cannot keep; none dies, the state is counted and said, and they sell again with room."""
    failures = 0.0

    def prepare(run_folder: Path) -> None:
        (run_folder / "ledger.sqlite").symlink_to(small_disk / "ledger.sqlite")

    async def script(run: Run) -> None:
        nonlocal failures
        await full_for_a_while(run, small_disk, "emulator-1", lambda: counter(run, "emulator", "commit_failures_total"))
        await until_traded(run, 100)
        failures = counter(run, "emulator", "commit_failures_total")
        await run.wait_recovery(30.0)

    played = await play(tmp_path, plan_of(tmp_path, fleet=FLEET, rate="80/s"), script, prepare=prepare)
    played.assert_valid()
    assert failures > 3
    said = seconds(played.log("emulator-1"), "no terminal can sell")
    assert said, "the fleet says what is the matter"
    assert len(said) <= len(set(said)) + 1, "once a second"
    assert "emulator-1" not in played.run.record.restarts
    assert_full_and_over(played, "emulator-1")
