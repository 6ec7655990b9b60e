"""Identity: ids and keys come back from their text as they went in, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetwire.errors import BadPayload
from fleetwire.identity import MAXIMUM_SEQUENCE, Key, Terminal, is_word
from tests.fleetwire.reading import read_or_refusal

WORDS = st.from_regex(r"\A[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")
TERMINALS = st.builds(Terminal, WORDS, WORDS, WORDS, WORDS)
SEQUENCES = st.integers(1, MAXIMUM_SEQUENCE)
NEAR_MISSES = st.text(alphabet="abz09-.·A/+#$ \n²٣\0", max_size=60)


@given(TERMINALS)
def test_a_terminal_comes_back_from_its_id(terminal: Terminal) -> None:
    """Parsing an id gives the terminal that wrote it, and the store's id is all but the last word."""
    assert Terminal.parse(terminal.id) == terminal
    assert terminal.id == f"{terminal.store_id}.{terminal.terminal}"


@given(TERMINALS, SEQUENCES)
def test_a_key_comes_back_from_its_text(terminal: Terminal, sequence: int) -> None:
    """Parsing a key's text gives the key that wrote it."""
    key = Key(terminal.id, sequence)
    assert Key.parse(str(key)) == key


@given(st.text(max_size=200) | NEAR_MISSES)
def test_hostile_ids_are_refused_or_exact(text: str) -> None:
    """Any text is either refused as no_key or is exactly the id of the terminal that it names."""
    found = read_or_refusal(Terminal.parse, text)
    if isinstance(found, BadPayload):
        assert found.reason == "no_key"
    else:
        assert found.id == text
        assert all(is_word(word) for word in found)


@given(
    st.text(max_size=200) | st.builds("{}.{}".format, TERMINALS.map(lambda one: one.id), NEAR_MISSES | st.integers())
)
def test_hostile_keys_are_refused_or_exact(text: str) -> None:
    """Any text is either refused as no_key or is exactly the text of the key that it names."""
    found = read_or_refusal(Key.parse, text)
    if isinstance(found, BadPayload):
        assert found.reason == "no_key"
    else:
        assert str(found) == text
        assert 1 <= found.sequence <= MAXIMUM_SEQUENCE


@pytest.mark.parametrize(
    "text",
    ["", ".", "...", "a.b.c", "a.b.c.d.e", "a..c.d", "A.b.c.d", "a.b.c.d\n", "-a.b.c.d", "a-.b.c.d", "a.b.c.+",
     "a.b.c.#", "a/b.c.d.e", "ä.b.c.d", f"{'a' * 33}.b.c.d", "a.b.c." + "d" * 10_000_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_what_is_no_id(text: str) -> None:
    """Wrong counts of words, wildcards, capitals, edges and monstrous sizes are refused, quoted in few characters."""
    with pytest.raises(BadPayload, match="no terminal id") as caught:
        Terminal.parse(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "digits", ["", "0", "01", "-1", "+1", "1.0", "1e3", "²", "٣", " 1", "1\n", str(MAXIMUM_SEQUENCE + 1), "9" * 5_000]
)
def test_what_is_no_sequence(digits: str) -> None:
    """Zero, leading zeros, signs, foreign digits and numbers beyond JSON's exact range are refused."""
    with pytest.raises(BadPayload) as caught:
        Key.parse(f"taco.west.s0001.r01.{digits}")
    assert caught.value.reason == "no_key"


def test_the_text_forms() -> None:
    """The text forms are the documented ones, and the longest id has the documented length."""
    assert str(Key("taco.west.s0042.r01", 317)) == "taco.west.s0042.r01.317"
    assert Terminal.parse("taco.west.s0042.r01") == Terminal("taco", "west", "s0042", "r01")
    assert Terminal.parse(".".join(["a" * 32] * 4)).brand == "a" * 32
    assert [is_word(text) for text in ("a", "a-b", "0", "", "-", "a-", "a.b", "A", "a" * 33)] == [True] * 3 + [
        False
    ] * 6
