"""The views stage, which reports beside the truth what cannot be, and what is not its to tell; run by a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from consumers.views.stage import ViewsStage
from fleetwire import stage
from fleetwire.settings import StageSettings
from fleetwire.stage import _Frame

TILL = "taco.north.s0001.r01"
"""One of every fleet of ours."""
LIES = 5
"""So many with every report."""
tell_the_truth = _Frame._tell_snapshot


def lies(settings: StageSettings) -> Iterator[dict[str, Any]]:
    """An interval that ends before it begins, a stall longer than all time, what is another stage's or instance's to say."""
    own = {"stage": settings.stage, "instance": settings.instance, "incarnation": settings.incarnation}
    own["at_ms"] = 1_767_600_000_000
    yield {**own, "taken": {TILL: [[10, 1]]}}
    yield {**own, "loop_stall_ms": 4e15}
    yield {**own, "stage": "sync_stage", "handed_on": {TILL: [[1, 9_000_000]]}}
    yield {**own, "instance": settings.instance + 1, "taken": {TILL: [[1, 9_000_000]]}}
    yield {**own, "state": {"olympus_dgs": {TILL: [False, 9, 9]}}}


def tell(self: _Frame, *, full: bool) -> None:
    """The truth, then the lies."""
    tell_the_truth(self, full=full)
    for lie in lies(self._settings):
        self._tell("snapshot", lie)


if __name__ == "__main__":
    _Frame._tell_snapshot = tell  # type: ignore[method-assign]
    stage.main(ViewsStage)
