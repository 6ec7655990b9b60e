"""Where events stand: each once, at the stage that does not move, and at none behind it."""

from __future__ import annotations

import pytest

from storefleet.backlog import CLOSED_BY, HANDS, LEGS, Waiting, stand
from storefleet.panel import STAGE_LABELS
from storefleet.plan import JOURNEY

EVERYBODY = ("emulator", "chaos", "broker", *JOURNEY)
AT_PARM = ("emulator", "chaos", "broker", "parm")
IN_FLIGHT = {
    "unsent": 1,
    "raw": 2,
    "in_parm": 3,
    "canonical": 4,
    "in_sync": 5,
    "to_both": 6,
    "to_poseidon": 7,
    "to_views": 8,
}
FULL_SYNC = {"unsent": 40, "raw": 1, "canonical": 300, "in_sync": 2_000, "to_both": 2, "to_views": 1}


def standing_at(
    events: dict[str, int],
    *stopped: str,
    present: tuple[str, ...] = EVERYBODY,
    unwitnessed: tuple[str, ...] = (),
) -> dict[str, int | None]:
    """Stage -> how many of these events, by leg, stand there while some are stopped."""
    legs = {leg: Waiting(count, 1_000 + count) for leg, count in events.items()}
    found = stand(legs, standing=stopped, present=present, unwitnessed=unwitnessed)
    return {stage: waiting and waiting.events for stage, waiting in found.items()}


@pytest.mark.parametrize(
    ("stopped", "events", "expected"),
    [
        ((), IN_FLIGHT, {"parm": 6, "sync_stage": 4, "gateway": 5, "poseidon": 13, "views": 14}),
        (("parm",), {"unsent": 40, "raw": 300, "in_parm": 9, "canonical": 2}, {"parm": 349, "sync_stage": 2}),
        (("sync_stage",), {"unsent": 40, "canonical": 300, "in_sync": 9}, {"sync_stage": 349}),
        (("gateway",), FULL_SYNC, {"gateway": 2_343, "parm": 1}),
        (("poseidon",), {"unsent": 40, "to_poseidon": 300, "to_both": 2}, {"poseidon": 342, "views": 2}),
        (("views",), {"unsent": 1, "to_views": 300, "to_both": 2}, {"parm": 1, "views": 302, "poseidon": 2}),
        (("olympus_dgs",), {"unsent": 1}, {"parm": 1}),
        (("emulator",), {"kept": 3, "unsent": 4, "raw": 1}, {"emulator": 7, "parm": 1}),
        (("broker",), {"unsent": 40, "raw": 3, "in_parm": 9, "canonical": 4, "in_sync": 1}, {"broker": 56, "gateway": 1}),
        (("chaos",), {**IN_FLIGHT, "kept": 9}, {"chaos": 36, "emulator": 9}),
        (("parm", "gateway"), FULL_SYNC, {"parm": 41, "gateway": 2_303}),
        (("sync_stage", "gateway"), FULL_SYNC, {"sync_stage": 2_340, "parm": 1, "gateway": 3}),
        ((), {"kept": 120, "raw": 1}, {"emulator": 120, "parm": 1}),
    ],
    ids=["nobody", "parm", "sync_stage", "gateway", "poseidon", "views", "olympus_dgs", "emulator", "broker", "hops",
         "parm and gateway", "sync_stage and gateway", "a region without network"],
)  # fmt: skip
def test_who_stands_still_has_it_all(
    stopped: tuple[str, ...], events: dict[str, int], expected: dict[str, int]
) -> None:
    """What can only wait because of a stage that stands still waits at it, what has passed it at nobody before it."""
    assert standing_at(events, *stopped) == expected


@pytest.mark.parametrize(
    ("present", "stopped", "events", "expected"),
    [
        (EVERYBODY[:6], (), {"unsent": 1, "in_sync": 2}, {"parm": 1, "gateway": 2}),
        (EVERYBODY[:6], ("gateway",), {"unsent": 40, "in_sync": 2}, {"gateway": 42}),
        (AT_PARM, ("parm",), {"unsent": 40, "raw": 2, "in_parm": 1}, {"parm": 43}),
        (AT_PARM[:3], (), {"unsent": 2, "kept": 1}, {"broker": 2, "emulator": 1}),
        (AT_PARM[:3], ("broker",), {"unsent": 2}, {"broker": 2}),
    ],
    ids=["to the gateway", "a gateway that is stopped", "to PARM", "to the broker", "a broker that is stopped"],
)
def test_shorter_labs(
    present: tuple[str, ...], stopped: tuple[str, ...], events: dict[str, int], expected: dict[str, int]
) -> None:
    """A lab without the last stages has its events at the others; what waits for an absent one is the broker's."""
    assert standing_at(events, *stopped, present=present) == expected


@pytest.mark.parametrize(
    ("foreign", "stopped", "events", "expected"),
    [
        ("parm", (), {"raw": 7}, {"parm": 7}),
        ("parm", ("parm",), {"raw": 7, "unsent": 2}, {"parm": 9}),
        ("parm", ("sync_stage",), {"raw": 7}, {"sync_stage": 7, "parm": None}),
        ("parm", ("gateway",), {"raw": 300, "in_sync": 2_000}, {"gateway": 2_300, "parm": None}),
        ("parm", ("gateway",), {"in_sync": 20}, {"gateway": 20}),
        ("parm", ("poseidon",), {"raw": 2, "to_poseidon": 20}, {"parm": 2, "poseidon": 20}),
        ("sync_stage", (), {"canonical": 5}, {"sync_stage": 5}),
        ("sync_stage", ("gateway",), {"canonical": 5}, {"gateway": 5, "sync_stage": None}),
        ("sync_stage", ("poseidon",), {"canonical": 5}, {"poseidon": 5, "sync_stage": None}),
    ],
)
def test_a_stage_that_nobody_reports_for(
    foreign: str, stopped: tuple[str, ...], events: dict[str, int], expected: dict[str, int | None]
) -> None:
    """What lies behind it decides what waits at it, unless a neighbour stands still: then it is not known, and not 0."""
    assert standing_at(events, *stopped, unwitnessed=(foreign,)) == expected


def test_the_oldest_of_several_legs() -> None:
    """Of what stands at one place the oldest counts, also where it is few among many."""
    legs = {"raw": Waiting(1_000, 9_000), "in_parm": Waiting(1, 2_000), "canonical": Waiting(1, 1)}
    found = stand(legs, standing=(), present=EVERYBODY)
    assert found == {"parm": Waiting(1_001, 2_000), "sync_stage": Waiting(1, 1)}


def test_the_tables_name_only_what_there_is() -> None:
    """Every stage and leg in them exists, so that whatever they say is shown."""
    named = {stage for waits in LEGS.values() for wait in waits for stage in (wait.owner, *wait.holders)}
    assert named <= STAGE_LABELS.keys()
    assert {*CLOSED_BY.values(), *HANDS.values()} <= set(JOURNEY)
    assert CLOSED_BY.keys() | HANDS.keys() <= LEGS.keys()
