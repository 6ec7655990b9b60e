"""The topic tree: every topic and filter of the lab is made and read here, below a root that can be set.

| topic | from -> to | QoS, retained |
|---|---|---|
| ``{root}/terminal/{kind}/{brand}/{region}/{store}/{terminal id}`` | terminal -> cloud | kinds below |
| ``{root}/command/{kind}/{brand}/{region}/{store}/{terminal id}`` | cloud -> terminal | ``outcome`` 1, no |
| ``{root}/canonical/{kind}/{brand}/{region}/{store}/{terminal id}`` | PARM -> | ``transaction`` 1, no; ``device`` 1, yes |
| ``{root}/canonical/status/{brand}/{region}/{store}`` | PARM -> consumers | 1, yes |
| ``{root}/dead-letter/{stage}/{reason}/{terminal id}`` | any stage -> people | 1, no |
| ``{root}/dead-letter/lab/read-back/1`` | lab -> lab: no letter, it asks whether all were heard | 1, no |
| ``{root}/host/{stage}/{instance}`` | any stage -> people | 1, yes (birth and will) |

The root has at most two levels, so no topic has more than seven slashes; brand and region are one wildcard each.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from fleetwire.errors import BadPayload, SettingsError
from fleetwire.identity import Terminal

TERMINAL_KINDS = {
    "transaction": "a durable, numbered event; QoS 1, not retained",
    "state": "birth, graceful end and will; QoS 1, retained",
    "heartbeat": "how the terminal feels; QoS 0, expires",
    "ask": "which of these numbers are unresolved? QoS 1, not retained",
}
_ROOT = re.compile(r"[A-Za-z0-9_.-]{1,64}(?:/[A-Za-z0-9_.-]{1,64})?")


class TerminalTopic(NamedTuple):
    """What a topic of a terminal says about its sender."""

    kind: str
    terminal: Terminal


class Topics:
    """All topics below one root, e.g. ``Topics("storefleet/lab-7k2f")``."""

    __slots__ = ("_prefix_levels", "root")

    def __init__(self, root: str) -> None:
        if _ROOT.fullmatch(root) is None:
            raise SettingsError(f"topic root {root!r}: use one or two levels of letters, digits, '_', '.', '-'")
        self.root = root
        self._prefix_levels = root.count("/") + 1

    def terminal(self, kind: str, terminal: Terminal) -> str:
        """Where a terminal publishes its ``kind``."""
        return f"{self.root}/terminal/{kind}/{terminal.brand}/{terminal.region}/{terminal.store}/{terminal.id}"

    def command(self, kind: str, terminal: Terminal) -> str:
        """Where the cloud tells a terminal its ``kind`` (``outcome``)."""
        return f"{self.root}/command/{kind}/{terminal.brand}/{terminal.region}/{terminal.store}/{terminal.id}"

    def canonical(self, kind: str, terminal: Terminal) -> str:
        """Where PARM publishes the canonical ``kind`` (``transaction``, ``device``) of a terminal."""
        return f"{self.root}/canonical/{kind}/{terminal.brand}/{terminal.region}/{terminal.store}/{terminal.id}"

    def status(self, brand: str, region: str, store: str) -> str:
        """The retained register of one store's status."""
        return f"{self.root}/canonical/status/{brand}/{region}/{store}"

    def dead_letter(self, stage: str, reason: str, source: str) -> str:
        """Where a stage puts what it cannot use; ``source`` is a terminal id or ``unknown``."""
        return f"{self.root}/dead-letter/{stage}/{reason}/{source}"

    def letters_read_back(self) -> str:
        """One that no dead letter is published on: whoever may read these gets it back after all that came before."""
        return self.dead_letter("lab", "read-back", "1")

    def host(self, stage: str, instance: int) -> str:
        """The retained birth and will of one instance of a stage."""
        return f"{self.root}/host/{stage}/{instance}"

    def all_of(self, plane: str, kind: str) -> str:
        """Filter for every topic of one plane and kind, e.g. ``all_of("terminal", "transaction")``."""
        return f"{self.root}/{plane}/{kind}/#"

    def shared(self, group: str, plane: str, kind: str) -> str:
        """The same as a shared subscription (MQTT 5, section 4.8.2)."""
        return f"$share/{group}/{self.all_of(plane, kind)}"

    def read_terminal(self, topic: str) -> TerminalTopic:
        """Read a topic of the ``terminal`` plane; raises BadPayload(topic_mismatch | no_key) when it is none."""
        levels = topic.split("/")[self._prefix_levels :]
        if not topic.startswith(self.root + "/") or len(levels) != 6 or levels[0] != "terminal":
            raise BadPayload("no_key", f"topic {topic[:200]!r} is not {self.root}/terminal/...")
        _, kind, brand, region, store, source = levels
        terminal = Terminal.parse(source)
        if (brand, region, store) != terminal[:3]:
            raise BadPayload("topic_mismatch", f"topic levels {brand}/{region}/{store} contradict {source}")
        return TerminalTopic(kind, terminal)

    def read_dead_letter(self, topic: str) -> tuple[str, str, str]:
        """Stage, reason and source of a dead letter's topic, whoever published it; what is missing is empty."""
        stage, reason, *_ = [*topic.split("/")[self._prefix_levels + 1 :], "", ""]
        return stage, reason, topic.rpartition("/")[2]

    def all_dead_letters(self) -> str:
        """Filter for every dead letter of every stage."""
        return f"{self.root}/dead-letter/#"

    def source_of(self, topic: str) -> str:
        """The last level: the sender's id, without checks (for the witness of what cannot be read)."""
        return topic.rpartition("/")[2]
