"""The lab's end of the control plane, for each test its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.storefleet_units.lab_end import LabEnd


@pytest.fixture
async def lab_end(tmp_path: Path) -> AsyncIterator[LabEnd]:
    """A control server that listens."""
    lab = LabEnd(tmp_path)
    yield await lab.open()
    await lab.close()
