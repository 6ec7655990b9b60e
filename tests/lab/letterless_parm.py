"""Our PARM, which rejects what it must, tells the terminals so and counts it, and posts no dead letter; run by a test."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from fleetwire import stage
from fleetwire.dead_letters import DeadLetterOffice
from parm_stub.stage import Parm

if __name__ == "__main__":
    DeadLetterOffice.post = lambda self, letter, done: self._posted(letter, done)  # type: ignore[method-assign]
    stage.main(Parm)
