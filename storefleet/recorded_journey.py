"""One event's journey from a run folder: ``journeys.json``, which the lab wrote at its final reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fleetwire.errors import SettingsError
from fleetwire.identity import Key
from fleetwire.ledger_format import LEDGER_FILE_NAME
from storefleet import home
from storefleet.ledger_outcomes import last_resolved_key


def recorded_journey(folder: Path, key: str | None) -> dict[str, Any]:
    """The steps of one event (``key`` None: the newest with an outcome); raises SettingsError, BadPayload."""
    chosen = Key.parse(key) if key is not None else last_resolved_key(folder / LEDGER_FILE_NAME)
    if chosen is None:
        raise SettingsError(f"{folder}: no event of this run has an outcome")
    journeys = home.read_json(folder / "journeys.json")
    text = str(chosen)
    return {"key": text, "steps": {stage: steps[text] for stage, steps in journeys.items() if text in steps}}
