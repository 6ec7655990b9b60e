"""One lab that trades, for commands that ask; and, once it has ended, its run folder."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.command_line import CommandLine, Lab


@pytest.fixture(scope="session", autouse=True)
def hang_ups_are_heard() -> Iterator[None]:
    """Also where the tests run under ``nohup``, whose commands ignore SIGHUP as they are told to."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(scope="module")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """``storefleet`` with a home and a runs folder of this module; whatever is left running is ended."""
    command = CommandLine(tmp_path_factory.mktemp("endings"))
    yield command
    command.end_leftovers()


@pytest.fixture(scope="module")
def lab(command_line: CommandLine) -> Lab:
    """A lab that trades; some of what it sends are dead letters."""
    lab = command_line.up("--malformed", "0.2")
    lab.wait_for_trade()
    return lab


@pytest.fixture(scope="module")
def run_folder(lab: Lab) -> Path:
    """The valid run of a lab that has ended; with the budget ``dead-letters=0`` it is invalid."""
    lab.command_line.run("wait", "--converged")
    lab.down()
    return lab.run_folder
