"""All views in the frame of :mod:`fleetwire.stage`: one process, one task a view, and JSON for whoever looks.

Each view lives alone: its file, connection and checkpoint are its own, and what stops one stops no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from litestar import get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from consumers.feed.event_journal import first_source
from consumers.feed.lines import Unusable
from consumers.http_endpoint import HttpEndpoint
from consumers.views.hosting import HostedView, ViewState
from consumers.views.registry import VIEWS
from consumers.views.view import Selection
from fleetwire import vital_tasks
from fleetwire.control import Handler, Params
from fleetwire.errors import ControlError, SettingsError, StorageError
from fleetwire.settings import StageSettings
from fleetwire.witness import Witness

_log = logging.getLogger(__name__)


class ViewAnswer(Struct, kw_only=True):
    """A view's rows, with the state that says how far they can be trusted."""

    state: ViewState
    rows: list[Any]


class ViewsStage:
    """One instance that hosts every view of the registry."""

    def __init__(self, settings: StageSettings) -> None:
        if not settings.gateway_url:
            raise SettingsError("STOREFLEET_GATEWAY_URL is empty: the views follow a gateway")
        self.witness = Witness()
        folder = Path(settings.state_dir)
        self._hosted = [HostedView(settings.gateway_url, folder, make(self.witness), self._skipped) for make in VIEWS]
        self._http = HttpEndpoint("views", routes(self._hosted), settings.listen_address)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Mapping[str, str]:
        """Open the files that can be opened, follow and serve; raises SettingsError."""
        for hosted in self._hosted:
            hosted.open()
        await self._http.start()
        self._tasks = [vital_tasks.start(hosted.run(), f"views.{hosted.view.name}") for hosted in self._hosted]
        return {"http": self._http.url}

    async def stop(self) -> None:
        """End every feed between two batches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.stop()
        for hosted in self._hosted:
            hosted.close()

    def measure(self) -> None:
        """Bring the counters up to date."""
        for hosted in self._hosted:
            self.witness.counters.update(hosted.counters())
            hosted.tell_troubles(self.witness)

    def handlers(self) -> Mapping[str, Handler]:
        """``final_read`` and ``rebuild``."""
        return {"final_read": self._final_read, "rebuild": self._rebuild}

    def _skipped(self, skip: Unusable) -> None:
        """A view has no broker: the table ``skipped`` of its own file is where its dead letters lie."""
        source, _, sequence = skip.id.rpartition(".")
        self.witness.reject(skip.reason, source or skip.id, int(sequence) if sequence.isdecimal() else 0)

    async def _final_read(self, params: Params) -> Any:
        """Every view that can be read, and how far its feed was before; one that cannot is left out: the verdict says so.

        With ``following``: the next page of the views that it names.
        """
        views: dict[str, Any] = {}
        positions: dict[str, str] = {}
        wanted = params.get("following") or [hosted.view.name for hosted in self._hosted]
        for hosted in self._hosted:
            if hosted.view.name not in wanted:
                continue
            positions[hosted.view.name] = hosted.state.checkpoint
            try:
                views[hosted.view.name] = await hosted.final_read(first_source(params, hosted.view.name))
            except StorageError as error:
                _log.warning("no final read of %s: %s", hosted.view.name, error)
        return {"views": views, "positions": positions}

    async def _rebuild(self, params: Params) -> Any:
        """Parameter ``view``: its name."""
        wanted = str(params.get("view", ""))
        for hosted in self._hosted:
            if hosted.view.name == wanted:
                hosted.rebuild()
                return {}
        names = ", ".join(hosted.view.name for hosted in self._hosted)
        raise ControlError(f"no view {wanted[:100]!r}; there are {names}")


def routes(hosted_views: Sequence[HostedView]) -> list[HTTPRouteHandler]:
    """``/views`` and one path a view."""
    by_path = {hosted.view.path: hosted for hosted in hosted_views}

    @get("/views", sync_to_thread=False)
    def get_views() -> dict[str, ViewState]:
        """How every view is, by its path."""
        return {path: hosted.state for path, hosted in by_path.items()}

    @get("/views/{path:str}", sync_to_thread=False)
    def get_view(path: str, region: str = "", brand: str = "") -> ViewAnswer:
        """One view; ``region`` and ``brand`` select rows."""
        hosted = by_path.get(path)
        if hosted is None:
            raise HTTPException(status_code=404, detail=f"no such view; there are {', '.join(by_path)}")
        return ViewAnswer(state=hosted.state, rows=hosted.rows(Selection(region=region, brand=brand)))

    return [get_views, get_view]
