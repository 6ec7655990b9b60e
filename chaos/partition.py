"""Partition: the wide-area network between some clients and the rest is cut.

Nothing of the selected clients passes in either direction, a FIN or RST neither: what the sockets still take is held,
then they are not read. New connections are accepted by TCP, but their CONNECT is held and no connection to the upstream
is opened, so the client sees a connect time-out. When the fault is lifted all that was held goes on in order.
A client that gave up before its CONNECT passed is forgotten: a late CONNECT would take over its living session.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from msgspec import Meta, Struct

from chaos.fault import Client, End, Passage

_Glob = Annotated[str, Meta(max_length=200)]


class Partition(Struct, frozen=True, forbid_unknown_fields=True):
    """Globs (``*``, ``?``, ``[...]``); a client is cut off when every one that is given fits. At least one is required.

    ``brand``, ``region`` and ``store`` fit the words of a terminal's id, ``store`` also the whole store id
    (``taco.west.s0042``); ``client_id`` fits the whole client id. Clients without one are never cut off.
    """

    brand: _Glob = ""
    region: _Glob = ""
    store: _Glob = ""
    client_id: _Glob = ""

    def __post_init__(self) -> None:
        if not (self.brand or self.region or self.store or self.client_id):
            raise ValueError("a partition needs a brand, region, store or client_id (globs); '*' takes everyone")

    def selects(self, client: Client) -> bool:
        """Whether every given glob fits the client id."""
        if not client.known or not _fits(client.client_id, self.client_id):
            return False
        if not (self.brand or self.region or self.store):
            return True
        words = client.client_id.split(".")
        if len(words) != 4:
            return False
        brand, region, store, _ = words
        whole_store = f"{brand}.{region}.{store}"
        return (
            _fits(brand, self.brand)
            and _fits(region, self.region)
            and (_fits(store, self.store) or _fits(whole_store, self.store))
        )

    def apply(self, chunk: bytes, passage: Passage) -> None:
        """Nothing passes."""
        passage.hold(chunk)

    def apply_end(self, end: End, passage: Passage) -> None:
        """Neither does a close."""
        passage.hold_end(end)


def _fits(text: str, glob: str) -> bool:
    return not glob or fnmatchcase(text, glob)
