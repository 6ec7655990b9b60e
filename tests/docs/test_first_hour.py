"""docs/first-hour.md does what it says, command by command, with ports that are free here in place of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.broker import ReservedPort
from tests.docs.console import Shell, read_page, require_printed
from tests.lab.command_line import REPOSITORY, CommandLine

PORTS = ("18830", "18840")
"""Those of the page: of its lab, and of its reader's own broker."""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell in a folder of its own, with this project's examples and virtual environment beside it."""
    (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    (tmp_path / ".venv").symlink_to(sys.prefix)
    command_line = CommandLine(tmp_path)
    sbin = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin"}
    shell = Shell(tmp_path, {**command_line.environment, **sbin})
    yield shell
    shell.close()
    command_line.end_leftovers()


def test_every_command_of_the_page(shell: Shell, tmp_path: Path) -> None:
    """From the first lab to the one that was killed and goes on, each command prints what the page shows."""
    text = (REPOSITORY / "docs/first-hour.md").read_text(encoding="utf-8")
    reserved = {port: ReservedPort() for port in PORTS}
    for port, own in reserved.items():
        text = text.replace(port, str(own.number))
    page = read_page(text)
    assert len(page.commands) > 15
    assert set(page.files) == {"watch_with_paho.py", "watch_with_aiomqtt.py"}
    for name, source in page.files.items():
        (tmp_path / name).write_text(source, encoding="utf-8")
    for command in page.commands:
        status, said = shell.type(command.text)
        assert status == 0, f"$ {command.text}: {status}\n" + "\n".join(said)
        require_printed(command, said)
    for own in reserved.values():
        own.close()
