"""When the lab dies by any means, everything that it started ends within two seconds: this process sees to it.

``python -P -m storefleet.guardian`` reads lines ``<process id> <start time>`` on standard input, which only the lab holds
open. At end of file it kills every process that it was told of, by id and start time, and ends. A lab that ended
properly has nothing left to kill. It imports nothing heavy and does nothing else, so that nothing can go wrong in it.
"""

from __future__ import annotations

import signal
import sys

from storefleet.process_identity import ProcessIdentity, end_all


def main() -> None:
    """Wait for the lab's end, then tidy up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    told: list[ProcessIdentity] = []
    for line in sys.stdin:
        process_id, _, started = line.strip().partition(" ")
        if process_id.isdigit() and started:
            told.append(ProcessIdentity(int(process_id), started))
    end_all(told)


if __name__ == "__main__":
    main()
