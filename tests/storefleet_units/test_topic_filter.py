"""A topic filter is looked at before a broker is asked (MQTT 5, 4.7 and 4.8.2)."""

from __future__ import annotations

import pytest

from storefleet.topic_filter import problem_of


@pytest.mark.parametrize(
    ("topic_filter", "said"),
    [
        ("a/#/b", "# stands only at the end"),
        ("a/b#", "# stands only at the end"),
        ("#/a", "# stands only at the end"),
        ("a/b+/c", "+ stands only for one"),
        ("$share/a", "$share/GROUP/FILTER"),
        ("$share//a", "$share/GROUP/FILTER"),
        ("$share/a+/b/c", "$share/GROUP/FILTER"),
        ("$share/a/b+", "+ stands only for one"),
        ("", "it is empty"),
        ("a/" + "b" * 65_535, "65,535 bytes"),
        ("a/\0", "a character that no topic has"),
        ("a/\udcff", "a character that no topic has"),
    ],
)
def test_a_filter_that_is_none(topic_filter: str, said: str) -> None:
    """What is wrong is said in words."""
    assert said in problem_of(topic_filter)


@pytest.mark.parametrize(
    "topic_filter", ["#", "+", "a", "a/+/b", "a/#", "/", "a//b", "$share/g/a/#", "$SYS/#", "a" * 65_535]
)
def test_a_filter(topic_filter: str) -> None:
    """Nothing is wrong with these."""
    assert problem_of(topic_filter) == ""
