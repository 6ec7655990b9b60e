"""The store board: every store's status as PARM derived it, the greatest ``revision`` of each."""

from __future__ import annotations

from consumers.views.registers import RegisterView
from fleetwire.documents import STATUS_CHANNEL, STATUS_PREFIX
from fleetwire.events import StoreStatus


class StoreBoardView(RegisterView[StoreStatus]):
    """The View of channel ``status``."""

    name = "store_board"
    path = "store-board"
    channel = STATUS_CHANNEL
    prefix = STATUS_PREFIX
    shape = StoreStatus

    def register_name(self, document: StoreStatus) -> str:
        """The store's id."""
        return f"{document.brand}.{document.region}.{document.store}"

    def version(self, document: StoreStatus) -> tuple[int, int]:
        """PARM counts its revisions."""
        return document.revision, 0

    def value(self, document: StoreStatus) -> object:
        """The status alone."""
        return document.status
