"""What a person may tell the stages of a running lab: one row a command, so that nothing else can be called from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from emulator.fleet import Fleet
from emulator.selectors import nobody
from fleetwire.control import Handler, Params
from fleetwire.errors import ControlError, SettingsError
from storefleet import home
from storefleet.lab import Lab
from storefleet.unfinished_runs import LAB_FILE_NAME
from storefleet.verdict.lab_record import lab_record
from storefleet.verdict.run_format import PLAN_FILE_NAME


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


def require_stores(lab: str | None, selectors: Mapping[str, str | None]) -> None:
    """Every selector (by option; None: not given) means a store of the lab's fleet; SettingsError before any is told."""
    given = {option: text for option, text in selectors.items() if text is not None}
    if not given:
        return
    lab_file = home.read_json(home.lab_folder(home.the_lab(lab)) / LAB_FILE_NAME)
    plan = (Path(lab_file["run_folder"]) / PLAN_FILE_NAME).read_bytes()
    fleet = Fleet.from_options(**lab_record(plan).lab.fleet)
    stores = dict.fromkeys(terminal.terminal.store_id for terminal in fleet.terminals())
    for option, text in given.items():
        levels = [*store_selector(text, option).values()]
        if why := nobody(text, stores, levels):
            raise SettingsError(f"{option} {why}")
