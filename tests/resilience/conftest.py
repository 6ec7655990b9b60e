"""The command line of one test, as the lab's tests have it."""

from tests.lab.conftest import command_line

__all__ = ["command_line"]
