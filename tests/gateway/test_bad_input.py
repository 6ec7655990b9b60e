"""Hostile requests: each is refused in words, nothing of it is stored, and the gateway answers the next one."""

import pytest

from consumers.gateway.requests import MAXIMUM_REQUEST_BYTES
from fleetwire import bounded_json
from fleetwire.bounded_json import DOCUMENT_DEPTH, MAXIMUM_DEPTH
from tests.gateway.running import RunningGateway

HOSTILE_TEXTS = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b'{"a":NaN}',
    b'{"a":Infinity}',
    b'{"a":1e400}',
    b'{"a":' + b"9" * 10_000 + b"}",
    b'{"a":01}',
    b'{"a":"\xff"}',
    b'{"\xff":1}',
    b'{"a":"\\ud800"}',
    b'{"a":"\\x41"}',
    b'{"a":"\x01"}',
    b'{"a":1} trailing',
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
]
PLACES = [
    ("PUT", "/fleet/d", b"%b"),
    ("POST", "/fleet/", b"%b"),
    ("PUT", "/fleet/_local/c", b"%b"),
    ("POST", "/fleet/_bulk_docs", b'{"new_edits":false,"docs":[%b]}'),
    ("POST", "/fleet/_bulk_docs", b'{"docs":[%b]}'),
    ("POST", "/fleet/_changes", b"%b"),
    ("POST", "/fleet/_revs_diff", b"%b"),
    ("POST", "/fleet/_all_docs", b"%b"),
    ("POST", "/fleet/_bulk_get", b"%b"),
]
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(("method", "path", "frame"), PLACES)
async def test_hostile_json_is_400_everywhere(gateway: RunningGateway, method: str, path: str, frame: bytes) -> None:
    """Whatever is not clean JSON of the right shape is a 400 with a reason, at every place that reads a body."""
    for text in HOSTILE_TEXTS:
        if frame != b"%b" and text == b"":
            continue  # an empty list of documents is a valid request
        answer = await gateway.client.request(method, path, content=frame % text, headers=JSON)
        assert answer.status_code == 400, (text[:40], answer.status_code, answer.text[:200])
        assert set(answer.json()) == {"error", "reason"}
    assert gateway.store.update_sequence == 0
    assert (await gateway.client.get("/_ping")).status_code == 200


@pytest.mark.parametrize(("depth", "status"), [(DOCUMENT_DEPTH, 201), (DOCUMENT_DEPTH + 1, 400), (20_000, 400)])
async def test_nesting_is_limited_at_one_depth(gateway: RunningGateway, depth: int, status: int) -> None:
    """However a document comes, it is stored up to the limit, and then every answer that holds it can be read."""
    array = b"[" * (depth - 1) + b"]" * (depth - 1)
    existing = b'"_revisions":{"start":1,"ids":["a"]},'
    for path, also in (("/fleet/d", b""), ("/fleet/e?new_edits=false&rev=1-a", existing), ("/fleet/_local/f", b"")):
        answer = await gateway.client.put(path, content=b"{" + also + b'"a":' + array + b"}", headers=JSON)
        assert answer.status_code == status, answer.text
    content = b'{"docs":[{"_id":"g","a":' + array + b'},{"_id":"h"}]}'
    bulk = await gateway.client.post("/fleet/_bulk_docs", content=content, headers=JSON)
    if depth > MAXIMUM_DEPTH:
        assert bulk.status_code == 400
        return
    assert [row.get("status", 201) for row in bulk.json()] == [status, 201]
    for path in ("/fleet/_changes?include_docs=true", "/fleet/_all_docs?include_docs=true"):
        page = bounded_json.decode((await gateway.client.get(path)).content)
        assert len(page.get("results", page.get("rows"))) == (4 if status == 201 else 1)


async def test_requests_beyond_the_limit_are_413(gateway: RunningGateway) -> None:
    """A body of more than 20 MiB is refused, whether its length is declared or not."""

    async def pieces(total: int):  # type: ignore[no-untyped-def]
        for _ in range(0, total, 1 << 20):
            yield b" " * (1 << 20)

    size = MAXIMUM_REQUEST_BYTES + (1 << 20)
    declared = await gateway.client.put("/fleet/d", content=b" " * size, headers=JSON)
    assert declared.status_code == 413
    chunked = await gateway.client.put("/fleet/d", content=pieces(size), headers=JSON)
    assert chunked.status_code == 413
    assert (await gateway.put("d", {})).status_code == 201


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {**JSON, "Content-Encoding": "gzip"}])
async def test_other_content_types_are_415(gateway: RunningGateway, headers: dict[str, str]) -> None:
    """A body that says it is no JSON, or compressed, is refused."""
    answer = await gateway.client.put("/fleet/d", content=b"{}", headers=headers)
    assert answer.status_code == 415


async def test_a_poisoned_row_leaves_its_neighbours_alone(gateway: RunningGateway) -> None:
    """Documents of wrong types inside a batch get rows of their own, and the others are stored."""
    rows = await gateway.write(
        {"_id": 7, "_rev": "1-a"},
        {"_id": "", "_rev": "1-a"},
        {"_id": "nul\0", "_rev": "1-a"},
        {"_id": "x" * 251, "_rev": "1-a"},
        {"_id": "d1", "_rev": 5},
        {"_id": "d2", "_rev": '1-"'},
        {"_id": "d3", "_rev": "99999999999-a"},
        {"_id": "d4", "_rev": "1-a", "_deleted": 1},
        {"_id": "d5", "_rev": "1-a", "channels": {"not": "channels"}},
        {"_id": "d6", "_rev": "1-a", "channels": ["ok", 7, None, ["nested"], ""]},
        new_edits=False,
    )
    assert [row.get("status", 201) for row in rows] == [400] * 8 + [201, 201]
    assert [entry["id"] for entry in (await gateway.changes())["results"]] == ["d5", "d6"]


async def test_a_websocket_feed_is_an_honest_501(gateway: RunningGateway) -> None:
    """The one feed that this gateway does not have says so."""
    answer = await gateway.client.get("/fleet/_changes", params={"feed": "websocket"})
    assert answer.status_code == 501
