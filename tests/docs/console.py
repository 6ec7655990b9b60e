"""Runs what a page of docs/ shows: its files are written, its commands typed into one shell, what they print compared.

A block ``python`` whose first line is a comment with a file name becomes that file. In a block ``console`` a line that
begins with ``$`` is a command, which must succeed; the lines below it must stand in what it prints, in that order, each
within one line. Figures may differ, and ``...`` stands for anything.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_STATUS = "the status of this command is "


@dataclass(frozen=True)
class Command:
    """One command of a page, and the lines that it says the command prints."""

    text: str
    printed: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """What a page shows, in its order."""

    files: dict[str, str]
    commands: tuple[Command, ...]


def read_page(text: str) -> Page:
    """The files and commands of a page in Markdown."""
    blocks = _BLOCK.findall(text)
    named = (body for language, body in blocks if language == "python" and body.startswith("# "))
    files = {body.partition("\n")[0].removeprefix("# "): body for body in named}
    return Page(files, tuple(command for language, body in blocks if language == "console" for command in _typed(body)))


def _typed(body: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
        command, *printed = part.replace("\\\n", "").splitlines()
        yield Command(command, tuple(line for line in printed if line.strip() and line.strip() != "..."))


class Shell:
    """One bash in a folder, into which commands are typed one after the other."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=folder, env=dict(environment), text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def type(self, command: str) -> tuple[int, list[str]]:
        """Exit status of a command and the lines that it has printed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f'{{ {command}\n}} </dev/null\necho "{_STATUS}$?"\n')
        self._process.stdin.flush()
        said: list[str] = []
        for line in self._process.stdout:
            if line.startswith(_STATUS):
                return int(line.removeprefix(_STATUS)), said
            said.append(line.rstrip("\n"))
        raise AssertionError(f"{command}: the shell has ended; {said}")

    def close(self) -> None:
        """End the shell."""
        self._process.communicate(timeout=30)


def require_printed(command: Command, said: list[str]) -> None:
    """Fails where a line that the page shows did not come, or not in that order."""
    rest = iter(said)
    for shown in command.printed:
        wanted = re.compile(_pattern(shown))
        assert any(wanted.search(line) for line in rest), f"$ {command.text}\nno line {shown!r} in:\n" + "\n".join(said)


def _pattern(shown: str) -> str:
    """Figures may differ, as may the white space of a table; ``...`` is anything."""
    pieces = re.split(r"(\d+|\s+|\.\.\.)", shown.strip())
    return "".join(_piece(piece) for piece in pieces)


def _piece(piece: str) -> str:
    if piece.isdigit():
        return r"\d+"
    if piece.isspace():
        return r"\s+"
    return ".*" if piece == "..." else re.escape(piece)
