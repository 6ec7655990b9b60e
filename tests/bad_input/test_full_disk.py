"""A full disk: the lab says so, goes on when there is room again, and calls nothing valid that it cannot know."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from storefleet.verdict.log_file import LOG_FILE_NAME, read_log
from tests.lab.command_line import CommandLine, Lab, until

ALARM = "make room on this disk; tills and stages commit nothing until there is"
"""Said by who writes the snapshots down; the journal of processes asks for room, too, when it has to write."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 130 MB of which all but 3 MB is taken by the file ``filler``."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=130m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        with (folder / "filler").open("wb") as filler:
            os.posix_fallocate(filler.fileno(), 0, 133_000_000)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def trouble_of(lab: Lab, words: str) -> bool:
    """Whether the status tells of this trouble."""
    return any(trouble.startswith(words) for trouble in lab.status()["troubles"])


def log_of(command_line: CommandLine) -> str:
    """What the detached lab has said."""
    return (command_line.folder / "storefleet-lab.log").read_text(encoding="utf-8")


def test_it_goes_on_when_there_is_room_again(command_line: CommandLine, small_disk: Path) -> None:
    """The run says where the disk is full; once there is room, all views catch up and the verdict is valid."""
    command_line.runs = small_disk
    lab = command_line.up(rate="300/s")
    until(lambda: ALARM in log_of(command_line), "the lab has noticed the full disk")
    assert str(lab.run_folder) in log_of(command_line)
    until(lambda: trouble_of(lab, "witnesses.jsonl: disk full since "), "status says so", deadline_s=3.0)
    before = lab.stage("emulator")["total"]
    (small_disk / "filler").unlink()
    until(lambda: lab.stage("emulator")["total"] > before + 100, "the tills trade again")
    command_line.run("wait", "--converged", "--timeout", "90s")
    verdict = lab.down()
    assert verdict["validity"] == "valid"
    assert log_of(command_line).count(ALARM) == 1
    assert "Traceback" not in log_of(command_line)
    told = [one for one in read_log(lab.run_folder / LOG_FILE_NAME) if one.who == "witnesses.jsonl"]
    assert [one.kind for one in told][:2] == ["trouble_on", "trouble_off"], "the log had to wait for the disk, too"


def test_it_ends_unknown_when_there_never_is(command_line: CommandLine, small_disk: Path) -> None:
    """The lab still ends within its time; nothing is called lost or valid: exit status 3, and nothing runs on."""
    command_line.runs = small_disk
    lab = command_line.up(rate="300/s")
    until(lambda: ALARM in log_of(command_line), "the lab has noticed the full disk")
    done = command_line.run("down", status=3)
    assert "UNKNOWN" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr + log_of(command_line)
    assert f"storefleet verdict {lab.run_folder}" in log_of(command_line)
    assert not list((command_line.home / "labs").iterdir())
    command_line.until_nothing_is_left(within_s=20.0)
