"""Poseidon behind a real gateway, beside a real broker: a document written by hand, as people and tools write JSON."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from tests.broker import Broker
from tests.feed.events import Written, sale
from tests.feed.laboratory import Laboratory, held, truth
from tests.poseidon.test_poseidon import TILL, TOPICS, applied, client_of, next_outcome, start


async def put(lab: Laboratory, event: Written, text: str) -> None:
    """What ``curl -X PUT -d @document.json`` sends."""
    url = f"{lab.gateway_url}/{event.source}.{event.sequence}"
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"Content-Type": "application/json"}
        answer = await client.put(url, content=text.encode(), headers=headers, params={"new_edits": "false"})
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("indent", "line_end"), [(2, "\n"), ("\t", "\r\n"), (1, "\r")], ids=["blanks", "tabs", "old Mac"]
)
async def test_an_indented_document_is_applied_and_has_its_outcome(
    tmp_path: Path, broker: Broker, indent: int | str, line_end: str
) -> None:
    """Its event is held by value, its till is told ``applied``, what comes behind it too, and nothing is skipped."""
    events = [sale(TILL.id, 1), sale(TILL.id, 2), sale(TILL.id, 3)]
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as till:
        await lab.start_gateway()
        await till.subscribe(TOPICS.command("outcome", TILL), qos=1)
        poseidon = await start(lab)
        await put(lab, events[0], json.dumps(events[0].document, indent=indent).replace("\n", line_end))
        await put(lab, events[1], json.dumps(events[1].document, indent=indent).replace("\n", line_end))
        await lab.write(events[2:])
        await next_outcome(till, lambda outcome: outcome.applied == [(1, 3)])
        await applied(poseidon, 3)
        read = await poseidon.call("final_read")
        assert held(read["views"]["orders"]) == truth(events)
        assert read["views"]["orders"]["skips"] == []


async def test_an_indented_document_of_no_event_is_rejected_by_name(tmp_path: Path, broker: Broker) -> None:
    """A dead letter with the reason and the document, the till is told, and the feed goes on behind it."""
    good = sale(TILL.id, 2)
    bad = {"_rev": "1-abc", "channels": ["transaction"], "source": TILL.id, "sequence": "one"}
    async with Laboratory(tmp_path, broker.url) as lab, client_of(broker) as reader, client_of(broker) as till:
        await lab.start_gateway()
        await reader.subscribe(f"{TOPICS.root}/dead-letter/#", qos=1)
        await till.subscribe(TOPICS.command("outcome", TILL), qos=1)
        poseidon = await start(lab)
        await put(lab, sale(TILL.id, 1), json.dumps(bad, indent=4))
        await lab.write([good])
        letter = await anext(reader.messages)
        assert isinstance(letter.payload, bytes)
        assert json.loads(letter.payload)["sequence"] == "one"
        assert letter.topic.value == f"{TOPICS.root}/dead-letter/poseidon/schema/{TILL.id}"
        rejected = await next_outcome(till, lambda outcome: bool(outcome.rejected))
        assert [(one.sequence, one.reason) for one in rejected.rejected] == [(1, "schema")]
        await applied(poseidon, 1)
        read = await poseidon.call("final_read")
        assert held(read["views"]["orders"]) == truth([good])
