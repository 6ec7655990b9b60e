"""A run that was recorded once, for all that only look at it, and the command line as pip installs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.command_line import CommandLine


class InstalledCommand(CommandLine):
    """``storefleet`` started by the script that an installer writes: nothing says to Python what path would be safe."""

    def _words(self, arguments: tuple[object, ...]) -> list[str]:
        return [str(Path(sys.executable).with_name("storefleet")), *map(str, arguments)]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[InstalledCommand]:
    """The command in a folder of its own; no variable of Python's or of a proxy's but what a test sets."""
    installed = InstalledCommand(tmp_path)
    for name in list(installed.environment):
        if name.startswith("PYTHON") or name.lower().endswith("_proxy"):
            del installed.environment[name]
    yield installed
    installed.end_leftovers()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short valid run."""
    recorder = CommandLine(tmp_path_factory.mktemp("recorded"))
    try:
        lab = recorder.up(stores=2)
        lab.wait_for_trade(total=20)
        lab.down()
    finally:
        recorder.end_leftovers()
    return lab.run_folder
