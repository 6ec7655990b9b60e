"""Topics: every one is made below the root, is shallow enough for every broker, and is read back without a doubt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.errors import BadPayload, SettingsError
from fleetwire.identity import Terminal
from fleetwire.reasons import REASONS
from fleetwire.topics import TERMINAL_KINDS, Topics
from tests.fleetwire.reading import read_or_refusal

ROOT = "storefleet/lab-7k2f"
TILL = Terminal("taco", "west", "s0042", "r01")
TOPICS = Topics(ROOT)
TABLE = {
    "terminal/transaction/taco/west/s0042/taco.west.s0042.r01": TOPICS.terminal("transaction", TILL),
    "terminal/ask/taco/west/s0042/taco.west.s0042.r01": TOPICS.terminal("ask", TILL),
    "command/outcome/taco/west/s0042/taco.west.s0042.r01": TOPICS.command("outcome", TILL),
    "canonical/transaction/taco/west/s0042/taco.west.s0042.r01": TOPICS.canonical("transaction", TILL),
    "canonical/device/taco/west/s0042/taco.west.s0042.r01": TOPICS.canonical("device", TILL),
    "canonical/status/taco/west/s0042": TOPICS.status("taco", "west", "s0042"),
    "dead-letter/parm/no_key/unknown": TOPICS.dead_letter("parm", "no_key", "unknown"),
    "host/sync_stage/2": TOPICS.host("sync_stage", 2),
}


@pytest.mark.parametrize("expected", TABLE)
def test_the_tree(expected: str) -> None:
    """Every topic has the documented form and, below a root of two levels, at most seven slashes and no wildcard."""
    topic = TABLE[expected]
    assert topic == f"{ROOT}/{expected}"
    assert topic.count("/") <= 7
    assert not set(topic) & set("+#$")


def test_the_longest_topic_fits() -> None:
    """The longest names that are allowed still make a topic of seven slashes within MQTT's 65,535 bytes."""
    longest = Terminal(*["a" * 32] * 4)
    topics = Topics(f"{'r' * 64}/{'s' * 64}")
    made = [topics.terminal(kind, longest) for kind in TERMINAL_KINDS]
    made += [topics.dead_letter("olympus_dgs", reason, longest.id) for reason in REASONS]
    assert max(topic.count("/") for topic in made) == 7
    assert max(map(len, made)) < 1_000


def test_filters() -> None:
    """A filter covers one plane and kind, and the shared one names its group in front."""
    assert TOPICS.all_of("terminal", "state") == f"{ROOT}/terminal/state/#"
    assert TOPICS.shared("parm", "terminal", "state") == f"$share/parm/{ROOT}/terminal/state/#"


@pytest.mark.parametrize("root", ["lab", "storefleet/lab", "a.b/c_d-e"])
@pytest.mark.parametrize("kind", TERMINAL_KINDS)
def test_a_terminal_topic_is_read_back(root: str, kind: str) -> None:
    """Reading a terminal's topic gives its kind and the terminal, whatever the root."""
    topics = Topics(root)
    found = topics.read_terminal(topics.terminal(kind, TILL))
    assert found.kind == kind
    assert found.terminal == TILL


@pytest.mark.parametrize(
    "root", ["", "/", "a/", "/a", "a//b", "a/b/c", "a b", "+", "#", "$share", "ä", "a\n", "a" * 65]
)
def test_what_is_no_root(root: str) -> None:
    """A root with wildcards, too many levels or foreign characters is refused before anything starts."""
    with pytest.raises(SettingsError, match="topic root"):
        Topics(root)


@pytest.mark.parametrize(
    ("levels", "reason"),
    [
        ("terminal/transaction/taco/west/s0042/taco.west.s0042.r01/more", "no_key"),
        ("terminal/transaction/taco/west/taco.west.s0042.r01", "no_key"),
        ("terminal/transaction/taco/west/s0042/", "no_key"),
        ("terminal/transaction/taco/west/s0042/taco.west.s0042", "no_key"),
        ("canonical/transaction/taco/west/s0042/taco.west.s0042.r01", "no_key"),
        ("", "no_key"),
        ("terminal/transaction/taco/west/s0041/taco.west.s0042.r01", "topic_mismatch"),
        ("terminal/transaction/taco/east/s0042/taco.west.s0042.r01", "topic_mismatch"),
        ("terminal/transaction/pizza/west/s0042/taco.west.s0042.r01", "topic_mismatch"),
        ("terminal/transaction///s0042/taco.west.s0042.r01", "topic_mismatch"),
    ],
)
def test_what_is_no_terminal_topic(levels: str, reason: str) -> None:
    """A topic that names no terminal has no key; one whose levels contradict its sender is a mismatch."""
    with pytest.raises(BadPayload) as caught:
        TOPICS.read_terminal(f"{ROOT}/{levels}")
    assert caught.value.reason == reason


def test_another_root_is_not_ours() -> None:
    """A topic below another root is refused, also when the other root begins like ours."""
    for root in ("storefleet/lab-7k2g", "storefleet/lab-7k2", "storefleet"):
        with pytest.raises(BadPayload, match="no_key"):
            TOPICS.read_terminal(Topics(root).terminal("transaction", TILL))


@given(st.text(alphabet="abc./+#$terminal", max_size=80) | st.text(max_size=200))
def test_hostile_topics(text: str) -> None:
    """Reading any text as a topic raises BadPayload or finds the terminal that it ends in; the last level is always told."""
    for topic in (text, f"{ROOT}/{text}", f"{ROOT}/terminal/transaction/{text}"):
        assert topic.endswith(TOPICS.source_of(topic))
        found = read_or_refusal(TOPICS.read_terminal, topic)
        if isinstance(found, BadPayload):
            assert found.reason in {"no_key", "topic_mismatch"}
        else:
            assert TOPICS.terminal(found.kind, found.terminal) == topic
