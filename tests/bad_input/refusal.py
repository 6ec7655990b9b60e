"""What every refusal of the command line has in common, whatever it was given."""

from __future__ import annotations

from tests.lab.command_line import CommandLine


def refusal(command_line: CommandLine, *arguments: object) -> str:
    """Run a command that must not begin; its one line on standard error, without the program's name.

    It ends with status 2, shows no traceback, leaves no process and no lab behind.
    """
    done = command_line.run(*arguments, status=2)
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, f"one line, not {len(lines)}:\n{done.stderr}"
    assert lines[0].startswith("storefleet: "), lines[0]
    assert not command_line.leftovers()
    labs = command_line.home / "labs"
    assert not labs.is_dir() or not list(labs.iterdir())
    return lines[0].removeprefix("storefleet: ")
