"""The command line of one test; whatever a failed test leaves running is ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.command_line import CommandLine


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    """A home and a runs folder of its own."""
    command = CommandLine(tmp_path)
    yield command
    command.end_leftovers()
