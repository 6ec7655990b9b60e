"""``log.jsonl``: what happened in a run, in order, one line a happening.

| line | holds |
|---|---|
| first | :class:`LogHeader`: whose log it is |
| every other | :class:`Happening`; at most HAPPENING_LIMIT, then one that says so, and at the end how many have none |

A lab that goes on with a run writes on behind the lines of the one before. The log proves nothing that the ledger and the
witnesses do not prove: it is for people, and for whoever asks when something was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec
from msgspec import Struct

from fleetwire import bounded_json
from fleetwire.dead_letters import printable
from fleetwire.packed_times import END_OF_TIME_MS

LOG_FORMAT: Final = "storefleet-log"
LOG_VERSION: Final = 1
LOG_FILE_NAME: Final = "log.jsonl"
HAPPENING_LIMIT: Final = 10_000
WHO_CHARACTERS: Final = 80
TEXT_CHARACTERS: Final = 300
LINE_LIMIT_BYTES: Final = 8_192
READ_LIMIT: Final = 2 * HAPPENING_LIMIT
"""Lines that are read: each lab of a run may add two behind the limit."""


class LogHeader(Struct, frozen=True, kw_only=True):
    """The first line: whose log it is."""

    format: str = LOG_FORMAT
    version: int = LOG_VERSION
    run: str = ""
    """:attr:`storefleet.verdict.run_format.Plan.name`."""
    started_at_ms: int = 0
    """:attr:`storefleet.verdict.run_format.Plan.started_at_ms`."""


class Happening(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened; unix milliseconds by the lab's clock."""

    at_ms: int
    kind: str
    """A row of KINDS."""
    who: str = ""
    """A process (``parm-1``), a stage, a hop, a view, a file of the run, or ``lab``."""
    text: str = ""
    """The particulars, one line."""


class Kind(NamedTuple):
    """How a happening is called; whether it is bad news; and the bad news that it ends."""

    words: str
    trouble: bool = False
    ends: str = ""


KINDS: Final[dict[str, Kind]] = {
    "phase": Kind("phase"),
    "start": Kind("started"),
    "end": Kind("ended unasked", trouble=True),
    "restart": Kind("started again", trouble=True),
    "stop": Kind("ended as asked"),
    "lab_gone": Kind("there was no lab", trouble=True),
    "fault_on": Kind("fault on"),
    "fault_off": Kind("fault off"),
    "command": Kind("told"),
    "stopped": Kind("stopped, and stands still", trouble=True),
    "running": Kind("runs again", ends="stopped"),
    "standstill": Kind("stood still", trouble=True),
    "clock_step": Kind("the clock was set", trouble=True),
    "view_behind": Kind("behind", trouble=True),
    "view_back": Kind("back", ends="view_behind"),
    "dead_letter": Kind("first dead letter", trouble=True),
    "heard_in_part": Kind("messages are missing", trouble=True),
    "trouble_on": Kind("trouble", trouble=True),
    "trouble_off": Kind("trouble over", ends="trouble_on"),
    "unkept": Kind("not in this log", trouble=True),
}
"""Every kind of happening."""


def is_about_trouble(happening: Happening) -> bool:
    """Whether it is bad news, or the end of such."""
    kind = KINDS[happening.kind]
    return kind.trouble or bool(kind.ends and KINDS[kind.ends].trouble)


class _Head(Struct):
    """What a first line must say of itself."""

    format: str
    version: int


_decode_head = bounded_json.Decoder(_Head).decode
_decode = bounded_json.Decoder(Happening).decode
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)


def read_log(path: Path) -> list[Happening]:
    """What the log tells, as it was written; [] where there is none, or none of ours. What cannot be is skipped."""
    try:
        with path.open("rb") as file:
            head = _decode_head(file.readline(LINE_LIMIT_BYTES))
            if head.format != LOG_FORMAT or head.version > LOG_VERSION:
                return []
            return list(_happenings(file))
    except (OSError, *_UNREADABLE):
        return []


def _happenings(file: BinaryIO) -> Iterator[Happening]:
    for _ in range(READ_LIMIT):
        line = file.readline(LINE_LIMIT_BYTES)
        if not line:
            return
        if not line.endswith(b"\n"):
            _leave_line(file)
            continue
        try:
            happening = _decode(line)
        except _UNREADABLE:
            continue
        if happening.kind in KINDS and 0 < happening.at_ms < END_OF_TIME_MS:
            yield cleaned(happening)


def _leave_line(file: BinaryIO) -> None:
    """The rest of a line that is longer than any of ours."""
    while (rest := file.readline(LINE_LIMIT_BYTES)) and not rest.endswith(b"\n"):
        pass


def cleaned(happening: Happening) -> Happening:
    """The same in one line each of printable words, and no longer than it may be."""
    return msgspec.structs.replace(
        happening, who=_line(happening.who, WHO_CHARACTERS), text=_line(happening.text, TEXT_CHARACTERS)
    )


def _line(text: str, characters: int) -> str:
    return printable(" ".join(text[: 2 * characters].split()))[:characters]
