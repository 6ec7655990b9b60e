"""What is wrong now: as stages tell it, as the log hears of it, and as people are shown it."""

from __future__ import annotations

from typing import Any

from storefleet.current_troubles import CurrentTroubles, Trouble
from storefleet.letter_box import Counted
from storefleet.troubles_shown import LINE_CHARACTERS, TROUBLES_SHOWN, Restarted, troubles_shown
from tests.storefleet_units.noted import Noted

AT_MS = 1_767_600_961_000
"""08:16:01 UTC."""
FULL = "database or disk is full"


def shown(*now: Trouble, **more: Any) -> tuple[str, ...]:
    """The lines of a lab in which nothing else is wrong."""
    return troubles_shown(now, **{"letters": {}, "restarted": (), "dropped": 0, **more})


def test_changes_go_to_the_log() -> None:
    """Once when a trouble begins and once when it ends, however often it is told; new particulars are no news."""
    now_ms, noted = [10_000], Noted()
    troubles = CurrentTroubles(noted.note, lambda: now_ms[0])
    troubles.tell("gateway-1", {})
    for now_ms[0], detail in ((11_000, FULL), (12_000, FULL), (13_000, "still full")):
        troubles.tell("gateway-1", {"disk_full": detail})
    assert troubles.all() == [Trouble("gateway-1", "disk_full", 11_000, "still full")]
    troubles.tell("views-1", {"tired": "of it"})
    now_ms[0] = 14_500
    troubles.tell("gateway-1", {"not_connected": "no feed"})
    assert noted.told() == [
        ("trouble_on", "gateway-1", f"disk full: {FULL}"),
        ("trouble_on", "views-1", "tired: of it"),
        ("trouble_off", "gateway-1", "disk full; it lasted 3.5 s"),
        ("trouble_on", "gateway-1", "not connected: no feed"),
    ]


def test_nothing_wrong_is_nothing_shown() -> None:
    """No line at all."""
    assert shown() == ()


def test_the_worst_comes_first() -> None:
    """Full disks, then what is refused or away; what cannot run; losses; dead letters; who runs again."""
    assert shown(
        Trouble("poseidon-1", "not_connected", AT_MS, "no feed of the gateway: refused"),
        Trouble("views-1", "tired", AT_MS, "of it"),
        Trouble("gateway-1", "disk_full", AT_MS, FULL),
        letters={("parm", "schema"): Counted("taco.west.s0001.r01.4", 81), ("x", "totals"): Counted("unknown", 2)},
        restarted=[
            Restarted("poseidon-1", 2, AT_MS, "signal SIGKILL", True),
            Restarted("views-1", 0, AT_MS, "exit status 2: no", False),
        ],
        dropped=1_200,
    ) == (
        "gateway-1: disk full since 08:16:01: database or disk is full",
        "poseidon-1: not connected since 08:16:01: no feed of the gateway: refused",
        "views-1: tired since 08:16:01: of it",
        "views-1: has ended, and is to be started again: exit status 2: no",
        "broker-1: dropped 1,200 messages",
        "dead letters: parm schema 81 (first taco.west.s0001.r01.4), x totals 2 (first unknown)",
        "poseidon-1: started again 2 times, last 08:16:01: signal SIGKILL",
    )


def test_few_lines_and_short_ones() -> None:
    """What has no line is counted in the last; of many kinds of letters the most frequent are named."""
    lines = shown(*(Trouble(f"views-{number}", "disk_full", AT_MS, "x" * 300) for number in range(12)))
    assert len(lines) == TROUBLES_SHOWN
    assert lines[-1] == "and 5 more: storefleet log --troubles"
    assert max(map(len, lines)) == LINE_CHARACTERS
    kinds = {("parm", f"reason{number}"): Counted("unknown", number) for number in range(1, 6)}
    (line,) = shown(letters=kinds)
    most = "parm reason5 5 (first unknown), parm reason4 4 (first unknown), parm reason3 3 (first unknown)"
    assert line == f"dead letters: {most}, 2 more kinds"
