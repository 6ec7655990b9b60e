"""Commands that steer a running lab: how much it trades, which stores are open, and views that are rebuilt."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from fleetwire.nearest_word import meant
from storefleet.command_options import JsonOption, LabOption
from storefleet.command_output import fail, out, out_json

VIEWS: Final = ("store_board", "sales", "device_inventory")
"""Of consumers.views, in words of the command; a test holds them together."""


def trade(
    rate: Annotated[str | None, typer.Option("--rate", help="From now on this rate: 500/s; 0 pauses.")] = None,
    burst: Annotated[
        int | None, typer.Option("--burst", min=1, help="So many events at once, beside the rate.")
    ] = None,
    close: Annotated[
        str | None, typer.Option("--close", help="Close these stores properly: taco.west.* or *.west")
    ] = None,
    open_stores: Annotated[str | None, typer.Option("--open", help="Open these stores again.")] = None,
    name: LabOption = None,
    json_output: JsonOption = False,
) -> None:
    """Steer the business of a running lab: steady and burst load, planned closing and opening."""
    from storefleet.control_client import call_lab
    from storefleet.quantities import read_rate
    from storefleet.steering import require_stores, store_selector

    steps: list[tuple[str, dict[str, object]]] = []
    if open_stores is not None:
        steps.append(("open", {**store_selector(open_stores, "--open")}))
    if close is not None:
        steps.append(("close", {**store_selector(close, "--close")}))
    if rate is not None:
        steps.append(("trade", {"rate_per_s": read_rate(rate)}))
    if burst is not None:
        steps.append(("burst", {"events": burst}))
    if not steps:
        fail("trade: say what: --rate, --burst, --close or --open")
    require_stores(name, {"--open": open_stores, "--close": close})
    answers = {what: call_lab(name, "steer", {"what": what, "params": params}) for what, params in steps}
    if json_output:
        out_json(answers)
        return
    for what, answer in answers.items():
        out(f"{what}: " + ", ".join(f"{value:g} {unit}" for unit, value in answer.items()))


def rebuild(
    view: Annotated[str, typer.Argument(help="store_board, sales or device_inventory.")],
    name: LabOption = None,
) -> None:
    """Let a view forget everything and read it again from the beginning."""
    from storefleet.control_client import call_lab

    chosen = view.replace("-", "_")
    if chosen not in VIEWS:
        fail(f"rebuild {view[:80]!r}: no such view; {meant(view, VIEWS)}")
    call_lab(name, "steer", {"what": "rebuild", "params": {"view": chosen}})
    out(f"{view} is being rebuilt; see: storefleet wait --converged")
