"""Where something is empty, every refusal says so in words: nobody is shown two quotes with nothing between them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleetwire.canonical_message import read_whole
from fleetwire.errors import BadPayload
from fleetwire.identity import Key, Terminal
from parm_stub.transform import Transformer
from tests.parm_live.running import SOURCE, TOPICS, envelope, raw_control
from tests.storefleet_units.test_observer import altered, message_of

TERMINAL = Terminal.parse(SOURCE)
RAW = TOPICS.terminal("transaction", TERMINAL)
CANONICAL = TOPICS.canonical("transaction", TERMINAL)
transform = Transformer(TOPICS, {"taco": "taco"}).transform

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "a terminal": (lambda: Terminal.parse(""), "no terminal id is given (brand.region.store.terminal)"),
    "a key": (lambda: Key.parse(""), "no key is given: one ends in a sequence number, such as "),
    "a brand's level": (
        lambda: transform(RAW.replace("/taco/", "//"), envelope(3), raw_control(3), None),
        "brand nothing is none of this fleet",
    ),
    "a topic's last level": (
        lambda: transform(RAW.removesuffix(SOURCE), envelope(3), raw_control(3), None),
        "no terminal id is given",
    ),
    "a dialect's kind": (
        lambda: transform(RAW, envelope(3), raw_control(3, eventKind=""), None),
        "kind nothing is none of dialect taco",
    ),
    "a canonical source": (
        lambda: read_whole(TOPICS, message_of(CANONICAL, altered(source=""))),
        "no terminal id is given",
    ),
    "a canonical key": (
        lambda: read_whole(TOPICS, message_of(CANONICAL, altered(key=""))),
        f"key nothing is not {SOURCE}.1",
    ),
    "a canonical message's property": (
        lambda: read_whole(TOPICS, message_of(CANONICAL, altered(), [("source", "")])),
        f"user property source=nothing, payload {SOURCE}.1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_empty_is_said_in_words(name: str) -> None:
    """With what was expected, where that is one thing."""
    refused, words = REFUSED[name]
    with pytest.raises(BadPayload) as caught:
        refused()
    assert caught.value.detail.startswith(words)
    assert "''" not in caught.value.detail
