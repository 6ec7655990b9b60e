"""``rebuild`` knows every view that there is, and no other."""

from __future__ import annotations

from consumers.views.registry import VIEWS
from fleetwire.witness import Witness
from storefleet import cli_steer


def test_the_command_names_the_views_that_there_are() -> None:
    """The command line imports no stage, so it has the names of its own."""
    witness = Witness()
    assert list(cli_steer.VIEWS) == [make(witness).name for make in VIEWS]
