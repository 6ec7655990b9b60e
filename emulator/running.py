"""What exists while the fleet runs, and the figures that are read from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emulator.journal import Journal
from emulator.life import Life
from emulator.terminal import Terminal
from emulator.trading import Trading
from fleetwire.mqtt import SessionGroup
from fleetwire.mqtt.contested_ids import ContestedIds
from fleetwire.troubles import SUBSCRIPTION_REFUSED, tell_contested, tell_storage
from fleetwire.witness import Witness

_SHORTEST_MEASURE_S = 0.5


@dataclass(slots=True, kw_only=True)
class RunningFleet:
    """The parts that a start makes and a stop releases; ``measured_s`` and ``measured_total``: the last measure's."""

    terminals: Sequence[Terminal]
    group: SessionGroup
    journal: Journal
    trading: Trading
    witness: Witness
    deaf: Mapping[int, str]
    """See :class:`emulator.floor.Floor`."""
    contested: ContestedIds
    measured_s: float
    measured_total: float = 0.0

    @property
    def unresolved(self) -> int:
        """Events without an outcome, of all terminals."""
        return sum(terminal.outbox.unresolved for terminal in self.terminals)

    @property
    def online(self) -> int:
        """Terminals whose birth the broker has acknowledged."""
        return sum(terminal.online for terminal in self.terminals)

    def measure(self) -> None:
        """Bring the witness's counters up to date."""
        counters, pacer, online = self.witness.counters, self.trading.pacer, self.online
        counters["online"] = online
        counters["offline"] = len(self.terminals) - online
        counters["connecting"] = sum(terminal.life is Life.CONNECTING for terminal in self.terminals)
        counters["unresolved"] = self.unresolved
        counters["offline_queue"] = sum(
            terminal.outbox.unresolved for terminal in self.terminals if not terminal.online
        )
        counters["commit_failures_total"] = self.journal.commit_failures
        counters["skipped_total"] = pacer.skipped
        counters["offered_rate"] = pacer.rate_per_s
        self._measure_rate(counters)
        self._tell_troubles()

    def _tell_troubles(self) -> None:
        tell_storage(self.witness, "ledger", self.journal.refusal)
        tell_contested(self.witness, self.contested.words(self.group.now_s()))
        if not self.deaf:
            self.witness.end_trouble(SUBSCRIPTION_REFUSED)
            return
        count, first = len(self.deaf), next(iter(self.deaf.values()))
        detail = f"{count:,} terminals, first {first}" if count > 1 else f"1 terminal, {first}"
        self.witness.begin_trouble(SUBSCRIPTION_REFUSED, detail)

    def _measure_rate(self, counters: dict[str, float]) -> None:
        now_s, committed = self.group.now_s(), counters["committed_total"]
        elapsed_s = now_s - self.measured_s
        if elapsed_s >= _SHORTEST_MEASURE_S:
            counters["achieved_rate"] = round((committed - self.measured_total) / elapsed_s, 1)
            self.measured_s, self.measured_total = now_s, committed
