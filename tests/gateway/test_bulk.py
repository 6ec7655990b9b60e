"""`_bulk_docs` both ways, `_bulk_get`, `_all_docs`, `_revs_diff`."""

import json
from typing import Any

import pytest

from fleetwire.revisions import revision_id
from tests.gateway.running import RunningGateway

CONFLICT_ROW = {"status": 409, "error": "conflict", "reason": "Document revision conflict"}
BAD_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({}, "missing 'docs' property"),
    ({"docs": {}}, "missing 'docs' property"),
    ({"docs": None}, "missing 'docs' property"),
    ({"docs": [1]}, "Document body must be JSON"),
    ({"docs": [{"_id": "ok"}, None]}, "Document body must be JSON"),
]
BAD_REVISIONS: list[dict[str, Any]] = [
    {"_id": "d"},
    {"_id": "d", "_revisions": {}},
    {"_id": "d", "_revisions": {"start": 1, "ids": []}},
    {"_id": "d", "_revisions": {"start": 1, "ids": ["b", "a"]}},
    {"_id": "d", "_revisions": {"start": "2", "ids": ["b", "a"]}},
    {"_id": "d", "_revisions": {"start": 2, "ids": ["b", 1]}},
]


async def test_new_edits_rows_come_in_order_with_checkpoints_last(gateway: RunningGateway) -> None:
    """A row has id and revision, without `ok`; a refused one its status, error and reason."""
    await gateway.put("taken", {"n": 1})
    rows = await gateway.write(
        {"_id": "_local/mark", "n": 1},
        {"_id": "a", "n": 1},
        {"_id": "taken", "n": 2},
        {"_id": "_bad"},
        {"_id": "b", "_sync": 1},
        {"_id": "c"},
    )
    assert rows == [
        {"id": "a", "rev": revision_id(1, "", {"n": 1})},
        {"id": "taken", "status": 409, "error": "conflict", "reason": "Document exists"},
        {"id": "_bad", "status": 400, "error": "bad_request", "reason": "Invalid doc ID"},
        {
            "id": "b",
            "status": 400,
            "error": "bad_request",
            "reason": "document-top level property '_sync' is a reserved internal property",
        },
        {"id": "c", "rev": revision_id(1, "", {})},
        {"id": "_local/mark", "rev": "0-1"},
    ]


async def test_documents_of_one_batch_follow_each_other(gateway: RunningGateway) -> None:
    """The same id twice in a batch is two revisions, and one entry in the feed."""
    first = revision_id(1, "", {"n": 1})
    rows = await gateway.write(
        {"_id": "d", "n": 1}, {"_id": "e"}, {"_id": "d", "n": 2, "_rev": first}, {"_id": "d", "n": 3}
    )
    assert [row.get("rev", row.get("status")) for row in rows] == [
        first,
        revision_id(1, "", {}),
        revision_id(2, first, {"n": 2}),
        409,
    ]
    results = (await gateway.changes())["results"]
    assert [(entry["seq"], entry["id"]) for entry in results] == [(2, "e"), (3, "d")]


async def test_bulk_without_ids_makes_them(gateway: RunningGateway) -> None:
    """A new document without an id gets one, and it is in its row."""
    rows = await gateway.write({"n": 1}, {"n": 1})
    assert len({row["id"] for row in rows}) == 2


@pytest.mark.parametrize("again", [{"n": 1}, {"n": 2}])
async def test_a_known_revision_is_a_success_that_changes_nothing(
    gateway: RunningGateway, again: dict[str, Any]
) -> None:
    """Written again under its revision, a document answers with it and the feed does not move."""
    document = {"_id": "taco.west.s0042.r01.317", "_rev": "1-abc", "n": 1}
    await gateway.write(document, new_edits=False)
    rows = await gateway.write({**document, **again}, new_edits=False)
    assert rows == [{"id": document["_id"], "rev": "1-abc"}]
    assert gateway.store.update_sequence == 1
    assert (await gateway.client.get(f"/fleet/{document['_id']}")).json()["n"] == 1
    assert gateway.store.figures()["documents_unchanged"] == 1


async def test_other_content_under_the_same_key_is_a_conflict(gateway: RunningGateway) -> None:
    """Another first revision of a live document is a 409 row, and what is stored stays."""
    await gateway.write({"_id": "key", "_rev": "1-abc", "n": 1}, new_edits=False)
    rows = await gateway.write({"_id": "key", "_rev": "1-other", "n": 2}, new_edits=False)
    assert rows == [{"id": "key", **CONFLICT_ROW}]
    assert (await gateway.client.get("/fleet/key")).json()["n"] == 1
    assert gateway.store.figures()["conflicts"] == 1


async def test_histories_are_grafted(gateway: RunningGateway) -> None:
    """`_revisions` that lead from the current revision extend it; the whole history is remembered."""
    await gateway.write({"_id": "d", "_rev": "1-a"}, new_edits=False)
    history = {"start": 3, "ids": ["c", "b", "a"]}
    assert await gateway.write({"_id": "d", "_revisions": history}, new_edits=False) == [{"id": "d", "rev": "3-c"}]
    document = (await gateway.client.get("/fleet/d", params={"revs": "true"})).json()
    assert document["_revisions"] == history
    for known in ("1-a", "2-b", "3-c"):
        assert (await gateway.write({"_id": "d", "_rev": known}, new_edits=False))[0]["rev"] == known
    assert (await gateway.write({"_id": "d", "_rev": "2-x"}, new_edits=False))[0]["status"] == 409


async def test_bad_histories_are_rows_of_400(gateway: RunningGateway) -> None:
    """A revision history that cannot be read is `Bad _revisions` in its row; its neighbour is stored."""
    rows = await gateway.write(*BAD_REVISIONS, {"_id": "good", "_rev": "1-a"}, new_edits=False)
    refused = {"id": "d", "status": 400, "error": "bad_request", "reason": "Bad _revisions"}
    assert rows == [refused] * len(BAD_REVISIONS) + [{"id": "good", "rev": "1-a"}]


async def test_new_edits_that_is_no_boolean_counts_as_true(gateway: RunningGateway) -> None:
    """The text "false" makes new revisions, as it does in Sync Gateway."""
    rows = await gateway.write({"_id": "d", "n": 1}, new_edits="false")
    assert rows == [{"id": "d", "rev": revision_id(1, "", {"n": 1})}]


async def test_requests_without_documents_are_refused_whole(gateway: RunningGateway) -> None:
    """`docs` must be a list of objects; otherwise nothing is stored."""
    for body, reason in BAD_REQUESTS:
        answer = await gateway.client.post("/fleet/_bulk_docs", json=body)
        assert (answer.status_code, answer.json()) == (400, {"error": "Bad Request", "reason": reason}), body
    assert gateway.store.update_sequence == 0


async def test_bulk_get_answers_in_parts(gateway: RunningGateway) -> None:
    """Each wanted document is a JSON part, an absent one a part marked as error; JSON alone is 406."""
    await gateway.put("d", {"n": 1})
    wanted = {"docs": [{"id": "d"}, {"id": "absent"}, {"rev": "1-a"}]}
    answer = await gateway.client.post("/fleet/_bulk_get", json=wanted)
    boundary = answer.headers["content-type"].partition('boundary="')[2].rstrip('"')
    parts = answer.content.split(f"--{boundary}".encode())[1:-1]
    heads, bodies = zip(*(part.strip().split(b"\r\n\r\n") for part in parts), strict=True)
    assert [b'error="true"' in head for head in heads] == [False, True, True]
    documents = [json.loads(body) for body in bodies]
    assert documents[0]["n"] == 1
    assert documents[1] == {"id": "absent", "status": 404, "error": "not_found", "reason": "missing"}
    refused = await gateway.client.post("/fleet/_bulk_get", json=wanted, headers={"Accept": "application/json"})
    assert (refused.status_code, refused.json()["reason"]) == (406, "Response is multipart")


async def test_all_docs_lists_live_documents_by_id(gateway: RunningGateway) -> None:
    """Rows come by id within the bounds, without tombstones, with what is asked for."""
    rows = await gateway.write(*({"_id": f"d{number}", "channels": ["x"]} for number in range(5)))
    await gateway.client.delete("/fleet/d1", params={"rev": rows[1]["rev"]})
    answer = (await gateway.client.get("/fleet/_all_docs")).json()
    assert [row["key"] for row in answer["rows"]] == ["d0", "d2", "d3", "d4"]
    assert (answer["total_rows"], answer["update_seq"]) == (4, 6)
    assert answer["rows"][0] == {"key": "d0", "id": "d0", "value": {"rev": rows[0]["rev"]}}
    query = {"startkey": '"d2"', "endkey": '"d3"', "include_docs": "true", "channels": "true", "update_seq": "true"}
    bounded = (await gateway.client.get("/fleet/_all_docs", params=query)).json()["rows"]
    assert [row["id"] for row in bounded] == ["d2", "d3"]
    assert bounded[0]["doc"]["_rev"] == bounded[0]["value"]["rev"]
    assert bounded[0]["value"]["channels"] == ["x"]
    assert bounded[0]["update_seq"] == 3
    limited = (await gateway.client.get("/fleet/_all_docs", params={"limit": "2"})).json()
    assert [row["id"] for row in limited["rows"]] == ["d0", "d2"]


async def test_all_docs_reads_page_after_page(gateway: RunningGateway) -> None:
    """More documents than fit a page are all there, once each."""
    await gateway.write(*({"_id": f"d{number:04d}"} for number in range(450)))
    rows = (await gateway.client.get("/fleet/_all_docs")).json()["rows"]
    assert [row["id"] for row in rows] == [f"d{number:04d}" for number in range(450)]


async def test_all_docs_by_keys_keeps_their_order(gateway: RunningGateway) -> None:
    """Asked by keys, rows come in that order, and what is not there says so."""
    await gateway.write({"_id": "a"}, {"_id": "b"})
    gone = (await gateway.client.delete("/fleet/gone")).json()
    assert gone["ok"]
    keys = ["b", "absent", "a", "gone"]
    posted = (await gateway.client.post("/fleet/_all_docs", json={"keys": keys})).json()["rows"]
    asked = (await gateway.client.get("/fleet/_all_docs", params={"keys": json.dumps(keys)})).json()["rows"]
    assert posted == asked
    assert [row["key"] for row in posted] == keys
    assert [row.get("error") for row in posted] == [None, "not_found", None, "not_found"]
    assert (await gateway.client.post("/fleet/_all_docs", json={})).json()["reason"] == "Bad/missing keys"
    too_many = await gateway.client.post("/fleet/_all_docs", json={"keys": ["x"] * 1001})
    assert too_many.status_code == 400


async def test_revs_diff_names_what_is_missing(gateway: RunningGateway) -> None:
    """Known revisions are left out, missing ones come with the revision that they may follow."""
    await gateway.write({"_id": "d", "_revisions": {"start": 2, "ids": ["b", "a"]}}, new_edits=False)
    asked = {"d": ["1-a", "2-b", "3-c"], "known": [], "new": ["1-x"]}
    answer = await gateway.client.post("/fleet/_revs_diff", json=asked)
    assert answer.json() == {
        "d": {"missing": ["3-c"], "possible_ancestors": ["2-b"]},
        "new": {"missing": ["1-x"]},
    }
