"""Whatever can be read where output goes, no command fails for a character that cannot be written there.

Text has a question mark in its place. JSON, which programs read, has its escape, so that nothing of it is lost.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Final

import msgspec

BEYOND_ASCII: Final = re.compile(r"[^\x00-\x7f]")


def replace_what_cannot_be_written() -> None:
    """From now on; for both streams, those that were closed left alone."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]


def json_text(value: object, *, indent: int | None = None) -> str:
    """A value as JSON for standard output: one line, or indented by so many spaces."""
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:  # a name in the file system that is no text: escaped, it can still be told from others
        text = json.dumps(msgspec.to_builtins(value, str_keys=True), separators=(",", ":"))
    if not _is_unicode(sys.stdout.encoding if sys.stdout is not None else None):
        text = BEYOND_ASCII.sub(lambda found: json.dumps(found[0])[1:-1], text)
    return text if indent is None else msgspec.json.format(text, indent=indent)


def _is_unicode(encoding: str | None) -> bool:
    return encoding is None or encoding.lower().replace("_", "-").startswith("utf")
