"""How a soak is told to end: whatever tells it so ends its labs in order, since they would live on without it."""

from __future__ import annotations

import signal


def end_in_order() -> None:
    """SIGTERM is a Ctrl-C, and so is a terminal that closes: the lab would live on. In the background, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup means it
            signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
