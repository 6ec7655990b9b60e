"""What tests of the benchmark share: a crew whose labs are written down in a folder of the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storefleet.bench.crew import Crew
from storefleet.bench.interrupts import Interrupts
from tests.lab.command_line import CommandLine


@pytest.fixture
def crew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Crew]:
    """A crew; whatever it started ends with the test."""
    monkeypatch.setenv("STOREFLEET_HOME", str(tmp_path / "home"))
    with Crew(Interrupts()) as members:
        yield members


@pytest.fixture
def command_line(tmp_path: Path) -> Iterator[CommandLine]:
    """``storefleet`` with a home of its own."""
    command = CommandLine(tmp_path)
    yield command
    command.end_leftovers()
