"""A document may come with any white space: each change is one line of the feed, and every reader gets the same."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import pytest

from tests.gateway.running import RunningGateway

JSON = {"Content-Type": "application/json"}
INDENTED = b'{\r\n  "channels": [\n    "c"\n  ],\n\t"n": 1e2,\n  "text": "one\\ntwo",\r  "deep": {\n "z": -0 }\n}\n'
BODY = b',"channels":[    "c"  ],"n":1e2,"text":"one\\ntwo","deep":{ "z": -0 }}'


async def put(gateway: RunningGateway, document_id: str, text: bytes, **query: str) -> str:
    """Writes a document as these bytes and returns its revision."""
    answer = await gateway.client.put(f"/fleet/{quote(document_id, safe='')}", content=text, headers=JSON, params=query)
    assert answer.status_code == 201, answer.text
    revision: str = answer.json()["rev"]
    return revision


async def write_everywhere(gateway: RunningGateway) -> None:
    """The indented document by every door; the ids say which."""
    await put(gateway, "put", INDENTED)
    await put(gateway, "put-own-revision", b'{\n"_rev": "1-abc",' + INDENTED[1:], new_edits="false")
    posted = b'{\n"_id": "post",' + INDENTED[1:]
    assert (await gateway.client.post("/fleet/", content=posted, headers=JSON)).status_code == 200
    for document_id, tail in (("bulk", b"]}"), ("bulk-own-revision", b'],\n"new_edits":\nfalse}')):
        document = b'{\n"_id":"%b",\n"_rev":%b,' % (document_id.encode(), b'"1-a"' if b"false" in tail else b"\nnull")
        text = b'{\n"docs":[\n' + document + INDENTED[1:] + b"\n" + tail
        answer = await gateway.client.post("/fleet/_bulk_docs", content=text, headers=JSON)
        assert "rev" in answer.json()[0], answer.text


IDS = ["put", "put-own-revision", "post", "bulk", "bulk-own-revision"]


async def test_by_whichever_door_a_document_comes_its_change_is_one_line(gateway: RunningGateway) -> None:
    """Continuous, with documents; and the numbers are those that were written."""
    await write_everywhere(gateway)
    async with gateway.client.stream(
        "GET", "/fleet/_changes", params={"feed": "continuous", "include_docs": "true", "timeout": "1"}
    ) as answer:
        stream = await answer.aread()
    lines = [line for line in stream.split(b"\n") if line]
    assert [json.loads(line)["id"] for line in lines] == IDS
    assert [json.loads(line)["doc"]["text"] for line in lines] == ["one\ntwo"] * len(IDS)
    assert [line for line in lines if BODY not in line] == []


async def test_every_other_answer_has_it_in_one_line_too(gateway: RunningGateway) -> None:
    """GET, all documents, the normal feed, and the parts of a bulk get."""
    await write_everywhere(gateway)
    document = (await gateway.client.get("/fleet/put")).content
    assert b"\n" not in document
    assert json.loads(document)["n"] == 100
    rows = (await gateway.client.get("/fleet/_all_docs", params={"include_docs": "true"})).content
    assert [b'"one\\ntwo"' in line for line in rows.split(b"\n") if b'"key"' in line] == [True] * len(IDS)
    feed = (await gateway.client.get("/fleet/_changes", params={"include_docs": "true"})).content
    assert [b'"one\\ntwo"' in line for line in feed.split(b"\n") if b'"seq"' in line] == [True] * len(IDS)
    parts = await gateway.client.post("/fleet/_bulk_get", json={"docs": [{"id": "bulk"}]})
    [part] = [line for line in parts.content.split(b"\r\n") if line.startswith(b"{")]
    assert json.loads(part)["text"] == "one\ntwo"


async def test_white_space_makes_no_other_revision(gateway: RunningGateway) -> None:
    """The digest is that of the values, as it always was."""
    compact = b'{"channels":["c"],"n":1e2,"text":"one\\ntwo","deep":{"z":-0}}'
    assert await put(gateway, "indented", INDENTED) == await put(gateway, "compact", compact)
    marks = "one\u2028two\u2029three\x85"
    raw = json.dumps({"text": marks}, ensure_ascii=False, indent=2).encode()
    assert await put(gateway, "raw", raw) == await put(gateway, "escaped", json.dumps({"text": marks}).encode())
    assert (await gateway.client.get("/fleet/raw")).json()["text"] == marks


@pytest.mark.parametrize("document_id", ["a\u2028b", "a\x85b", "line\nend", "\u00e9\u20ac", "quote\"'"])
async def test_ids_and_channels_that_end_lines_elsewhere_end_none_of_the_feed(
    gateway: RunningGateway, document_id: str
) -> None:
    """httpx cuts lines as Python does."""
    first = await put(gateway, document_id, json.dumps({"channels": [document_id]}).encode())
    await put(gateway, document_id, json.dumps({"_rev": first, "channels": []}).encode())
    await put(gateway, "next", b"{}")
    async with gateway.feed(channels=document_id, filter="sync_gateway/bychannel") as feed:
        entry = await feed.entry()
    assert (entry["id"], entry["removed"]) == (document_id, [document_id])


@pytest.mark.parametrize("document_id", ["a\r\nSet-Cookie: x=1", "caf\u00e9", "\u20ac", "a/b?c#d"])
async def test_a_posted_id_does_not_write_headers(gateway: RunningGateway, document_id: str) -> None:
    """Location is the id with everything else than letters and digits as per cent."""
    answer = await gateway.client.post("/fleet/", json={"_id": document_id})
    assert (answer.status_code, answer.json()["id"]) == (200, document_id)
    assert unquote(answer.headers["location"]) == document_id
    assert "set-cookie" not in answer.headers
