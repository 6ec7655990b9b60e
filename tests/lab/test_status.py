"""What ``status`` says while a stage stands still: asked three seconds later, who, how long, and what waits there."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from typing import Any

from tests.lab.command_line import REPOSITORY, CommandLine, Lab, until
from tests.lab.test_lateness import is_stopped

FLEET = REPOSITORY / "examples" / "one_brand.toml"
SHOWN_WITHIN_S = 3.0
AT_WORK = 60
"""So many events may be under way at a moment in a healthy lab of this rate, on a slow machine."""


def lines(lab: Lab) -> dict[str, Any]:
    """Stage -> its line of the status."""
    return {line["stage"]: line for line in lab.status()["picture"]["stages"]}


def stop(lab: Lab, name: str) -> dict[str, Any]:
    """Stop a process; the lines as they are so long afterwards as a person waits for them."""
    process = lab.identities()[name]
    process.signal(signal.SIGSTOP)
    until(lambda: is_stopped(process.process_id), f"{name} stands still")
    time.sleep(SHOWN_WITHIN_S)
    return lines(lab)


def go_on(lab: Lab, name: str) -> None:
    """Let it run again, and wait until it is well and nothing waits for it."""
    lab.identities()[name].signal(signal.SIGCONT)
    stage = name.rpartition("-")[0]
    until(lambda: (line := lines(lab)[stage])["state"] == "" and line["backlog"] < AT_WORK, f"{name} has caught up")


def test_who_stands_still_is_shown_and_what_waits_stands_there(command_line: CommandLine) -> None:
    """The gateway, then somebody else's PARM, of which its hop says what goes through it."""
    parm = shlex.join([sys.executable, str(REPOSITORY / "examples" / "my_parm.py")])
    lab = command_line.up("--fleet", FLEET, "--stage", f"parm={parm}", rate="40/s")
    lab.wait_for_trade()
    line = until(lambda: (one := lines(lab)["parm"])["rate_per_s"] and one, "events go through the hop of PARM")
    assert (line["foreign"], line["seen_by"], line["state"]) == (True, "hops", "")
    assert 0 < line["total"] <= line["publishes_up"] + line["publishes_down"]

    shown = stop(lab, "gateway-1")
    assert shown["gateway"]["state"].startswith("stopped ")
    assert shown["gateway"]["backlog"] >= AT_WORK
    assert shown["gateway"]["lag_s"] >= SHOWN_WITHIN_S - 1.0
    assert [shown[stage]["backlog"] for stage in ("emulator", "sync_stage", "poseidon", "views")] == [0] * 4
    assert shown["parm"]["backlog"] in (0, None), "of what is on the way there, nobody can tell whether PARM has it"
    assert {stage for stage, one in shown.items() if one["state"]} == {"gateway"}
    text = command_line.run("status", "--name", lab.name).stdout
    assert "PARM (yours)" in text
    assert "stopped" in text
    go_on(lab, "gateway-1")

    shown = stop(lab, "parm-1")
    assert shown["parm"]["state"].startswith("stopped ")
    assert shown["parm"]["backlog"] >= AT_WORK
    assert [shown[stage]["backlog"] for stage in ("emulator", "poseidon", "views")] == [0] * 3
    go_on(lab, "parm-1")
    lab.down()
