"""A fleet needs descriptors: the soft limit is raised, the hard one is explained."""

from __future__ import annotations

import resource

import pytest

from tests.bad_input.refusal import refusal
from tests.lab.command_line import CommandLine


class LimitedCommandLine(CommandLine):
    """A command line whose shell has limited the descriptors of a process."""

    soft = hard = 0

    def _words(self, arguments: tuple[object, ...]) -> list[str]:
        limit = f'ulimit -Sn {self.soft} && ulimit -Hn {self.hard} && exec "$@"'
        return ["bash", "-c", limit, "bash", *super()._words(arguments)]


@pytest.fixture
def limited(command_line: CommandLine) -> LimitedCommandLine:
    """The test's command line, in a shell with limits; they are set by the test."""
    return LimitedCommandLine(command_line.folder)


def test_more_terminals_than_descriptors(limited: LimitedCommandLine) -> None:
    """Beyond the hard limit the answer is the number that fits, and the limit to raise."""
    limited.soft = limited.hard = 1024
    line = refusal(limited, "up", "--stores", 200)
    assert "600 terminals need 1,400 descriptors" in line
    assert "hard limit is 1,024" in line
    assert "412 terminals fit" in line
    assert "ulimit -Hn 1400" in line


def test_the_soft_limit_is_raised(limited: LimitedCommandLine) -> None:
    """With 256 descriptors by the soft limit, 600 terminals work and the verdict is valid."""
    limited.soft, limited.hard = 256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    lab = limited.up(stores=200, rate="100/s")
    lab.wait_for_trade(total=150)
    online = lab.status()["picture"]["regions"]
    assert sum(total for _, total, _ in online.values()) == 200
    assert lab.down()["validity"] == "valid"
