"""The emulator's own settings, from STOREFLEET_OPTIONS; a wrong one is a SettingsError in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct, field

from emulator.fleet import Fleet, Share
from fleetwire import bounded_json
from fleetwire.errors import SettingsError
from fleetwire.ledger_format import LEDGER_FILE_NAME
from fleetwire.plain_words import plain

MAXIMUM_EVENTS: Final = 1_000_000_000


class EmulatorOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``fleet`` has the keys of a fleet file; ``seed`` and the shares, when given, replace the fleet's own."""

    fleet: dict[str, Any] = field(default_factory=dict)
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] | None = None
    rate_per_s: Annotated[float, Meta(ge=0.0, le=1_000_000.0)] = 200.0
    trade_at_start: bool = True
    events: Annotated[int, Meta(ge=1, le=MAXIMUM_EVENTS)] | None = None
    """How many events this process trades in all, those of its earlier lives included; then it trades no more."""
    shard: Annotated[int, Meta(ge=0)] = 0
    shards: Annotated[int, Meta(ge=1)] = 1
    accept_puback: bool = False
    ledger: str = ""
    malformed_share: Share | None = None
    repeat_share: Share | None = None
    conflict_share: Share | None = None
    close_at_stop: bool = True
    connects_at_once: Annotated[int, Meta(ge=1, le=10_000)] = 64

    def whole_fleet(self) -> Fleet:
        """The fleet with what these options replace; raises SettingsError."""
        replaced = {
            "seed": self.seed,
            "malformed": self.malformed_share,
            "repeated": self.repeat_share,
            "conflicting": self.conflict_share,
        }
        given = {name: value for name, value in replaced.items() if value is not None}
        return Fleet.from_options(**{**self.fleet, **given})

    def ledger_path(self, state_dir: str) -> Path:
        """Where the ledger is: in the state folder unless said otherwise."""
        return Path(self.ledger) if self.ledger else Path(state_dir) / LEDGER_FILE_NAME


def read_options(text: str) -> EmulatorOptions:
    """Read the JSON object of STOREFLEET_OPTIONS."""
    try:
        return bounded_json.decode(text, type=EmulatorOptions)
    except msgspec.DecodeError as error:
        raise SettingsError(f"STOREFLEET_OPTIONS of the emulator: {plain(error)}") from error
