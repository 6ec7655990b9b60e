"""Poseidon over HTTP, read only: registers, orders, and whether it is well."""

from __future__ import annotations

from collections.abc import Callable

from litestar import get
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from msgspec import Struct

from consumers.poseidon.reads import Order, Reads, Register
from fleetwire.errors import BadPayload
from fleetwire.identity import Key, is_word


class Health(Struct, kw_only=True):
    """How the stage is; ``feed_age_ms`` is the time since the gateway last said something, null before it did."""

    feed_connected: bool
    broker_connected: bool
    checkpoint: str
    feed_age_ms: int | None
    applied_total: int
    skipped: dict[str, int]


def routes(reads: Reads, health: Callable[[], Health]) -> list[HTTPRouteHandler]:
    """The handlers; each answers from the database as it is now."""

    @get("/registers", sync_to_thread=False)
    def get_registers(store: str) -> list[Register]:
        """All registers of one store, e.g. ``taco.west.s0001``."""
        words = store.split(".")
        if len(words) != 3 or not all(is_word(word) for word in words):
            raise HTTPException(status_code=400, detail="store must be brand.region.store, e.g. taco.west.s0001")
        return reads.registers(store)

    @get("/registers/{terminal:str}", sync_to_thread=False)
    def get_register(terminal: str) -> Register:
        """The register of one terminal."""
        found = reads.register(terminal)
        if found is None:
            raise HTTPException(status_code=404, detail="nothing of this terminal was applied")
        return found

    @get("/orders/{key:str}", sync_to_thread=False)
    def get_order(key: str) -> Order:
        """One order by the key of its sale or return."""
        try:
            found = reads.order(Key.parse(key))
        except BadPayload as error:
            raise HTTPException(status_code=400, detail=error.detail) from error
        if found is None:
            raise HTTPException(status_code=404, detail="no such order, and nothing refers to it")
        return found

    @get("/health", sync_to_thread=False)
    def get_health() -> Health:
        """How the stage is."""
        return health()

    return [get_registers, get_register, get_order, get_health]
