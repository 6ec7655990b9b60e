"""The two ends of a place: where an event was last seen, and where it is missing first."""

from __future__ import annotations

import pytest

from storefleet.verdict.ends import Ends, ends
from storefleet.verdict.examples import way_to
from tests.verdict.world import healthy, view


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("orders", "emulator terminals-broker broker parm-broker", ("emulator", "emulator", "parm")),
        ("orders", "broker parm-broker", ("broker", "broker-raw", "parm")),
        ("orders", "broker parm-broker parm parm-broker broker sync-broker", ("broker", "broker-raw", "sync_stage")),
        ("orders", "parm", ("parm", "parm", "broker")),
        ("orders", "parm parm-broker broker sync-broker", ("parm", "parm", "sync_stage")),
        ("orders", "broker sync-broker", ("broker", "broker-canonical", "sync_stage")),
        ("orders", "sync_stage", ("sync_stage", "sync_stage", "gateway")),
        ("orders", "sync-gateway", ("sync_stage", "sync_stage", "gateway")),
        ("orders", "sync-gateway gateway poseidon-gateway", ("sync_stage", "sync_stage", "poseidon")),
        ("orders", "poseidon-gateway", ("gateway", "gateway", "poseidon")),
        ("orders", "poseidon", ("poseidon", "poseidon", "orders")),
        ("orders", "poseidon-gateway poseidon", ("gateway", "gateway", "orders")),
        ("gateway", "gateway", ("gateway", "gateway", "gateway")),
        ("sales", "views", ("views", "views", "sales")),
        ("olympus_dgs", "olympus-broker olympus_dgs", ("broker", "broker-canonical", "olympus_dgs")),
        ("sales", "poseidon-gateway", ("", "", "")),
        ("sales", "nowhere", ("", "", "")),
        ("sales", "", ("", "", "")),
    ],
)
def test_the_ends_of_an_address(name: str, address: str, expected: tuple[str, str, str]) -> None:
    """A stage at the beginning took it, a hop did not; behind the end lies the next stage, or the view itself."""
    history = healthy()
    last, step, first = expected
    record = view(history, name)
    assert ends(way_to(history, record), record, address.split()) == Ends(last, step, first)


def test_without_a_view() -> None:
    """What no view shows has ends on the way to the first view of events."""
    history = healthy()
    assert ends(way_to(history, None), None, ["parm"]) == Ends("parm", "parm", "broker")
    assert ends([], None, ["parm"]) == Ends()
