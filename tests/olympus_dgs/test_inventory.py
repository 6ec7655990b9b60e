"""The inventory by itself: which register wins, and what the gateway still has to get."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from consumers.olympus_dgs.inventory import Inventory
from consumers.olympus_dgs.reading import read_device
from fleetwire.documents import DeviceDocument
from fleetwire.errors import BadPayload, StorageError
from fleetwire.topics import Topics

TILL = "taco.west.s0001.r01"
TOPICS = Topics("storefleet/test")
TOPIC = f"storefleet/test/canonical/device/taco/west/s0001/{TILL}"


def device(boot: int, bd_seq: int, *, online: bool = True, terminal: str = TILL) -> DeviceDocument:
    """A register."""
    return DeviceDocument(
        terminal=terminal, online=online, reason="birth" if online else "lost", boot=boot, bd_seq=bd_seq,
        kind="register", serial_number="1", model="m", app_version="1", os_version="1",
    )  # fmt: skip


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    """An empty inventory."""
    return Inventory(tmp_path / "state" / "olympus.sqlite")


def test_a_ghost_is_ignored_and_the_same_connection_may_die(inventory: Inventory) -> None:
    """A smaller pair never wins; of an equal pair the later arrival counts."""
    inventory.take([device(2, 1), device(1, 9, online=False)])
    assert inventory.device(TILL) == device(2, 1)
    inventory.take([device(2, 1, online=False)])
    assert inventory.device(TILL) == device(2, 1, online=False)


def test_only_what_changed_is_to_be_stored(inventory: Inventory) -> None:
    """A register that the gateway has, said again, is no work."""
    inventory.take([device(1, 0)])
    (row,) = inventory.to_store("", 10)
    assert msgspec.json.decode(row.document)["_id"] == f"device:{TILL}"
    assert "_rev" not in msgspec.json.decode(row.document)
    inventory.stored([(row, "1-a")])
    inventory.take([device(1, 0), device(0, 5)])
    assert inventory.to_store_count == 0
    inventory.take([device(1, 0, online=False)])
    (row,) = inventory.to_store("", 10)
    assert msgspec.json.decode(row.document)["_rev"] == "1-a"


def test_what_changed_while_it_was_written_is_still_to_be_stored(inventory: Inventory) -> None:
    """The gateway's answer covers only what was sent."""
    inventory.take([device(1, 0)])
    (row,) = inventory.to_store("", 10)
    inventory.take([device(1, 1)])
    inventory.stored([(row, "1-a")])
    (row,) = inventory.to_store("", 10)
    assert row.revision == "1-a"
    assert msgspec.json.decode(row.body)["bd_seq"] == 1


def test_a_conflict_is_won_by_the_greater_pair(inventory: Inventory) -> None:
    """Theirs is adopted when it is greater; else ours replaces it."""
    inventory.take([device(2, 0)])
    (row,) = inventory.to_store("", 10)
    inventory.settle_conflict(row, device(1, 7), "3-c")
    (row,) = inventory.to_store("", 10)
    assert (row.revision, msgspec.json.decode(row.body)["boot"]) == ("3-c", 2)
    inventory.settle_conflict(row, device(3, 0), "4-d")
    assert inventory.to_store_count == 0
    assert inventory.device(TILL) == device(3, 0)


def test_stores_are_told_apart_by_their_whole_id(inventory: Inventory) -> None:
    """``s0001`` is no prefix of ``s00010``."""
    inventory.take([device(1, 0), device(1, 0, terminal="taco.west.s00010.r01")])
    assert [one.terminal for one in inventory.devices("taco.west.s0001", 10)] == [TILL]
    assert len(inventory.devices("", 10)) == 2


def test_a_file_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    """One line with the path."""
    (tmp_path / "x.sqlite").write_bytes(b"no" * 1_000)
    with pytest.raises(StorageError, match=r"x\.sqlite"):
        Inventory(tmp_path / "x.sqlite")


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        (TOPIC, b"{", "malformed_json"),
        (TOPIC, b'"\xff"', "not_utf8"),
        (TOPIC, b'{"online":1}', "schema"),
        (TOPIC, b'{"online":true,"reason":"birth","boot":9999999999999999999,"bd_seq":0}', "schema"),
        (TOPIC, b" " * 20_000, "oversized"),
        (TOPIC.replace("west", "east", 1), b"{}", "topic_mismatch"),
        ("storefleet/test/canonical/device/x", b"{}", "no_key"),
    ],
)
def test_a_state_that_cannot_be_used_has_a_reason(topic: str, payload: bytes, reason: str) -> None:
    """Topic, size, text, JSON and shape are checked in this order."""
    with pytest.raises(BadPayload) as caught:
        read_device(TOPICS, topic, payload)
    assert caught.value.reason == reason
