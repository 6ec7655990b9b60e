"""Looks at a running lab about once a second and tells its log what nobody else does.

Views that are behind or back, standstills that are over, what the broker has dropped, files of the run that the disk
refuses. It takes at most a hundredth of one CPU: a look that takes long is repeated so much later.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from fleetwire.troubles import storage_code
from storefleet.observatory import REGISTER_VIEWS
from storefleet.verdict.letter_file import LETTERS_FILE_NAME
from storefleet.verdict.log_file import LOG_FILE_NAME
from storefleet.verdict.machine import LAB_PROCESS
from storefleet.verdict.run_format import CHECK_PHASE, PLAN_FILE_NAME, WITNESSES_FILE_NAME
from storefleet.views_behind import Distance, ViewsBehind

if TYPE_CHECKING:
    from storefleet.run import Run

LOOK_S: Final = 1.0
SHARE: Final = 100
COMPARED_S: Final = 2.0
"""Views are compared with the ledger no more often than that."""
ANY_REGISTER: Final = frozenset({"a register"})


class LogWatch:
    """``await run()`` until cancelled."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lab = run.lab
        self._views = ViewsBehind(run.lab.log.note)
        self._dropped = 0

    async def run(self) -> None:
        """Look again and again."""
        while True:
            began_s = time.monotonic()
            self.look()
            await asyncio.sleep(max(LOOK_S, SHARE * (time.monotonic() - began_s)))

    def look(self) -> None:
        """Tell what is different by now."""
        now_ms = self._run.clock.now_ms()
        self._look_at_own_troubles()
        self._look_at_the_gone()
        self._lab.observatory.standstills.look(now_ms)
        self._look_at_the_broker()
        if self._lab.ready.is_set() and self._run.phase not in ("stop", CHECK_PHASE):
            self._views.look(now_ms, self._distances())

    def _look_at_own_troubles(self) -> None:
        """Files that are written again and again (what was refused once is over when it is taken), and our own session."""
        lab = self._lab
        lab.log.flush()
        if lab.letters is not None and lab.letters.refusal:
            lab.letters.flush()
        refusals = {
            WITNESSES_FILE_NAME: lab.observatory.refusal,
            LETTERS_FILE_NAME: lab.letters.refusal if lab.letters is not None else "",
            LOG_FILE_NAME: lab.log.refusal,
            PLAN_FILE_NAME: self._run.refusals.get(PLAN_FILE_NAME, ""),
        }
        for file, refusal in refusals.items():
            lab.observatory.troubles.tell(file, {storage_code(refusal): refusal} if refusal else {})
        if lab.observer is not None:
            lab.observatory.troubles.tell(LAB_PROCESS, lab.observer.troubles())

    def _look_at_the_gone(self) -> None:
        """What was wrong with a process is over with it; that it is gone is told elsewhere."""
        seen = self._lab.observatory
        for stage, instance in seen.instances.keys() - self._lab.control.members.keys():
            seen.troubles.tell(f"{stage}-{instance}", {})

    def _look_at_the_broker(self) -> None:
        """What our own broker has dropped: the first time, and whenever it is twice as much."""
        watch = self._lab.broker_watch
        dropped = watch.account().dropped if watch is not None else 0
        if dropped >= max(1, 2 * self._dropped):
            self._dropped = dropped
            self._lab.log.note("heard_in_part", "broker-1", f"the broker has dropped {dropped:,} messages by now")

    def _distances(self) -> dict[str, Distance]:
        seen = self._lab.observatory
        compared = self._run.contents.look(maximum_age_s=COMPARED_S)
        distances = {name: Distance(one.oldest_missing().items(), one.distance) for name, one in compared.items()}
        for view in self._run.record.views:
            if view.view in REGISTER_VIEWS:
                away = seen.register_distance(view.view)
                distances[view.view] = Distance(ANY_REGISTER if away else frozenset(), away)
        return distances
