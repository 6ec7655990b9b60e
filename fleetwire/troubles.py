"""What a stage may say is wrong with it now, and how it knows: a table of codes, and the two ways to find out.

A trouble is a state, not an event: it is told with every snapshot while it lasts. Whoever notices it keeps in its own words
what was refused the last time; before a snapshot the stage turns that into a trouble here, so that work pays nothing for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fleetwire.witness import Witness

DISK_FULL: Final = "disk_full"
FILE_UNWRITABLE: Final = "file_unwritable"
SUBSCRIPTION_REFUSED: Final = "subscription_refused"
GATEWAY_REFUSES: Final = "gateway_refuses"
NOT_CONNECTED: Final = "not_connected"
CLIENT_ID_CONTESTED: Final = "client_id_contested"

TROUBLES: Final[dict[str, str]] = {
    DISK_FULL: "disk full",
    FILE_UNWRITABLE: "a file cannot be written",
    SUBSCRIPTION_REFUSED: "subscription refused",
    GATEWAY_REFUSES: "the gateway takes no documents",
    NOT_CONNECTED: "not connected",
    CLIENT_ID_CONTESTED: "another client seems to use its client id",
}
"""Code -> words, the worst first."""
TROUBLES_LIMIT: Final = 50
"""So many may be told at once; a code is no longer than CODE_CHARACTERS."""
CODE_CHARACTERS: Final = 64
DETAIL_CHARACTERS: Final = 300
AWAY_S: Final = 2.0
"""What is away for so long is missed; most breaks are over before."""
_SIGNS_OF_A_FULL_DISK: Final = ("disk is full", "no space left", "disk quota exceeded")


def storage_code(refusal: str) -> str:
    """Which trouble it is that a disk refused a write with these words."""
    words = refusal.lower()
    return DISK_FULL if any(sign in words for sign in _SIGNS_OF_A_FULL_DISK) else FILE_UNWRITABLE


def tell_storage(witness: Witness, file: str, refusal: str) -> None:
    """``refusal``: why the file could not be written the last time; empty: it could."""
    code = storage_code(refusal) if refusal else ""
    for one in (DISK_FULL, FILE_UNWRITABLE):
        if one == code:
            witness.begin_trouble(one, refusal, part=file)
        else:
            witness.end_trouble(one, part=file)


def tell_contested(witness: Witness, words: str) -> None:
    """``words``: what speaks for another client under our client id; empty: nothing."""
    if words:
        witness.begin_trouble(CLIENT_ID_CONTESTED, words)
    else:
        witness.end_trouble(CLIENT_ID_CONTESTED)


class Absence:
    """Notices what is away for AWAY_S or longer: ``see`` it before every snapshot."""

    def __init__(self, witness: Witness, code: str, part: str) -> None:
        self._witness = witness
        self._code = code
        self._part = part
        self._since_s: float | None = None

    def see(self, *, present: bool, detail: str) -> None:
        """Whether it is there now; ``detail`` says what is missing while it is not."""
        if present:
            self._since_s = None
            self._witness.end_trouble(self._code, part=self._part)
            return
        now_s = time.monotonic()
        self._since_s = self._since_s or now_s
        if now_s - self._since_s >= AWAY_S:
            self._witness.begin_trouble(self._code, detail, part=self._part)
