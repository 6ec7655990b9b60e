"""``python -P -m emulator``: the stores and terminals, configured by STOREFLEET_ variables."""

from __future__ import annotations

from emulator.stage import Emulator
from fleetwire.stage import main

if __name__ == "__main__":
    main(Emulator)
