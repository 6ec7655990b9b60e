"""A gateway that dies of poison and lives again at once, since its next process is forked from one that has it loaded.

Run by a test as a module; writes ``began PROCESS`` and ``ended STATUS`` of every life, each on a line of its own. Each life
takes a byte from standard input; once that has ended, they begin by themselves.
"""

from __future__ import annotations

import os

from fleetwire import stage
from tests.resilience.poisonous import build


def main() -> None:
    """One life after another, until the whole process group is killed."""
    while True:
        os.read(0, 1)
        child = os.fork()
        if not child:
            stage.main(build)
        os.write(1, b"began %d\n" % child)
        _, status = os.waitpid(child, 0)
        os.write(1, b"ended %d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
