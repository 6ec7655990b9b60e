"""What a view is, for the process that hosts it: a fold that can say what it shows and what the checker may read."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from msgspec import Struct

from consumers.feed.fold_file import Fold

MAXIMUM_ROWS: Final = 100_000

Item = TypeVar("Item")


class Selection(Struct, frozen=True, kw_only=True):
    """Which rows are asked for; "" is all."""

    region: str = ""
    brand: str = ""

    def wants(self, identity: str) -> bool:
        """Whether a store or terminal id is among them."""
        brand, region, *_ = (*identity.split("."), "", "")
        return self.brand in ("", brand) and self.region in ("", region)


class View(Fold[Item], Protocol[Item]):
    """A fold with a face."""

    @property
    def path(self) -> str:
        """Where it is served, below ``/views/``."""
        ...

    def rows(self, connection: sqlite3.Connection, selection: Selection) -> list[Any]:
        """What it shows, as values for JSON, at most MAXIMUM_ROWS."""
        ...

    def final_read(self, file: Path, begin: int = 0) -> Mapping[str, Any]:
        """What the checker compares; on a connection of its own, in any thread.

        A view of events gives a page at a time: ``following`` is where the next begins, 0 behind the last.
        """
        ...
