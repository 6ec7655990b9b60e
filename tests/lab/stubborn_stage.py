"""A user's stage that takes its time: asked to end by SIGTERM, it goes on until the file appears that its argument names."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

signal.signal(signal.SIGTERM, signal.SIG_IGN)
while not Path(sys.argv[1]).exists():
    time.sleep(0.02)
