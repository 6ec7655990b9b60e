"""The log of a process: a record is one line, whatever names and texts of others its message holds.

A line end in a document's id would otherwise begin a line that nobody has logged, and an escape sequence would be obeyed
by the terminal of whoever reads the file. A traceback stands below its record, indented.
"""

from __future__ import annotations

import copy
import logging
import sys
import textwrap
from typing import Final

from fleetwire.terminal_text import GAP, shown

STAGE_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
COMMAND_FORMAT: Final = "%(levelname)s: %(message)s"


def begin(level: int, form: str) -> None:
    """Log to standard error from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(form))
    logging.basicConfig(level=level, handlers=[handler])


class LineFormatter(logging.Formatter):
    """A record in one line, and its traceback below; what somebody else wrote may be in both."""

    def format(self, record: logging.LogRecord) -> str:
        """The text of a record."""
        bare = copy.copy(record)
        bare.exc_info = bare.exc_text = bare.stack_info = None
        lines = [GAP.join(shown(super().format(bare)).split("\n"))]
        lines += [self.formatException(record.exc_info)] if record.exc_info else []
        lines += [record.stack_info] if record.stack_info else []
        return "\n".join([lines[0], *(textwrap.indent(shown(more), "  ") for more in lines[1:])])
