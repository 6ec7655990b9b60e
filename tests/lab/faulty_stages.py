"""PARM and sync stage of ours that lose what they have acknowledged, by number; run by a test in the place of ours.

Everything else about them is as it should be, their witnesses too: these say what was taken, and only where
``says_done`` stands also that it was handed on.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from consumers.sync_stage.canonical_documents import prepare
from consumers.sync_stage.stage import SyncStage
from fleetwire import stage
from fleetwire.events import CanonicalEvent
from fleetwire.in_hand import Identity
from fleetwire.message_key import attempt_of
from fleetwire.mqtt import Message
from fleetwire.settings import StageSettings
from parm_stub.stage import Parm
from parm_stub.transactions import Transactions


class Loss(NamedTuple):
    """``every_time``: also when the terminal sends it again."""

    stage: str
    every_time: bool
    says_done: bool = False


LOSSES: Final = {
    3: Loss("parm", every_time=False),
    4: Loss("parm", every_time=True),
    5: Loss("sync_stage", every_time=False),
    6: Loss("sync_stage", every_time=True),
    7: Loss("sync_stage", every_time=False, says_done=True),
    8: Loss("sync_stage", every_time=True, says_done=True),
}
"""Number of the event, the same for every terminal -> how it is lost."""
good_hand_on = Transactions._hand_on


def loss_of(stage_name: str, sequence: int, attempt: int) -> Loss | None:
    """How this stage loses this sending; None: it does not."""
    loss = LOSSES.get(sequence)
    return loss if loss and loss.stage == stage_name and (loss.every_time or attempt == 1) else None


def hand_on(self: Transactions, identity: Identity, message: Message, event: CanonicalEvent) -> None:
    """What PARM does with a transformed event."""
    attempt = attempt_of(message)
    if loss_of("parm", event.sequence, attempt) is None:
        good_hand_on(self, identity, message, event)
        return
    self._witness.take(event.source, event.sequence, attempt)
    self._in_hand.done(identity)


class LosingSyncStage(SyncStage):
    """Acknowledges before the gateway has it, and then the gateway never gets it."""

    def _prepare(self, identity: Identity, message: Message) -> None:
        prepared = prepare(self._topics, message, self._options.maximum_payload_bytes)
        source, sequence = prepared.key
        loss = loss_of("sync_stage", sequence, prepared.attempt)
        if loss is None:
            super()._prepare(identity, message)
            return
        self.witness.take(source, sequence, prepared.attempt)
        if loss.says_done:
            self.witness.hand_on(source, sequence, "stored")
        self._in_hand.done(identity)


def build(settings: StageSettings) -> Any:
    """The stage of this name."""
    if settings.stage == "parm":
        Transactions._hand_on = hand_on  # type: ignore[method-assign]
        return Parm(settings)
    return LosingSyncStage(settings)


if __name__ == "__main__":
    stage.main(build)
