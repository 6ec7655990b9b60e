"""The last line that a process has written into its log file: what it died of, in its own words, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from fleetwire.dead_letters import printable

TAIL_BYTES: Final = 8_192
CHARACTERS: Final = 200
HIDDEN: Final = "***"
SHORTEST_SECRET: Final = 4
"""Characters; what is shorter would be found in any text."""
_LOG_HEAD: Final = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: ")
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*(?=@)")
_NAMED_SECRET: Final = re.compile(r"(?i)((?:password|passwd|secret|token)\w*\s*[=:]\s*)\S+")


def last_words(file: Path, *, since_bytes: int = 0, secrets: Iterable[str] = ()) -> str:
    """The last line behind ``since_bytes`` that is not empty, shortened; '' where there is none, or no file."""
    try:
        with file.open("rb") as log:
            end = log.seek(0, 2)
            begin = log.seek(max(since_bytes, end - TAIL_BYTES))
            text = log.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = text.strip().splitlines()
    if len(lines) == 1 and begin > since_bytes:
        return ""  # the end of a long line: what is a secret in it cannot be told
    return _shown(lines[-1], secrets) if lines else ""


def _shown(line: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            line = line.replace(secret, HIDDEN)
    line = _NAMED_SECRET.sub(rf"\1{HIDDEN}", _CREDENTIALS.sub(HIDDEN, _LOG_HEAD.sub("", line)))
    words = printable(" ".join(line.split()))
    return words if len(words) <= CHARACTERS else f"{words[: CHARACTERS - 3]}..."
