"""What a person may tell the stages of a running lab: one row a command, so that nothing else can be called from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from fleetwire.control import Handler, Params
from fleetwire.errors import ControlError, SettingsError
from storefleet.lab import Lab


class Steer(NamedTuple):
    """A control method of a stage."""

    stage: str
    method: str


STEERS: Final[dict[str, Steer]] = {
    "trade": Steer("emulator", "trade"),
    "pause": Steer("emulator", "pause_trading"),
    "burst": Steer("emulator", "burst"),
    "close": Steer("emulator", "close_stores"),
    "open": Steer("emulator", "open_stores"),
    "rebuild": Steer("views", "rebuild"),
}


def steering_handlers(lab: Lab, note: Callable[[str, Params], None]) -> dict[str, Handler]:
    """The client method ``steer`` {what, params}; ``note`` hears of each before it is done, whatever comes of it."""

    async def steer(params: Params) -> Any:
        row = STEERS.get(str(params.get("what")))
        if row is None:
            raise ControlError(f"steer: expected one of {', '.join(STEERS)}")
        told = params.get("params") or {}
        if not isinstance(told, dict):
            raise ControlError("steer: params must be an object")
        note(str(params["what"]), told)
        answers = await lab.stage_call(row.stage, row.method, told, timeout_s=20.0)
        return answers[0]

    return {"steer": steer}


def store_selector(text: str, option: str) -> dict[str, str]:
    """Read ``brand.region.store`` with wildcards, e.g. ``taco.west.*``; a missing level means all. SettingsError."""
    levels = text.split(".")
    if not 1 <= len(levels) <= 3 or not all(levels):
        raise SettingsError(
            f"{option} {text!r}: expected brand.region.store with wildcards, e.g. taco.west.* or *.west"
        )
    return dict(zip(("brand", "region", "store"), levels, strict=False))
