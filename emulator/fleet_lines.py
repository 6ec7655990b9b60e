"""Where in a fleet's file something stands, and what is no TOML in it, told with its line.

Python's TOML reader keeps no lines, so they are looked for in the text: by the headers of its tables and the keys at the
beginnings of lines. What cannot be found that way, such as a key inside of an inline table, has the line around it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from fleetwire.errors import SettingsError
from fleetwire.terminal_text import printable

LINE_CHARACTERS: Final = 60
_WHERE: Final = re.compile(r"(.*) \((?:at line (\d+), column (\d+)|at end of document)\)", re.DOTALL)
_HEADER: Final = re.compile(r"\s*(\[\[|\[)\s*([^\[\]]+?)\s*\]")
_KEY: Final = re.compile(r"""\s*("[^"]*"|'[^']*'|[A-Za-z0-9_-]+)\s*[=.]""")
_IN_WORDS: Final = {
    "Cannot overwrite a value": "this key is there already",
    "Cannot declare": "this table is there already",
    "Invalid statement": "expected KEY = VALUE or a [table]",
    "Expected '=' after a key": "expected KEY = VALUE",
    "Expected newline or end of document": "expected the end of the line after the value",
    "Invalid value": 'expected a value: a number, a "text", true, false, or a [list]',
}
"""How a sentence of Python's reader begins -> what we say."""


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """All that a TOML text says; raises SettingsError with the line, its column, and what stands there."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{where}{_told(str(error), text)}") from error


def read_text(file: Path, where: str) -> str:
    """The text of a file; raises SettingsError, with the line of what is no UTF-8."""
    try:
        content = file.read_bytes()
        return content.decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SettingsError(
            f"{where}, line {line}: byte 0x{content[error.start]:02x} is no utf-8; save the file as UTF-8 text"
        ) from error
    except OSError as error:
        raise SettingsError(f"{where}: {error.strerror}") from error


def line_of(text: str, path: tuple[str | int, ...]) -> int | None:
    """The line, from 1, on which ``path`` stands: ``("brands", 1, "dialect")``; None where it cannot be found."""
    best: tuple[int, int] | None = None
    for number, found in _paths(text):
        common = len(found) if path[: len(found)] == found else 0
        if common and (best is None or common > best[0]):
            best = common, number
    return best[1] if best else None


def _paths(text: str) -> Iterator[tuple[int, tuple[str | int, ...]]]:
    table: tuple[str | int, ...] = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            name = header[2].strip("\"'")
            table = (name,)
            if header[1] == "[[":
                table = (name, counts.get(name, 0))
                counts[name] = counts.get(name, 0) + 1
            yield number, table
        elif key := _KEY.match(line):
            yield number, (*table, key[1].strip("\"'"))


def _told(problem: str, text: str) -> str:
    match = _WHERE.fullmatch(problem)
    if match is None:
        return f": {problem}"
    said = next((words for begins, words in _IN_WORDS.items() if match[1].startswith(begins)), match[1])
    lines = text.splitlines()
    number = int(match[2] or len(lines))
    line = lines[number - 1].strip() if 0 < number <= len(lines) else ""
    shown = printable(line[:LINE_CHARACTERS])
    column = f", column {match[3]}" if match[3] else ""
    return f", line {number}{column}: {said}" + (f": {shown}" if shown else "")
