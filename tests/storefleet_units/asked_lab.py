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


DOCUMENTS = {"status": ("/views/store-board", "status:"), "device": ("/devices", "device:")}


def rows_of(answer: object) -> list[Any]:
    """The rows of an answer, be it a view's."""
    rows = answer.get("rows", []) if isinstance(answer, dict) else answer
    return rows if isinstance(rows, list) else []


def name_of(row: Any) -> str:
    """Whose row it is."""
    return str(row.get("terminal") or ".".join(str(row[word]) for word in ("brand", "region", "store") if word in row))


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
        self.answers_to: dict[str, object] = {}
        """By path and query, in place of what the lists say."""
        self.documents_changed: dict[str, dict[str, Any] | None] = {}
        """By id: fields of a document that is given out otherwise; None: it was deleted."""
        self._last: dict[str, object] = {}
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
        async with answering(lambda request: self._answer(request.path, request.query)) as self.gateway_url:
            yield

    def _answer(self, path: str, query: Any) -> object:
        """Filters, single rows and the documents behind them are what the lists say."""
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        if (whole := f"{path}?{asked}".removesuffix("?")) in self.answers_to:
            return self.answers_to[whole]
        kind, _, name = path.removeprefix("/").partition("/")
        if kind == "_changes" and query.get("channels") in DOCUMENTS:
            list_path, prefix = DOCUMENTS[query["channels"]]
            rows = rows_of(self._listed(list_path)) if query["since"] == "0" else []
            documents = {prefix + name_of(row): row for row in rows}
            for name, change in self.documents_changed.items():
                if name in documents:
                    documents[name] = {**documents[name], **change} if change is not None else None
            entries = [
                {"seq": 1, "id": (row or {}).get("_id", name), **({"doc": row} if row else {"deleted": True})}
                for name, row in documents.items()
            ]
            return {"results": entries, "last_seq": "1"}
        if kind in ("devices", "registers") and name:
            return next((row for row in rows_of(self._listed(f"/{kind}")) if name_of(row) == name), 404)
        if path in ("/devices", "/registers") and "store" in query:
            return [row for row in rows_of(self._listed(path)) if name_of(row).rpartition(".")[0] == query["store"]]
        places = {(place, word) for place, key in enumerate(("brand", "region")) if (word := query.get(key))}
        if places:
            rows = rows_of(self._listed(path))
            return {"state": {}, "rows": [row for row in rows if places <= set(enumerate(name_of(row).split(".")))]}
        self._last[path] = self.serve(path)
        return self._last[path]

    def _listed(self, path: str) -> object:
        """What was last answered; who asks for a part of it takes no turn."""
        return self._last[path] if path in self._last else self.serve(path)

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
