"""Single documents and checkpoints over HTTP: statuses, headers, and the words of every refusal."""

from typing import Any

import pytest

from fleetwire.revisions import revision_id
from tests.gateway.running import RunningGateway

MISSING = {"error": "not_found", "reason": "missing"}
DELETED = {"error": "not_found", "reason": "deleted"}
CONFLICT = {"error": "conflict", "reason": "Document revision conflict"}
EXISTS = {"error": "conflict", "reason": "Document exists"}

RESERVED: list[tuple[dict[str, Any], int, str]] = [
    ({"_sync": {}}, 400, "document-top level property '_sync' is a reserved internal property"),
    (
        {"_sync_x": 1},
        400,
        "user defined top-level properties that start with '_sync_' are not allowed in document body",
    ),
    ({"_purged": True}, 400, "user defined top-level property '_purged' is not allowed in document body"),
    ({"_removed": True}, 404, "Document revision is not accessible"),
    ({"_exp": 10}, 400, "_exp is not supported: this gateway keeps documents until they are deleted"),
    ({"_attachments": {"a": {}}}, 400, "attachments are not supported by this gateway"),
    ({"_rev": "nonsense"}, 400, "Invalid revision ID"),
    ({"_deleted": "yes"}, 400, "_deleted must be true or false"),
    ({"channels": ["a,b"]}, 400, 'Illegal channel name "a,b"'),
    ({"_id": "other"}, 400, "The document ID provided in the body does not match the document ID in the path"),
]
UNKNOWN_PLACES = [
    ("GET", "/nope/", 404, "not_found", 'no such database "nope"'),
    ("GET", "/nope/d", 404, "not_found", 'no such database "nope"'),
    ("POST", "/nope/_bulk_docs", 404, "not_found", 'no such database "nope"'),
    ("GET", "/fleet.shop/d", 404, "not_found", "keyspace fleet.shop not found"),
    ("GET", "/fleet.a.b/d", 404, "not_found", "keyspace fleet.a.b not found"),
    ("GET", "/fleet/_nonsense", 404, "not_found", "unknown URL"),
    ("GET", "/fleet/d/attachment", 404, "not_found", "attachments are not kept by this gateway"),
    ("PATCH", "/fleet/d", 405, "Method Not Allowed", "Method Not Allowed"),
    ("GET", "/fleet/" + "x" * 251, 400, "Bad Request", "Invalid doc ID"),
    ("GET", "/fleet/%FF", 400, "Bad Request", "Invalid doc ID"),
    ("GET", "/fleet/d?revs=perhaps", 400, "Bad Request", "revs must be true or false, not 'perhaps'"),
]


async def test_welcome_ping_and_database_information(gateway: RunningGateway) -> None:
    """The root, the health check and the database say who they are and how far they got."""
    assert (await gateway.client.get("/")).json()["couchdb"] == "Welcome"
    ping = await gateway.client.get("/_ping")
    assert (ping.status_code, ping.text) == (200, "OK")
    assert (await gateway.client.head("/_ping")).status_code == 200
    await gateway.put("d", {})
    for keyspace in ("fleet", "fleet._default._default"):
        information = (await gateway.client.get(f"/{keyspace}/")).json()
        assert information["db_name"] == "fleet"
        assert (information["update_seq"], information["committed_update_seq"]) == (1, 1)
        assert information["state"] == "Online"
    assert (await gateway.client.head("/fleet/")).status_code == 200
    assert (await gateway.client.post("/fleet/_ensure_full_commit")).status_code == 201


async def test_unknown_places_are_refused_in_words(gateway: RunningGateway) -> None:
    """A path that leads nowhere answers with Sync Gateway's error body."""
    for method, path, status, error, reason in UNKNOWN_PLACES:
        answer = await gateway.client.request(method, path)
        assert (answer.status_code, answer.json()) == (status, {"error": error, "reason": reason}), path


async def test_put_then_get_gives_revision_etag_and_body(gateway: RunningGateway) -> None:
    """A new document is 201 with its revision in body and Etag, and reads back as it was written."""
    revision = revision_id(1, "", {"n": 1})
    put = await gateway.put("d", {"n": 1})
    assert (put.status_code, put.json()) == (201, {"id": "d", "ok": True, "rev": revision})
    got = await gateway.client.get("/fleet/d")
    assert got.json() == {"_id": "d", "_rev": revision, "n": 1}
    assert put.headers["etag"] == got.headers["etag"] == f'"{revision}"'
    head = await gateway.client.head("/fleet/d")
    assert (head.status_code, head.headers["etag"], head.content) == (200, f'"{revision}"', b"")


@pytest.mark.parametrize("way", ["body", "query", "header"])
async def test_the_revision_to_replace_comes_three_ways(gateway: RunningGateway, way: str) -> None:
    """`_rev`, `?rev=` and If-Match all name the parent; the vector's second revision follows."""
    first = (await gateway.put("d", {"n": 1})).json()["rev"]
    body: dict[str, Any] = {"n": 10}
    headers = {"If-Match": f'"{first}"'} if way == "header" else {}
    query = {"rev": first} if way == "query" else {}
    if way == "body":
        body["_rev"] = first
    answer = await gateway.client.put("/fleet/d", json=body, params=query, headers=headers)
    assert answer.status_code == 201
    assert answer.json()["rev"] == "2-7e384b16e63ee3218349ee568f156d6f"


async def test_writes_that_do_not_follow_the_current_revision_conflict(gateway: RunningGateway) -> None:
    """No revision, an old one and an unknown one are each a 409 with its reason."""
    first = (await gateway.put("d", {"n": 1})).json()["rev"]
    assert (await gateway.put("d", {"n": 2})).json() == EXISTS
    assert (await gateway.put("d", {"n": 2}, rev=first)).status_code == 201
    for stale in (first, "1-unknown", "9-unknown"):
        answer = await gateway.put("d", {"n": 3}, rev=stale)
        assert (answer.status_code, answer.json()) == (409, CONFLICT)
    assert (await gateway.put("never", {"_rev": "1-a"})).json() == CONFLICT
    differing = await gateway.put("d", {"_rev": "1-a"}, rev="1-b")
    assert (differing.status_code, differing.json()["reason"]) == (400, "Revision IDs provided do not match")


async def test_delete_leaves_a_tombstone_that_can_be_read_by_revision(gateway: RunningGateway) -> None:
    """Deleting is 200 with a new revision; the document is then `deleted`, or readable by that revision."""
    first = (await gateway.put("d", {"n": 1})).json()["rev"]
    assert (await gateway.client.delete("/fleet/d")).json() == EXISTS
    gone = await gateway.client.delete("/fleet/d", params={"rev": first})
    assert gone.status_code == 200
    revision = revision_id(2, first, {"_deleted": True})
    assert gone.json() == {"id": "d", "ok": True, "rev": revision}
    answer = await gateway.client.get("/fleet/d")
    assert (answer.status_code, answer.json()) == (404, DELETED)
    by_revision = await gateway.client.get("/fleet/d", params={"rev": revision})
    assert by_revision.json() == {"_id": "d", "_rev": revision, "_deleted": True}
    reborn = await gateway.put("d", {"n": 2})
    assert reborn.json()["rev"] == revision_id(3, revision, {"n": 2})


async def test_what_is_not_there_is_missing(gateway: RunningGateway) -> None:
    """Unknown ids and revisions that are not current are 404 missing; deleting an unknown id makes a tombstone."""
    assert (await gateway.client.get("/fleet/d")).json() == MISSING
    first = (await gateway.put("d", {})).json()["rev"]
    await gateway.put("d", {}, rev=first)
    assert (await gateway.client.get("/fleet/d", params={"rev": first})).json() == MISSING
    assert (await gateway.client.delete("/fleet/never")).status_code == 200
    assert (await gateway.client.get("/fleet/never")).json() == DELETED


async def test_revisions_and_open_revisions_show_the_history(gateway: RunningGateway) -> None:
    """`revs=true` lists the digests newest first; `open_revs` answers for each revision asked for."""
    first = (await gateway.put("d", {"n": 1})).json()["rev"]
    second = (await gateway.put("d", {"n": 2}, rev=first)).json()["rev"]
    document = (await gateway.client.get("/fleet/d", params={"revs": "true"})).json()
    assert document["_revisions"] == {"start": 2, "ids": [second[2:], first[2:]]}
    query = {"open_revs": f'["{second}","1-x"]'}
    listed = await gateway.client.get("/fleet/d", params=query, headers={"Accept": "application/json"})
    assert listed.json() == [{"ok": {"_id": "d", "_rev": second, "n": 2}}, {"missing": "1-x"}]
    parts = await gateway.client.get("/fleet/d", params={"open_revs": "all"})
    assert parts.headers["content-type"].startswith("multipart/mixed; boundary=")
    assert second in parts.text
    assert (await gateway.client.get("/fleet/d", params={"open_revs": "nonsense"})).status_code == 400


async def test_ids_keep_their_slashes_and_letters(gateway: RunningGateway) -> None:
    """An id with a slash, a percent sign, a space or any letter is one id, written and read alike."""
    for encoded, plain in [("a%2Fb", "a/b"), ("100%25", "100%"), ("a%20b", "a b"), ("%C3%B1%E2%82%AC", "ñ€")]:
        assert (await gateway.client.put(f"/fleet/{encoded}", json={})).json()["id"] == plain
        assert (await gateway.client.get(f"/fleet/{encoded}")).json()["_id"] == plain
    rows = (await gateway.client.get("/fleet/_all_docs")).json()["rows"]
    assert [row["id"] for row in rows] == sorted(["a/b", "100%", "a b", "ñ€"])


async def test_reserved_properties_are_refused(gateway: RunningGateway) -> None:
    """Each property that Sync Gateway keeps for itself has its own refusal, and nothing is stored."""
    for body, status, reason in RESERVED:
        answer = await gateway.put("d", body)
        assert (answer.status_code, answer.json()["reason"]) == (status, reason), body
    assert gateway.store.update_sequence == 0


async def test_posted_documents_get_an_id(gateway: RunningGateway) -> None:
    """POST is 200 with Location and a made-up id, or the one in the body; a revision in it is 404."""
    answer = await gateway.client.post("/fleet/", json={"n": 1})
    assert answer.status_code == 200
    assert answer.headers["location"] == answer.json()["id"] != ""
    assert (await gateway.client.get(f"/fleet/{answer.json()['id']}")).json()["n"] == 1
    assert (await gateway.client.post("/fleet/", json={"_id": "own"})).json()["id"] == "own"
    refused = await gateway.client.post("/fleet/", json={"_rev": "1-a"})
    assert (refused.status_code, refused.json()["reason"]) == (404, "No previous revision to replace")


async def test_put_without_new_edits_takes_the_clients_revision(gateway: RunningGateway) -> None:
    """`new_edits=false` stores the revision that the document brings."""
    answer = await gateway.put("d", {"_rev": "4-abc", "n": 1}, new_edits="false")
    assert (answer.status_code, answer.json()["rev"]) == (201, "4-abc")
    missing = await gateway.put("e", {"n": 1}, new_edits="false")
    assert (missing.status_code, missing.json()["reason"]) == (400, "Bad _revisions")


async def test_bodies_are_kept_as_they_were_written(gateway: RunningGateway) -> None:
    """Numbers, escapes and the order of members come back byte for byte."""
    body = b'{"z":1.50,"a":1e2,"big":12345678901234567890,"s":"\\u00e9<","nested":{"b":[ ],"a":null}}'
    await gateway.client.put("/fleet/d", content=body, headers={"Content-Type": "application/json"})
    assert (await gateway.client.get("/fleet/d")).content.endswith(body[1:])


async def test_checkpoints_count_their_own_revisions(gateway: RunningGateway) -> None:
    """`_local` documents go 0-1, 0-2; a wrong revision is 409, none to replace 404; they are in no feed."""
    path = "/fleet/_local/reader"
    assert (await gateway.client.get(path)).json() == MISSING
    early = await gateway.client.put(path, json={"_rev": "0-1"})
    assert (early.status_code, early.json()["reason"]) == (404, "No previous revision to replace")
    first = await gateway.client.put(path, json={"last_seq": "5", "_dropped": 1})
    assert (first.status_code, first.json()) == (201, {"id": "_local/reader", "ok": True, "rev": "0-1"})
    for wrong in ({}, {"_rev": "0-7"}):
        answer = await gateway.client.put(path, json=wrong)
        assert (answer.status_code, answer.json()["reason"]) == (409, "Document update conflict")
    assert (await gateway.client.put(path, json={"_rev": "0-1", "last_seq": "6"})).json()["rev"] == "0-2"
    assert (await gateway.client.get(path)).json() == {"_id": "_local/reader", "_rev": "0-2", "last_seq": "6"}
    assert (await gateway.client.delete(path, params={"rev": "0-1"})).status_code == 409
    assert (await gateway.client.delete(path, params={"rev": "0-2"})).status_code == 200
    assert (await gateway.client.delete(path)).status_code == 404
    assert (await gateway.changes())["results"] == []
