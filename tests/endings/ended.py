"""Commands whose output goes to strange places, and what became of them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.lab.command_line import DEADLINE_S, CommandLine, without_silences

SHELL = ("/bin/sh", "-c")


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    output: str
    errors: str


def without_asides(errors: str) -> str:
    """Standard error without where ``tail`` looks, and what is only said on a busy machine."""
    return re.sub(r"^topic root .*\n", "", without_silences(errors), flags=re.MULTILINE)


def run_with(command_line: CommandLine, redirections: str, *arguments: object) -> Ended:
    """Run a command as a shell does with these redirections."""
    words = [*SHELL, f'exec "$@" {redirections}', "sh", *command_line._words(arguments)]
    done = subprocess.run(
        words, cwd=command_line.folder, env=command_line.environment, capture_output=True, text=True,
        timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, without_asides(done.stderr))


def run_into_a_pipe(command_line: CommandLine, *arguments: object, lines: int) -> Ended:
    """Run a command whose reader takes so many lines and goes."""
    with piped(command_line, *arguments) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        output = "".join(process.stdout.readline() for _ in range(lines))
        process.stdout.close()
        errors = process.stderr.read()
        return Ended(process.wait(DEADLINE_S), output, without_asides(errors))


@contextmanager
def piped(command_line: CommandLine, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A command in the background whose output and errors are pipes; killed at the end when it still runs."""
    process = subprocess.Popen(
        command_line._words(arguments), cwd=command_line.folder, env=command_line.environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def hears(process_id: int, number: int) -> bool:
    """Whether a process has a handler for a signal by now."""
    lines = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    caught = next(line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def read_line(process: subprocess.Popen[str], containing: str) -> str:
    """The next line of standard error that has these words in it."""
    assert process.stderr is not None
    for line in process.stderr:
        if containing in line:
            return line
    raise AssertionError(f"it ended without saying {containing!r}")
