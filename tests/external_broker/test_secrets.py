"""The broker's password and the control token are in no process list, environment of a child, log or record."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.broker import Broker
from tests.external_broker.guarded_broker import PASSWORD, guarded_broker, options_for, password_file, with_password
from tests.lab.command_line import CommandLine, Lab, until

Started = tuple[CommandLine, Lab, set[int]]


@pytest.fixture(params=["environment", "file"])
def started(request: pytest.FixtureRequest, command_line: CommandLine, make_broker: Callable[..., Broker]) -> Started:
    """A lab that has been given the password in one of the two ways, and the processes that may know it from there."""
    broker = guarded_broker(make_broker)
    if request.param == "environment":
        lab = with_password(command_line).up(*options_for(broker))
        allowed = {lab.identities()["lab"].process_id}
    else:
        lab = command_line.up(*options_for(broker), "--broker-password-file", password_file(command_line.folder))
        allowed = set()
    lab.wait_for_trade()
    until(lambda: lab.ledger("SELECT 1 FROM outcome LIMIT 1"), "an event has its outcome")
    return command_line, lab, allowed


def files_below(folder: Path) -> Iterator[tuple[Path, bytes, int]]:
    """Path, content and mode of every file; one that its process removes meanwhile is passed over."""
    for path in folder.rglob("*"):
        if path.is_file():
            with contextlib.suppress(FileNotFoundError):
                yield path, path.read_bytes(), path.stat().st_mode


def test_no_secret_gets_out(started: Started) -> None:
    """Secrets are only in files of mode 0600 in the lab's own folder, and where the user has put them."""
    command_line, lab, allowed = started
    secret_files = {command_line.folder / "broker-password"}
    home = command_line.home / "labs" / lab.name
    control = json.loads((home / "control.json").read_text(encoding="utf-8"))
    token = control["token"]
    credentials = [path.read_bytes() for path in home.glob("*.credential")]
    assert len({*credentials}) == len(lab.identities()) - 1, "each process of the lab has one that no other has"
    assert command_line.home.stat().st_mode & 0o077 == 0
    listed = subprocess.run(["ps", "axeww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        assert token not in line, line
        if PASSWORD in line:
            assert int(line.split()[0]) in allowed, line
    argv = subprocess.run(["ps", "axww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert PASSWORD not in argv
    answers = "".join(
        command_line.run(*words).stdout
        for words in (("status", "--json"), ("doctor",), ("trace", "--last"), ("clean",))
    )
    assert PASSWORD not in answers
    assert token not in answers
    for path, content, mode in files_below(command_line.folder):
        if any(credential in content for credential in credentials):
            assert (mode & 0o077, path.suffix) == (0, ".credential"), path
        if PASSWORD.encode() in content or token.encode() in content:
            assert mode & 0o077 == 0, path
            assert path.parent == home or path in secret_files, path
    lab.down()
    for path, content, _ in files_below(command_line.folder):
        if path not in secret_files:
            assert PASSWORD.encode() not in content, path
            assert token.encode() not in content, path
            assert not any(credential in content for credential in credentials), path
