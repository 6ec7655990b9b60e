"""All that anybody can learn of a run folder, as bytes that can be compared."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec

from storefleet.recorded_journey import recorded_journey
from storefleet.verdict.log_file import read_log
from storefleet.verdict.run_folder import judge
from storefleet.verdict.table import plain_text

REMADE = ("verdict.json", "junit.xml", "report.txt")


def told(folder: Path, keys: Iterable[str]) -> dict[str, object]:
    """Verdict, report, journeys of these events and of the newest, and log; but for the place where the folder lies."""
    strict, _ = judge(folder, {"healed": 0, "restarts": 0, "dead-letters": 0})
    verdict, plan = judge(folder)
    for one in (strict, verdict):
        one.run = msgspec.structs.replace(one.run, folder="")
    return {
        "verdict": msgspec.json.encode(verdict),
        "verdict with budgets": msgspec.json.encode(strict),
        "spans": plain_text(verdict, plan.name, spans=True),
        "journeys": [msgspec.json.encode(recorded_journey(folder, key)) for key in (*keys, None)],
        "log": read_log(folder / "log.jsonl"),
        "own": {name: (folder / name).read_bytes() for name in REMADE},
    }
