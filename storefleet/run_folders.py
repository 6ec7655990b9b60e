"""The folders of runs below ``runs/``: named by the time in UTC at which they began, and found by what they record.

A name says when a run began to whoever reads it, and sorts in that order under every time zone. Which one is the newest its
``plan.json`` tells, so that folders that were renamed, or named in some local time as older versions did, keep their place.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from fleetwire import bounded_json
from fleetwire.errors import SettingsError
from storefleet.verdict.run_format import PLAN_FILE_NAME

NAMED: Final = "%Y%m%d-%H%M%S"
NAMED_CHARACTERS: Final = 15
RUNS_A_SECOND: Final = 100


def make_run_folder(runs: Path, name: str) -> Path:
    """``runs/<time in UTC>-<name>/``, with a number behind it where that is there already; raises SettingsError."""
    first = runs / f"{time.strftime(NAMED, time.gmtime())}-{name}"
    folders = [first, *(first.with_name(f"{first.name}-{number}") for number in range(2, RUNS_A_SECOND + 1))]
    for folder in folders:
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise SettingsError(f"cannot make the run folder {folder}: {error.strerror}; use --runs DIR") from error
        return folder.resolve()
    raise SettingsError(f"cannot make the run folder {first}: {RUNS_A_SECOND} of that name exist; use --runs DIR")


def newest_run(runs: Path) -> Path | None:
    """The run folder below a folder that began last; None when there is none."""
    folders = [plan.parent for plan in runs.glob(f"*/{PLAN_FILE_NAME}")]
    return max(folders, key=lambda folder: (_began_ms(folder), folder.name), default=None)


class _Beginning(msgspec.Struct):
    started_at_ms: int = 0


def _began_ms(folder: Path) -> int:
    """As recorded; where that cannot be read, as its name or its record's own file says."""
    plan = folder / PLAN_FILE_NAME
    try:
        recorded = bounded_json.decode(plan.read_bytes(), type=_Beginning).started_at_ms
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        recorded = 0
    if recorded > 0:
        return recorded
    try:
        named = datetime.strptime(folder.name[:NAMED_CHARACTERS], NAMED).replace(tzinfo=UTC)
    except ValueError:
        return int(plan.stat().st_mtime * 1000) if plan.exists() else 0
    return int(named.timestamp() * 1000)
