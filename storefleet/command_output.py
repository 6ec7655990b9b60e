"""How commands speak: text and JSON on standard output, one line on standard error; how they end is in ``endings``."""

from __future__ import annotations

import sys
from typing import Final, NoReturn

import msgspec

from storefleet import endings

DID_NOT_BEGIN: Final = endings.DID_NOT_BEGIN
UNKNOWN: Final = endings.UNKNOWN
SECOND_INTERRUPT: Final = endings.STOPPED


def fail(message: str, status: int = DID_NOT_BEGIN) -> NoReturn:
    """Say it in one line on standard error and end."""
    sys.stderr.write(f"storefleet: {' '.join(message.split())}\n")
    raise SystemExit(status)


def out(text: str) -> None:
    """A line on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def out_json(value: object) -> None:
    """A value as indented JSON."""
    out(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def out_json_line(value: object) -> None:
    """A value as one line of JSON, for commands that say more than one thing."""
    out(msgspec.json.encode(value).decode())


def say_progress(text: str) -> None:
    """A line on standard error, beside what programs read."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
