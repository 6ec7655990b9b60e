"""What stays of a run's folder once its verdict is there: all of it, or of a valid run what judging it again needs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleetwire.errors import SettingsError, StorageError

if TYPE_CHECKING:
    from storefleet.live import Display
    from storefleet.plan import LabPlan
    from storefleet.verdict.result import Verdict

KEEP_ALL: Final = "all"
KEEP_SLIM: Final = "slim"
KEEP: Final = {
    KEEP_SLIM: "a valid run's folder is slimmed: the state of its stages is dropped, evidence is packed",
    KEEP_ALL: "everything stays as the stages left it",
}
"""What ``--keep`` may be."""
PATIENCE_S: Final = 2.0
"""Longer than this nobody waits without being told for what."""

_log = logging.getLogger(__name__)


def check_keep(text: str) -> str:
    """A row of KEEP; raises SettingsError."""
    if text not in KEEP:
        raise SettingsError(f"--keep {text[:80]!r}: expected {' or '.join(KEEP)}")
    return text


async def keep_what_is_needed(plan: LabPlan, folder: Path, verdict: Verdict, display: Display) -> None:
    """Slim the folder of a valid run, if that is wanted, once nobody writes into it any more.

    Whoever is stopped meanwhile waits for it: a thread cannot be stopped. An invalid or unknown run keeps everything.
    """
    if plan.keep != KEEP_SLIM or verdict.validity != "valid":
        return
    slimming = asyncio.create_task(asyncio.to_thread(_slim, folder, set(plan.commands)), name="run.slim")
    try:
        done, _ = await asyncio.wait({slimming}, timeout=PATIENCE_S)
        if not done:
            display.say("the run folder is slimmed, since the run is valid; --keep all keeps everything")
        await asyncio.shield(slimming)
    except asyncio.CancelledError:
        await asyncio.wait({slimming})
        raise


def _slim(folder: Path, foreign: set[str]) -> None:
    """The verdict stands, whatever comes of it."""
    from storefleet.verdict.slimming import slim  # a plan needs none of it

    try:
        slim(folder, foreign)
    except StorageError as error:
        _log.warning("%s", error)
    except Exception:  # noqa: BLE001 - a run always ends with its verdict
        _log.exception("%s could not be slimmed", folder)
