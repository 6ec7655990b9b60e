"""Which run a dead lab has left to go on with, and how: what every command that finds no lab can say.

It imports nothing that reads a run, since commands that only ask are to answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fleetwire import bounded_json
from storefleet.verdict.packed_file import has_evidence
from storefleet.verdict.run_format import PLAN_FILE_NAME, READS_FILE_NAME, VERDICT_FILE_NAME

LAB_FILE_NAME: Final = "lab.json"


def has_ended(folder: Path) -> bool:
    """Whether a run was read for its verdict: nothing can be added to it any more."""
    return any(has_evidence(folder / name) for name in (VERDICT_FILE_NAME, READS_FILE_NAME))


def unfinished_run(lab_folder: Path) -> Path | None:
    """The run that a dead lab has left without a verdict, if there is one to go on with."""
    try:
        folder = Path(bounded_json.decode((lab_folder / LAB_FILE_NAME).read_text(encoding="utf-8"))["run_folder"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return folder if (folder / PLAN_FILE_NAME).exists() and not has_ended(folder) else None


def way_on(folder: Path) -> str:
    """What to do with such a run, in words."""
    return f"its run can go on: storefleet up --resume {folder}"
