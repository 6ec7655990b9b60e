"""`python -P -m consumers.gateway`: the gateway as a stage's process.

Its database file lies in the stage's state folder. It serves under the name `fleet` where STOREFLEET_LISTEN says.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consumers.gateway.server import serve
from consumers.gateway.store import DocumentStore
from fleetwire import stage
from fleetwire.control import Handler, Params
from fleetwire.documents import TRANSACTION_CHANNEL
from fleetwire.errors import BadPayload, SettingsError
from fleetwire.host_port import family_of, host_port
from fleetwire.identity import Key
from fleetwire.intervals import IntervalSet
from fleetwire.packed_times import packed_times
from fleetwire.settings import StageSettings
from fleetwire.troubles import tell_storage
from fleetwire.witness import Witness

FILE_NAME = "gateway.sqlite"

logger = logging.getLogger(__name__)


class GatewayStage:
    """The gateway in the frame of `fleetwire.stage`; its witness reports counters, for it knows documents only."""

    def __init__(self, settings: StageSettings) -> None:
        self.witness = Witness()
        self._settings = settings
        self._store: DocumentStore | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> Mapping[str, str]:
        """Opens the database and the port; raises SettingsError or StorageError when either cannot be had."""
        listener = _bind(*self._settings.listen_address)
        self._store = _open_store(Path(self._settings.state_dir))
        self._serving = asyncio.create_task(serve(self._store, listener), name="gateway")
        self._serving.add_done_callback(_end_process_unless_cancelled)
        host, port = listener.getsockname()[:2]
        where = host_port(host, port)
        logger.info("gateway listens on %s", where)
        return {"http": f"http://{where}"}

    async def stop(self) -> None:
        """Ends feeds and requests within some seconds at most, then closes the file."""
        if self._serving is not None:
            self._serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._serving
        if self._store is not None:
            self._store.close()

    def measure(self) -> None:
        """Brings the witness's counters up to date."""
        if self._store is not None:
            self.witness.counters.update(self._store.figures())
            tell_storage(self.witness, "", self._store.refusal)

    def handlers(self) -> Mapping[str, Handler]:
        """``stored_times``."""
        return {"stored_times": self._stored_times}

    async def _stored_times(self, _: Params) -> Any:
        """When every event's document was stored, by source; other documents of the channel are left out."""
        assert self._store is not None
        times: dict[str, list[tuple[int, int]]] = defaultdict(list)
        after, end = 0, self._store.update_sequence
        while after < end:
            rows, after = self._store.read_stored_times(after, TRANSACTION_CHANNEL)
            for document_id, at_ms in rows:
                with contextlib.suppress(BadPayload):  # anybody may write a document under any name
                    source, sequence = Key.parse(document_id)
                    times[source].append((sequence, at_ms))
            await asyncio.sleep(0)
        return {"sources": {source: _packed(sorted(pairs)) for source, pairs in times.items()}}


def _packed(times: list[tuple[int, int]]) -> dict[str, object]:
    numbers = IntervalSet((sequence, sequence) for sequence, _ in times)
    return {"intervals": numbers.to_list(), "packed": packed_times([at_ms for _, at_ms in times])}


def _bind(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=family_of(host), backlog=1024)
    except OSError as error:
        raise SettingsError(f"the gateway cannot listen on {host_port(host, port)}: {error}") from error


def _open_store(folder: Path) -> DocumentStore:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(f"the gateway cannot make its state folder {folder}: {error}") from error
    return DocumentStore.open(folder / FILE_NAME)


def _end_process_unless_cancelled(serving: asyncio.Task[None]) -> None:
    if not serving.cancelled():
        logger.critical("the gateway stopped serving: %s", serving.exception())
        signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    stage.main(GatewayStage)
