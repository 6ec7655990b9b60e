"""A lab of which only what final reads ask for is there: stages by name, each with an endpoint and what it tells."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fleetwire.errors import ControlError
from storefleet.verdict.run_format import Reads
from tests.storefleet_units.answering import answering

VIEWS_OF = {
    "poseidon": {"orders", "tills"},
    "views": {"sales", "store_board", "device_inventory"},
    "olympus_dgs": {"olympus_dgs"},
    "gateway": {"gateway"},
}


class AskedLab:
    """``serve`` answers a path of any endpoint, ``tell`` a call; both may be called again and again.

    A stage is connected once ``connects_s`` have passed.
    """

    def __init__(
        self,
        stages: set[str],
        serve: Callable[[str], object],
        tell: Callable[[str, str, Any], Any],
        connects_s: float = 0,
    ) -> None:
        self.serve = serve
        self.tell = tell
        self.observer = None
        self.gateway_url = ""
        self.waited: list[str] = []
        self.not_judged: set[str] = set()
        fleet = {"stores": 2}
        self.plan = SimpleNamespace(stages=stages, commands={}, fleet=fleet, seed=7)
        self.control = SimpleNamespace(stage=self._members)
        self._connected_s = time.monotonic() + connects_s

    def _members(self, stage: str) -> list[Any]:
        away = stage not in self.plan.stages or time.monotonic() < self._connected_s
        return [] if away else [SimpleNamespace(endpoints={"http": self.gateway_url})]

    async def stage_call(self, stage: str, method: str, params: Any = None, *, timeout_s: float = 30.0) -> list[Any]:
        """As the lab's own."""
        if not self._members(stage):
            raise ControlError(f"{stage} is not connected to the lab")
        return [self.tell(stage, method, params or {})]

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Answer over HTTP, the gateway's paths too."""
        async with answering(lambda request: self.serve(request.path)) as self.gateway_url:
            yield

    async def read(self, ledger: Path, *, for_s: float) -> Reads:
        """Its final reads."""
        from storefleet.final_reads import read_all

        async with self.serving():
            return await read_all(
                self,  # type: ignore[arg-type]
                ledger,
                lambda: int(time.time() * 1000),
                views=set().union(*(VIEWS_OF[stage] for stage in self.plan.stages)) - self.not_judged,
                until_s=time.monotonic() + for_s,
                on_waiting=self.waited.append,
            )
