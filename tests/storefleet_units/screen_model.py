"""What stands on a terminal after the bytes that were written to it: as much of one as Rich uses, with reflow."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"\x1b\[(\??[0-9;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen:
    """``rows`` from the top; a line that is too long goes on in the next row, and the screen scrolls."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows = [""] * height
        self._row = self._column = 0

    @property
    def text(self) -> list[str]:
        """The rows that say something."""
        return [row.rstrip() for row in self.rows if row.strip()]

    def write(self, text: str) -> None:
        """Obey it; fails with what it does not know."""
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            assert match is not None, text[at : at + 20]
            at = match.end()
            parameters, command, line_end, characters = match.groups()
            if command:
                self._obey(command, parameters)
            elif line_end == "\r":
                self._column = 0
            elif line_end == "\n":
                self._down()
            else:
                for character in characters:
                    self._put(character)

    def resize(self, width: int, height: int) -> None:
        """As terminals do that break long lines anew; the cursor stays behind what it was behind."""
        rows: list[str] = []
        for row in self.rows[: self._row + 1]:
            rows += [row.rstrip()[at : at + width] for at in range(0, len(row.rstrip()), width)] or [""]
        self.width, self.height = width, height
        rows = rows[-height:]
        self._row, self._column = len(rows) - 1, min(self._column, width - 1)
        self.rows = [*rows, *[""] * (height - len(rows))]

    def _obey(self, command: str, parameters: str) -> None:
        if command == "A":
            self._row = max(0, self._row - int(parameters or 1))
        elif command == "H":
            self._row = self._column = 0
        elif (command, parameters) == ("J", "2"):
            self.rows = [""] * self.height
        elif (command, parameters) == ("K", "2"):
            self.rows[self._row] = ""
        else:
            assert command in "mhl", f"CSI {parameters}{command}"

    def _put(self, character: str) -> None:
        if self._column == self.width:
            self._column = 0
            self._down()
        row = self.rows[self._row].ljust(self._column)
        self.rows[self._row] = row[: self._column] + character + row[self._column + 1 :]
        self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == self.height:
            self.rows = [*self.rows[1:], ""]
            self._row -= 1
