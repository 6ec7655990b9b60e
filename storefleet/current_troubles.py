"""What is wrong in a lab now, by its stages' own word and by what the lab cannot write; each change goes to the log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from fleetwire.clock import now_ms as host_now_ms
from fleetwire.troubles import TROUBLES
from storefleet.run_log import Note, unnoted


class Trouble(NamedTuple):
    """``who``: a process (``gateway-1``), or a file of the run; ``code``: see :data:`fleetwire.troubles.TROUBLES`."""

    who: str
    code: str
    since_ms: int
    detail: str

    @property
    def words(self) -> str:
        """The code in words; one that we do not know stands for itself."""
        return TROUBLES.get(self.code, self.code)


class CurrentTroubles:
    """``tell`` it all that is wrong with somebody, as often as that is known."""

    def __init__(self, note: Note = unnoted, now_ms: Callable[[], int] = host_now_ms) -> None:
        self._note = note
        self._now_ms = now_ms
        self._by_who: dict[str, dict[str, Trouble]] = {}

    def tell(self, who: str, troubles: Mapping[str, str]) -> None:
        """All that is wrong with ``who`` now: code -> particulars."""
        known = self._by_who.get(who)
        if not known and not troubles:
            return
        known = known or {}
        now_ms = self._now_ms()
        for code, trouble in known.items():
            if code not in troubles:
                self._note("trouble_off", who, f"{trouble.words}; it lasted {(now_ms - trouble.since_ms) / 1000:.1f} s")
        found = {
            code: Trouble(who, code, known[code].since_ms if code in known else now_ms, detail)
            for code, detail in troubles.items()
        }
        for code, trouble in found.items():
            if code not in known:
                self._note("trouble_on", who, f"{trouble.words}: {trouble.detail}")
        self._by_who[who] = found

    def all(self) -> list[Trouble]:
        """What is wrong now."""
        return [trouble for troubles in self._by_who.values() for trouble in troubles.values()]
