"""The smallest stage: it takes what it is told to take, over its control connection. Run as a process by the tests."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping

from fleetwire.control import Handler, Params
from fleetwire.errors import SettingsError
from fleetwire.settings import StageSettings
from fleetwire.stage import main
from fleetwire.witness import Witness

LAST = 999
"""What it takes while it stops."""


class TinyStage:
    """OPTIONS may name where it refuses: ``{"refuses": "build"}`` or ``start``."""

    def __init__(self, settings: StageSettings) -> None:
        self.witness = Witness()
        self._refuses = json.loads(settings.options).get("refuses", "")
        self._refuse_at("build")

    async def start(self) -> Mapping[str, str]:
        """Ready at once."""
        self._refuse_at("start")
        logging.getLogger("tiny").info("started")
        return {"http": "http://127.0.0.1:1"}

    async def stop(self) -> None:
        """The last event of this process."""
        self.witness.take("a.b.c.d", LAST)

    def measure(self) -> None:
        """Count the measurements."""
        self.witness.counters["measured"] = self.witness.counters.get("measured", 0) + 1

    def handlers(self) -> Mapping[str, Handler]:
        """Methods for the tests."""
        return {"take": self._on_take, "stand_still": self._on_stand_still}

    async def _on_take(self, params: Params) -> bool:
        return self.witness.take(params["source"], params["sequence"])

    async def _on_stand_still(self, params: Params) -> None:
        time.sleep(params["seconds"])  # noqa: ASYNC251 - the stall is what is measured

    def _refuse_at(self, moment: str) -> None:
        if self._refuses == moment:
            raise SettingsError(f"tiny refuses to {moment}: choose another option")


if __name__ == "__main__":
    main(TinyStage)
