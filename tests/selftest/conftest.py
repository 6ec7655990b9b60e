"""Small runs of real labs, each recorded once for all tests."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.command_line import REPOSITORY, CommandLine

ONE_BRAND = REPOSITORY / "examples" / "one_brand.toml"


@contextmanager
def recording(folder: Path, *options: object) -> Iterator[tuple[CommandLine, Path]]:
    """The command line, and the folder of a valid run."""
    command = CommandLine(folder)
    try:
        lab = command.up(*options, stores=8, rate="60/s")
        lab.wait_for_trade(total=300)
        assert lab.down()["validity"] == "valid"
        yield command, lab.run_folder
    finally:
        command.end_leftovers()


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CommandLine, Path]]:
    """A run of eight stores, with repeats and conflicts among its events."""
    options = ("--repeated", 0.05, "--conflicting", 0.03)
    with recording(tmp_path_factory.mktemp("recorded"), *options) as run:
        yield run


@pytest.fixture(scope="session")
def recorded_foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CommandLine, Path]]:
    """A run with somebody else's PARM, which has no witness."""
    folder = tmp_path_factory.mktemp("foreign")
    parm = shlex.join([sys.executable, str(REPOSITORY / "examples" / "my_parm.py")])
    with recording(folder, "--fleet", ONE_BRAND, "--stage", f"parm={parm}") as run:
        yield run
