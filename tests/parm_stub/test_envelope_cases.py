"""Every fault and accepted variant of an envelope, as PARM's core and the reader of keys see it, in every mode."""

from __future__ import annotations

import pytest

from fleetwire.errors import BadPayload
from fleetwire.identity import Key
from fleetwire.message_key import attempt_of, key_of, keys_of
from fleetwire.mqtt import Message
from fleetwire.reasons import REASONS
from parm_stub.transform import Transformer
from tests.parm_live.running import TOPICS, UTC_TIME
from tests.parm_stub.envelope_cases import MODES, ROWS, SEQUENCE, Sent, message, terminal_of, words_of

TRANSFORMER = Transformer(TOPICS, {"taco": "taco"})
CASES = [(name, mode) for name, row in ROWS.items() for mode in row.modes]


def as_received(sent: Sent) -> Message:
    """The message as a session hands it on."""
    return Message(
        topic=sent.topic,
        payload=sent.payload,
        qos=1,
        retain=False,
        duplicate=False,
        properties=sent.properties,
        content_type=sent.content_type,
        response_topic=None,
        correlation_data=None,
        message_expiry_s=None,
        packet_id=1,
        connection=1,
    )


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_what_comes_of_a_row(name: str, mode: str) -> None:
    """It is the event that it says, with its attempt; or it is refused for its reason, in these words."""
    row = ROWS[name]
    sent = message(row, mode, 1)
    if row.reason:
        with pytest.raises(BadPayload) as caught:
            TRANSFORMER.transform(*sent)
        assert caught.value.reason == row.reason
        assert caught.value.detail.startswith(words_of(row, mode, 1))
        assert "''" not in caught.value.detail
        return
    event = TRANSFORMER.transform(*sent)
    assert (event.key, event.time, event.type) == (f"{terminal_of(1).id}.{SEQUENCE}", UTC_TIME, "transaction.control")
    assert event.data == TRANSFORMER.transform(*message(ROWS["as our terminals send it"], "binary", 1)).data
    assert attempt_of(as_received(sent)) == row.attempt


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_the_key_of_a_row(name: str, mode: str) -> None:
    """Whatever is wrong with it, the key is read where the message gives one, and none where it gives none or two."""
    row = ROWS[name]
    key = Key(terminal_of(1).id, SEQUENCE)
    found = key_of(as_received(message(row, mode, 1)))
    if name == "another sequence than the data's":
        key = key._replace(sequence=318)
    assert found == (key if row.told else None)


def test_every_mode_has_every_kind_of_fault() -> None:
    """What can be wrong in one mode is tried in all of them, for every reason that an envelope can lead to."""
    reasons = {mode: {row.reason for row in ROWS.values() if mode in row.modes} for mode in MODES}
    assert reasons["binary"] == reasons["structured"] == reasons["mqtt311"]
    assert "ambiguous" in REASONS
    assert reasons["binary"] - {""} <= REASONS.keys()


def test_all_keys_of_a_message_that_contradicts_itself() -> None:
    """Whoever has to suspect all events that a message names finds each number that it gives."""
    for mode in MODES:
        found = keys_of(as_received(message(ROWS["two sequences"], mode, 1)))
        assert found == [Key(terminal_of(1).id, 317), Key(terminal_of(1).id, 318)]
