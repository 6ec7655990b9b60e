"""How commands speak: text and JSON on standard output, one line on standard error; how they end is in ``endings``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fleetwire.terminal_text import json_shown, shown
from storefleet.endings import DID_NOT_BEGIN
from storefleet.output_encoding import json_text

if TYPE_CHECKING:
    from storefleet.verdict.result import Verdict


def fail(message: str, status: int = DID_NOT_BEGIN) -> NoReturn:
    """Say it in one line on standard error and end."""
    sys.stderr.write(f"storefleet: {shown(' '.join(message.split()))}\n")
    raise SystemExit(status)


def out(text: str) -> None:
    """A line on standard output; what is no character to be seen has another in its place."""
    sys.stdout.write(shown(text) + "\n")
    sys.stdout.flush()


def out_json(value: object) -> None:
    """A value as indented JSON."""
    out(json_shown(json_text(value, indent=2)))


def out_json_line(value: object) -> None:
    """A value as one line of JSON, for commands that say more than one thing."""
    out(json_shown(json_text(value)))


def out_ended(run_folder: Path, verdict: Verdict) -> None:
    """How a run ended, as one line of JSON: the last of ``up`` and ``demo``, and what ``down`` says."""
    out_json_line({"run_folder": str(run_folder), "exit_status": verdict.exit_status, "verdict": verdict})


def say_progress(text: str) -> None:
    """A line on standard error, beside what programs read."""
    sys.stderr.write(shown(text) + "\n")
    sys.stderr.flush()
