"""The views that there are. A new one is one file beside this one, and one row here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from consumers.views.device_inventory import DeviceInventoryView
from consumers.views.sales import SalesView
from consumers.views.store_board import StoreBoardView
from consumers.views.view import View
from fleetwire.witness import Witness

VIEWS: Final[tuple[Callable[[Witness], View[Any]], ...]] = (
    StoreBoardView,
    SalesView,
    DeviceInventoryView,
)
