"""The life of a terminal as a table: what it is doing, what can happen, and what it does then."""

from __future__ import annotations

import enum
from typing import Final


class Life(enum.Enum):
    """What a terminal is doing."""

    OFF = "off"
    CONNECTING = "connecting"
    TRADING = "trading"
    CLOSING = "closing"
    CLOSED = "closed"


class Happening(enum.Enum):
    """What moves it on."""

    POWER_ON = "power_on"
    POWER_CUT = "power_cut"
    CONNECTED = "connected"
    LOST = "lost"
    CLOSE = "close"
    SAID_GOODBYE = "said_goodbye"
    OPEN = "open"


LIVES: Final[dict[tuple[Life, Happening], Life]] = {
    (Life.OFF, Happening.POWER_ON): Life.CONNECTING,
    (Life.CONNECTING, Happening.CONNECTED): Life.TRADING,
    (Life.CONNECTING, Happening.LOST): Life.CONNECTING,
    (Life.CONNECTING, Happening.CLOSE): Life.CLOSED,
    (Life.CONNECTING, Happening.POWER_CUT): Life.OFF,
    (Life.TRADING, Happening.LOST): Life.CONNECTING,
    (Life.TRADING, Happening.CLOSE): Life.CLOSING,
    (Life.TRADING, Happening.POWER_CUT): Life.OFF,
    (Life.CLOSING, Happening.SAID_GOODBYE): Life.CLOSED,
    (Life.CLOSING, Happening.LOST): Life.CLOSED,
    (Life.CLOSING, Happening.POWER_CUT): Life.OFF,
    (Life.CLOSED, Happening.OPEN): Life.CONNECTING,
    (Life.CLOSED, Happening.POWER_CUT): Life.OFF,
}
"""What is not listed does not happen: the terminal stays as it is."""

SELLING: Final = frozenset({Life.CONNECTING, Life.TRADING})
ONLINE: Final = frozenset({Life.TRADING, Life.CLOSING})
