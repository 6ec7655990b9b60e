"""What commands print of what others wrote: lines for people steer no terminal, lines for programs keep every value."""

from __future__ import annotations

import json

import pytest

from fleetwire.mqtt import Message
from fleetwire.topics import Topics
from storefleet import command_output
from storefleet.tail_lines import json_line, line

WORDS = "[red] \x1b[2J \x9b1m \u2028 \u202e"


def message(topic: str, payload: bytes, **properties: str) -> Message:
    """As the broker hands it on."""
    return Message(
        topic=topic, payload=payload, qos=1, retain=False, duplicate=False, properties=[*properties.items()],
        content_type=None, response_topic=None, correlation_data=None, message_expiry_s=None, packet_id=1, connection=1,
    )  # fmt: skip


def test_a_message_is_one_line_for_people_and_for_programs() -> None:
    """Topic, properties and payload are whatever their sender made them."""
    found = message(f"storefleet/{WORDS}\n", f"payload {WORDS}\n".encode(), id=f"a\n{WORDS}", type="t")
    person = line(found, Topics("storefleet/lab"))
    assert len(person.splitlines()) == 1
    assert not {"\x1b", "\x9b", "\u202e"} & {*person}
    assert "[red] \ufffd[2J" in person
    program = json_line(found)
    assert len(program.splitlines()) == 1
    value = json.loads(program)
    assert (value["topic"], value["payload"]) == (found.topic, found.payload.decode())
    assert value["properties"] == [["id", f"a\n{WORDS}"], ["type", "t"]]


def test_every_way_to_say_something_is_clean(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output, progress and refusals; JSON has its values."""
    command_output.out(WORDS)
    command_output.out_json_line({"detail": WORDS})
    command_output.out_json({"detail": WORDS})
    command_output.say_progress(WORDS)
    with pytest.raises(SystemExit):
        command_output.fail(f"no file {WORDS}")
    printed = capsys.readouterr()
    text, line, indented = printed.out.split("\n", 2)
    assert text == "[red] \ufffd[2J \ufffd1m \ufffd \ufffd"
    assert json.loads(line) == json.loads(indented) == {"detail": WORDS}
    assert not {"\x1b", "\x9b", "\u202e", "\u2028"} & {*printed.out, *printed.err}
