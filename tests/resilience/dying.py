"""Stages one of whose background tasks dies of what nobody foresaw; run by a test as a module."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from msgspec import structs

from consumers.feed.follower import Follower
from consumers.olympus_dgs.stage import OlympusStage
from consumers.olympus_dgs.writer import InventoryWriter
from consumers.poseidon.stage import PoseidonStage
from consumers.sync_stage.stage import SyncStage
from consumers.sync_stage.status_writer import StatusWriter
from consumers.views.stage import ViewsStage
from fleetwire import stage
from fleetwire.host_presence import HostPresence
from fleetwire.settings import StageSettings
from parm_stub.registers import Registers
from parm_stub.stage import Parm

STAGES: dict[str, Any] = {
    "olympus_dgs": OlympusStage,
    "parm": Parm,
    "poseidon": PoseidonStage,
    "sync_stage": SyncStage,
    "views": ViewsStage,
}
WORK: dict[str, tuple[type, str]] = {
    "feed": (Follower, "run"),
    "presence": (HostPresence, "keep"),
    "registers": (Registers, "watch"),
    "snapshots": (stage._Frame, "_report"),
    "statuses": (StatusWriter, "run"),
    "writer": (InventoryWriter, "run"),
}


async def die(*_: object) -> None:
    """What takes the place of the work."""
    await asyncio.sleep(0)
    raise OverflowError("Python int too large to convert to SQLite INTEGER")


def build(settings: StageSettings) -> Any:
    """The stage of this name; the options say which work dies: ``{"dies": "feed"}``."""
    owner, method = WORK[json.loads(settings.options)["dies"]]
    setattr(owner, method, die)
    return STAGES[settings.stage](structs.replace(settings, options="{}"))


if __name__ == "__main__":
    stage.main(build)
