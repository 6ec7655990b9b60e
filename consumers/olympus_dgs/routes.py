"""The inventory over HTTP, read only."""

from __future__ import annotations

from collections.abc import Callable

from litestar import get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from consumers.olympus_dgs.inventory import Inventory
from fleetwire.documents import DeviceDocument
from fleetwire.identity import is_word

MAXIMUM_DEVICES = 100_000


class Health(Struct, kw_only=True):
    """How the stage is; ``to_store`` counts registers that the gateway does not have yet."""

    broker_connected: bool
    waiting: int
    to_store: int
    stored_total: int
    refused_total: int


def routes(inventory: Callable[[], Inventory], health: Callable[[], Health]) -> list[HTTPRouteHandler]:
    """The handlers; each answers from the inventory as it is now."""

    @get("/devices", sync_to_thread=False)
    def get_devices(store: str = "") -> list[DeviceDocument]:
        """All terminals, or those of one store, e.g. ``taco.west.s0001``."""
        words = store.split(".")
        if store and (len(words) != 3 or not all(is_word(word) for word in words)):
            raise HTTPException(status_code=400, detail="store must be brand.region.store, e.g. taco.west.s0001")
        return inventory().devices(store, MAXIMUM_DEVICES)

    @get("/devices/{terminal:str}", sync_to_thread=False)
    def get_device(terminal: str) -> DeviceDocument:
        """One terminal."""
        found = inventory().device(terminal)
        if found is None:
            raise HTTPException(status_code=404, detail="this terminal was never heard of")
        return found

    @get("/health", sync_to_thread=False)
    def get_health() -> Health:
        """How the stage is."""
        return health()

    return [get_devices, get_device, get_health]
