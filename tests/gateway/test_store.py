"""The database itself: what happens when it cannot write, who may open it, and what it counts."""

import sqlite3
from pathlib import Path

import pytest

from consumers.gateway import store as store_module
from consumers.gateway.database import ChangeFilter, Edit, Written
from consumers.gateway.store import DocumentStore
from fleetwire.errors import StorageError
from tests.gateway.running import RunningGateway, running_gateway


def document(number: int, size: int = 0) -> dict[str, object]:
    """A document with its own revision."""
    return {"_id": f"d{number}", "_rev": "1-x", "text": "x" * size}


async def test_a_full_disk_is_503_until_there_is_room(gateway: RunningGateway) -> None:
    """Without room nothing is acknowledged and nothing stored; with room again the same request succeeds."""
    await gateway.write(document(0), new_edits=False)
    pages = gateway.connection.execute("PRAGMA page_count").fetchone()[0]
    gateway.connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    batch = {"docs": [document(number, 10_000) for number in range(1, 11)], "new_edits": False}
    refused = await gateway.client.post("/fleet/_bulk_docs", json=batch)
    assert refused.status_code == 503
    assert refused.json()["error"] == "Service Unavailable"
    assert "database or disk is full" in refused.json()["reason"]
    assert [entry["id"] for entry in (await gateway.changes())["results"]] == ["d0"]
    assert (await gateway.client.get("/fleet/d1")).status_code == 404
    assert "database or disk is full (SQLITE_FULL)" in gateway.store.refusal
    gateway.connection.execute("PRAGMA max_page_count = 1000000")
    assert (await gateway.client.post("/fleet/_bulk_docs", json=batch)).status_code == 201
    assert gateway.store.refusal == ""
    entries = (await gateway.changes())["results"]
    assert [entry["seq"] for entry in entries] == list(range(1, 12))
    assert gateway.store.figures() == {
        "documents_written": 11,
        "documents_unchanged": 0,
        "conflicts": 0,
        "writes_unavailable": 1,
        "update_sequence": 11,
        "open_feeds": 0,
    }


async def test_a_read_only_file_is_503_and_can_still_be_read(gateway: RunningGateway) -> None:
    """When writing is forbidden every write says so, reads go on, and feeds stay quiet."""
    await gateway.put("d", {})
    gateway.connection.execute("PRAGMA query_only = ON")
    for answer in (
        await gateway.put("e", {}),
        await gateway.client.put("/fleet/_local/c", json={}),
        await gateway.client.post("/fleet/_bulk_docs", json={"docs": [document(1)], "new_edits": False}),
    ):
        assert answer.status_code == 503
        assert "readonly database" in answer.json()["reason"]
    assert (await gateway.client.get("/fleet/d")).status_code == 200
    assert len((await gateway.changes())["results"]) == 1
    gateway.connection.execute("PRAGMA query_only = OFF")
    assert (await gateway.put("e", {})).status_code == 201


async def test_a_refused_checkpoint_does_not_undo_the_documents(gateway: RunningGateway) -> None:
    """A conflict of one row, document or checkpoint, leaves the others of its batch stored."""
    rows = await gateway.write({"_id": "_local/c", "_rev": "0-9"}, {"_id": "d", "_rev": "1-x"}, new_edits=False)
    assert rows == [
        {"id": "d", "rev": "1-x"},
        {
            "id": "_local/c",
            "status": 404,
            "error": "not_found",
            "reason": "No previous revision to replace",
        },
    ]
    assert (await gateway.client.get("/fleet/d")).status_code == 200


async def test_reopened_it_goes_on_where_it_was(tmp_path: Path) -> None:
    """After a restart documents, sequence, checkpoints and identity are the same."""
    path = tmp_path / "gateway.sqlite"
    async with running_gateway(path) as first:
        await first.write({"_id": "d", "_rev": "1-x"}, {"_id": "_local/c", "n": 1}, new_edits=False)
        before = (await first.client.get("/fleet/")).json()
    async with running_gateway(path) as second:
        after = (await second.client.get("/fleet/")).json()
        assert after["update_seq"] == before["update_seq"] == 1
        assert after["server_uuid"] == before["server_uuid"]
        assert (await second.client.get("/fleet/_local/c")).json()["n"] == 1
        await second.write({"_id": "e", "_rev": "1-x"}, new_edits=False)
        assert [entry["seq"] for entry in (await second.changes())["results"]] == [1, 2]


def test_a_file_in_use_cannot_be_opened_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two gateways on one file would give one sequence twice, so the second does not start."""
    monkeypatch.setattr(store_module, "LOCK_TIMEOUT_S", 0.05)
    path = tmp_path / "gateway.sqlite"
    first = DocumentStore.open(path)
    with pytest.raises(StorageError, match="database is locked"):
        DocumentStore.open(path)
    first.close()
    DocumentStore.open(path).close()


def test_what_is_no_database_cannot_be_opened(tmp_path: Path) -> None:
    """A file of something else, or no folder, is a StorageError that names the path or the reason."""
    path = tmp_path / "gateway.sqlite"
    path.write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match="file is not a database"):
        DocumentStore.open(path)
    with pytest.raises(StorageError, match="unable to open"):
        DocumentStore.open(tmp_path / "absent" / "gateway.sqlite")


async def test_closed_it_answers_with_storage_errors() -> None:
    """A request that comes after the end is refused like one for which there is no room."""
    store = DocumentStore(sqlite3.connect(":memory:", isolation_level=None))
    edit = Edit(id="d", body=b"", history=("1-x",))
    assert await store.write([edit]) == ([Written("1-x", True)], [])
    store.close()
    with pytest.raises(StorageError):
        await store.write([edit])
    with pytest.raises(StorageError):
        await store.read_changes(0, 1, ChangeFilter(), 10)
