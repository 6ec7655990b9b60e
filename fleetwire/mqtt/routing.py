"""Which handler a message belongs to: topic filters with wildcards (MQTT 5, 4.7) in the order of their registration."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


def without_share(pattern: str) -> str:
    """The filter of a shared subscription ``$share/group/filter`` (4.8.2); any other pattern as it is."""
    if not pattern.startswith("$share/"):
        return pattern
    return pattern.split("/", 2)[2]


def matches(pattern: str, topic: str) -> bool:
    """Whether a topic filter, without ``$share``, matches a topic."""
    if topic.startswith("$") and pattern[:1] in ("+", "#"):
        return False
    wanted, given = pattern.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(given) or level not in ("+", given[index]):
            return False
    return len(wanted) == len(given)


class RoutingTable(Generic[T]):
    """Filters and what they lead to; a topic goes to the first filter that matches it."""

    def __init__(self) -> None:
        self._routes: dict[str, T] = {}

    def add(self, pattern: str, target: T) -> None:
        """Lead a filter to a target; the same filter again replaces it in its place."""
        self._routes[without_share(pattern)] = target

    def find(self, topic: str) -> T | None:
        """The target of the first filter that matches."""
        exact = self._routes.get(topic)
        if exact is not None:
            return exact
        return next((target for pattern, target in self._routes.items() if matches(pattern, topic)), None)
