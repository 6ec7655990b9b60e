"""The observatory: unions of what arrives, rates, distances and stores online; nothing broken ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleetwire.clock import now_ms
from fleetwire.errors import SettingsError
from fleetwire.intervals import IntervalSet
from fleetwire.witness import Holding, Snapshot
from storefleet import observatory as module
from storefleet.observatory import Observatory
from storefleet.verdict.machine import Stall
from storefleet.verdict.run_format import WitnessesHeader
from storefleet.verdict.witnesses_header import read_header
from tests.storefleet_units.noted import Noted

TILL = "taco.west.s0001.r01"
TILL_2 = "taco.west.s0001.r02"
FAR = "pizza.east.s0002.r01"


@pytest.fixture
def observatory(tmp_path: Path) -> Iterator[Observatory]:
    """An observatory that has seen nothing."""
    found = Observatory(tmp_path / "witnesses.jsonl")
    yield found
    found.close()


def snapshot(stage: str, at_ms: int = 1_000, instance: int = 1, incarnation: int = 1, **values: Any) -> dict[str, Any]:
    """A snapshot as it comes over the control plane."""
    found = Snapshot(stage=stage, instance=instance, incarnation=incarnation, at_ms=at_ms, **values)
    return json.loads(msgspec.json.encode(found))


def test_unions_only_grow(observatory: Observatory) -> None:
    """What any instance and any incarnation ever took or handed on counts once, in whatever order it is told."""
    observatory.receive(snapshot("parm", taken={TILL: [(1, 5)]}, handed_on={TILL: [(1, 2)]}))
    observatory.receive(snapshot("parm", instance=2, taken={TILL: [(4, 7)], FAR: [(1, 1)]}, handed_on={TILL: [(2, 4)]}))
    observatory.receive(snapshot("parm", incarnation=2, taken={TILL: [(2, 2)]}))
    assert observatory.events["parm"] == {TILL: IntervalSet([(1, 7)]), FAR: IntervalSet([(1, 1)])}
    assert observatory.handed_on["parm"] == {TILL: IntervalSet([(1, 4)])}
    assert observatory.distinct["parm"] == 8


def test_sources_are_limited(
    observatory: Observatory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a stage tells of further sources is not united, which is said once; those that are known go on."""
    monkeypatch.setattr(module, "SOURCE_LIMIT", 2)
    for upto in (1, 2):
        observatory.receive(snapshot("parm", taken={TILL: [(1, upto)], TILL_2: [(1, upto)], FAR: [(1, upto)]}))
    assert observatory.events["parm"] == {TILL: IntervalSet([(1, 2)]), TILL_2: IntervalSet([(1, 2)])}
    assert observatory.distinct["parm"] == 4
    assert [record.getMessage()[:31] for record in caplog.records] == ["parm has told of 2 sources: fur"]


def test_every_snapshot_is_written_down(observatory: Observatory, tmp_path: Path) -> None:
    """The file has one line a snapshot in order of arrival, readable at once and the same as what came before its end."""
    sent = [snapshot("parm", at_ms=at_ms, taken={TILL: [(1, at_ms)]}, counters={"backlog": 1.0}) for at_ms in (5, 4, 6)]
    for one in sent:
        observatory.receive(one)
    observatory.end()
    observatory.receive(snapshot("parm", at_ms=9))
    lines = (tmp_path / "witnesses.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == sent


@pytest.mark.parametrize(
    "broken",
    [{}, {"stage": "parm"}, {**snapshot("parm"), "taken": {TILL: [1]}}, {**snapshot("parm"), "counters": {"x": "y"}},
     {**snapshot("parm"), "at_ms": "now"}],
    ids=range(5),
)  # fmt: skip
def test_a_broken_snapshot_leaves_nothing(observatory: Observatory, tmp_path: Path, broken: dict[str, Any]) -> None:
    """What is no snapshot is refused and leaves no trace; the next one is taken."""
    with pytest.raises(msgspec.ValidationError):
        observatory.receive(broken)
    assert (tmp_path / "witnesses.jsonl").read_bytes() == b""
    assert not observatory.instances
    observatory.receive(snapshot("parm", taken={TILL: [(1, 1)]}))
    assert observatory.distinct["parm"] == 1


def test_totals_and_the_newest_figures(observatory: Observatory) -> None:
    """A total adds up the newest counter of each instance of that stage; a missing counter is nothing."""
    observatory.receive(snapshot("parm", counters={"backlog": 5.0}))
    observatory.receive(snapshot("parm", instance=2, counters={"backlog": 7.0}, rejects={"schema": 2}))
    observatory.receive(snapshot("parm", at_ms=2_000, counters={"backlog": 1.0}, duplicates_absorbed=3))
    observatory.receive(snapshot("sync_stage", counters={"backlog": 100.0}))
    assert observatory.total("parm", "backlog") == 8.0
    assert observatory.total("parm", "unheard") == 0.0
    assert observatory.instances["parm", 1].duplicates_absorbed == 3
    assert observatory.instances["parm", 2].rejects == {"schema": 2}


def test_rates(observatory: Observatory) -> None:
    """A rate is the growth between the last two snapshots of each instance, added up; a restart begins at nothing."""
    now = now_ms() + 60_000  # so that they are not old before they are read
    for instance, counts in ((1, (100, 300)), (2, (0, 50))):
        for at_ms, count in zip((now - 1_000, now), counts, strict=True):
            observatory.receive(snapshot("parm", at_ms, instance, counters={"taken_total": float(count)}))
    assert observatory.rate("parm") == pytest.approx(250.0)
    observatory.receive(snapshot("parm", now + 1_000, 1, incarnation=2, counters={"taken_total": 30.0}))
    assert observatory.rate("parm") == pytest.approx(80.0)
    observatory.receive(snapshot("gateway", now - 500, counters={"documents_written": 10.0}))
    observatory.receive(snapshot("gateway", now, counters={"documents_written": 20.0}))
    assert observatory.rate("gateway") == pytest.approx(20.0)


def test_old_rates_are_nothing(observatory: Observatory) -> None:
    """A stage that has said nothing for seconds has no rate, nor has one that spoke once or twice in a moment."""
    long_ago = now_ms() - 60_000
    observatory.receive(snapshot("parm", long_ago, counters={"taken_total": 0.0}))
    observatory.receive(snapshot("parm", long_ago + 1_000, counters={"taken_total": 100.0}))
    assert observatory.rate("parm") == 0.0
    now = now_ms()
    observatory.receive(snapshot("views", now, counters={"taken_total": 100.0}))
    observatory.receive(snapshot("views", now + 1, counters={"taken_total": 200.0}))
    assert observatory.rate("views") == 0.0


def test_what_proves_a_view(observatory: Observatory) -> None:
    """Whatever lies downstream of a view proves it too, and the proof is live: it grows with the snapshots."""
    gateway = observatory.evidence("gateway")
    observatory.receive(snapshot("sync_stage", handed_on={TILL: [(1, 1)]}))
    observatory.receive(snapshot("poseidon", taken={TILL: [(2, 2)]}))
    observatory.receive(snapshot("views", taken={TILL: [(3, 3)]}))
    assert [sets[TILL].to_list() for sets in gateway] == [[(1, 1)], [(2, 2)], [(3, 3)]]
    assert observatory.evidence("orders") == observatory.evidence("sales") == [], "these say what they hold"
    assert observatory.evidence("raw") == observatory.evidence("canonical") == [{}]


def terminals(**online: bool) -> dict[str, Any]:
    """The emulator's registers of three terminals in two stores."""
    names = {"till": TILL, "till_2": TILL_2, "far": FAR}
    return {"terminals": {names[name]: [value, 1] for name, value in online.items()}}


def test_distances_of_register_views(observatory: Observatory) -> None:
    """Every register that differs from what the terminals really are, is missing, or is of nobody, is one off."""
    observatory.receive(snapshot("emulator", state=terminals(till=True, till_2=True, far=False)))
    assert observatory.register_distance("store_board") == 2
    assert observatory.register_distance("device_inventory") == 3
    observatory.receive(
        snapshot("views", state={
            "store_board": {"taco.west.s0001": "OPEN", "pizza.east.s0002": "PLANNED_CLOSED", "unknown": "OPEN"},
            "device_inventory": {TILL: [True, 1], TILL_2: [True, 2]},
        })
    )  # fmt: skip
    assert observatory.register_distance("store_board") == 1
    assert observatory.register_distance("device_inventory") == 2
    del observatory.registers["store_board"]["unknown"]
    assert observatory.register_distance("store_board") == 0
    observatory.receive(snapshot("emulator", state=terminals(till_2=False)))
    assert observatory.board_truth() == {
        "taco.west.s0001": ["DEGRADED"],
        "pizza.east.s0002": ["OFFLINE", "PLANNED_CLOSED"],
    }
    assert observatory.register_distance("store_board") == 1


def test_stores_online(observatory: Observatory) -> None:
    """Stores online by region: the store board's word, or the terminals' where there is none, beside theirs."""
    observatory.receive(snapshot("emulator", state=terminals(till=True, till_2=False, far=False)))
    assert observatory.stores_online() == {"east": (0, 1, 0), "west": (1, 1, 1)}
    observatory.receive(
        snapshot("views", state={"store_board": {"taco.west.s0001": "OFFLINE", "pizza.east.s0002": "OPEN"}})
    )
    assert observatory.stores_online() == {"east": (1, 1, 0), "west": (0, 1, 1)}


def test_stalls(observatory: Observatory, caplog: pytest.LogCaptureFixture) -> None:
    """A loop that stood still for half a second or more is remembered, from when on and with its process; up to a limit."""
    observatory.receive(snapshot("parm", at_ms=7_000, instance=2, loop_stall_ms=500.0))
    observatory.receive(snapshot("parm", at_ms=8_000, instance=2, loop_stall_ms=499.0))
    assert observatory.stalls == [Stall("parm-2", 6_500, 500.0)]
    for at_ms in range(10_100):
        observatory.note_stall("views-1", at_ms, 1_000.0)
    for at_ms in range(10_100):
        observatory.note_stall("lab", at_ms, 1_000.0, "disk_wait")
    of_machine = [stall for stall in observatory.stalls if stall.process == "lab"]
    assert (len(of_machine), len(observatory.stalls)) == (10_000, 20_000), (
        "one busy stage takes nothing from the machine"
    )
    assert [record.getMessage() for record in caplog.records] == [
        f"10,000 stalls of {whose} were noted; later ones are not kept, and excuse nothing"
        for whose in ("stages", "the machine")
    ]


def test_an_overtaken_snapshot_writes_nothing_over(observatory: Observatory) -> None:
    """A snapshot that comes after a newer one of its instance adds to the unions and takes no register back."""
    observatory.receive(snapshot("emulator", number=2, taken={TILL: [(1, 2)]}, state=terminals(till=False)))
    observatory.receive(snapshot("emulator", number=1, taken={FAR: [(1, 1)]}, state=terminals(till=True)))
    assert observatory.registers["terminals"] == {TILL: [False, 1]}
    assert observatory.distinct["emulator"] == 3
    observatory.receive(snapshot("emulator", number=1, incarnation=2, at_ms=1, state=terminals(till=True)))
    assert observatory.registers["terminals"] == {TILL: [True, 1]}
    observatory.receive(snapshot("emulator", number=9, state=terminals(till=False)))
    assert observatory.registers["terminals"] == {TILL: [True, 1]}


def holding(epoch: int, **numbers: int) -> Holding:
    """What a view holds of two tills: 1 to a number, with digests that are ten times that number."""
    names = {"till": TILL, "far": FAR}
    return Holding(
        epoch=epoch,
        sources={names[name]: [(1, last)] for name, last in numbers.items()},
        digests={names[name]: 10 * last for name, last in numbers.items()},
    )


def test_what_a_view_holds_begins_anew(observatory: Observatory) -> None:
    """A rebuild, or another process, holds what it says and nothing of what was held before, whatever comes late."""
    orders = observatory.held["orders"]

    def hear(number: int, incarnation: int, told: Holding, stage: str = "poseidon", view: str = "orders") -> None:
        observatory.receive(snapshot(stage, number=number, incarnation=incarnation, holdings={view: told}))

    hear(1, 1, holding(1, till=5, far=1))
    hear(2, 1, holding(1, till=7))
    assert (orders.intervals, orders.digests) == ({TILL: [(1, 7)], FAR: [(1, 1)]}, {TILL: 70, FAR: 10})
    hear(4, 1, holding(1, till=9))
    hear(3, 1, holding(1, till=8, far=3))
    assert orders.intervals == {TILL: [(1, 9)], FAR: [(1, 3)]}, "what came late fills in, and takes nothing back"
    orders.touched.clear()
    hear(5, 1, holding(2))
    assert (orders.intervals, orders.touched) == ({}, {TILL, FAR})
    hear(2, 1, holding(1, till=7))
    assert orders.intervals == {}, "an epoch that is over holds nothing"
    hear(6, 1, holding(2, till=2))
    hear(1, 2, holding(1, far=1))
    assert orders.intervals == {FAR: [(1, 1)]}
    assert (observatory.incarnation_heard("orders"), observatory.incarnation_heard("sales")) == (2, 0)
    with pytest.raises(msgspec.ValidationError, match="which is poseidon's to tell"):
        hear(1, 3, holding(9, till=1), "views")
    assert orders.intervals == {FAR: [(1, 1)]}, "nobody speaks for another stage's view"


def test_intervals_that_are_none_are_refused(observatory: Observatory) -> None:
    """What is no ascending list of numbers is not held, nor is what stands beside it."""
    wrong: list[list[tuple[int, int]]] = [[(5, 1)], [(0, 3)], [(1, 2), (2, 3)], [(4, 4), (1, 1)], [(-3, -1)]]
    for number, intervals in enumerate(wrong, start=1):
        told = Holding(sources={TILL: intervals, FAR: [(1, number)]}, digests={})
        with pytest.raises(msgspec.ValidationError):
            observatory.receive(snapshot("poseidon", number=number, holdings={"orders": told}))
    assert observatory.held["orders"].intervals == {}
    observatory.receive(snapshot("poseidon", number=len(wrong) + 1, holdings={"orders": holding(0, far=3)}))
    assert observatory.held["orders"].intervals == {FAR: [(1, 3)]}


def test_registers_of_a_rebuilt_view_are_gone(observatory: Observatory) -> None:
    """A view of registers that begins anew shows nothing until it says what it shows."""
    board = {"store_board": {"taco.west.s0001": "OPEN"}}
    first, second = {"store_board": Holding(epoch=1)}, {"store_board": Holding(epoch=2)}
    observatory.receive(snapshot("views", number=1, state=board, holdings=first))
    observatory.receive(snapshot("views", number=2, holdings=first))
    assert observatory.registers["store_board"] == board["store_board"]
    observatory.receive(snapshot("views", number=3, holdings=second))
    assert observatory.registers["store_board"] == {}
    observatory.receive(snapshot("views", number=4, state=board, holdings=second))
    observatory.receive(snapshot("views", number=1, incarnation=2, holdings=first))
    assert observatory.registers["store_board"] == {}
    with pytest.raises(msgspec.ValidationError, match="which is views's to tell"):
        observatory.receive(snapshot("poseidon", number=1, incarnation=3, holdings=second))
    assert observatory.incarnation_heard("store_board") == 2


def test_the_inventory_of_olympus_is_held_against_the_terminals(observatory: Observatory) -> None:
    """olympus_dgs' own registers are as far off as terminals differ there."""
    observatory.receive(snapshot("emulator", state=terminals(till=True, till_2=False)))
    observatory.receive(snapshot("olympus_dgs", state={"olympus_dgs": {TILL: [True, 1], TILL_2: [True, 1]}}))
    assert observatory.register_distance("olympus_dgs") == 1
    observatory.receive(snapshot("olympus_dgs", state={"olympus_dgs": {TILL_2: [False, 1]}}))
    assert observatory.register_distance("olympus_dgs") == 0


@pytest.mark.parametrize(
    ("found", "distance"),
    [
        ([False, 2, 5], 0),
        ([False, 2, 6], 0),
        ([False, 3, 1], 0),
        ([False, 2, 4], 1),
        ([True, 2, 6], 1),
        ([False, 2, "6"], 1),
        ([False, 2], 1),
        (None, 1),
    ],
)
def test_an_offline_terminal_may_have_had_a_later_session(
    observatory: Observatory, found: object, distance: int
) -> None:
    """Of a CONNECT whose answer was cut off only the broker knows, by its will; one that is online knows its own session."""
    observatory.receive(snapshot("emulator", state={"terminals": {TILL: [False, 2, 5], FAR: [True, 1, 1]}}))
    observatory.receive(snapshot("views", state={"device_inventory": {TILL: found, FAR: [True, 1, 1]}}))
    assert observatory.register_distance("device_inventory") == distance
    observatory.receive(snapshot("views", state={"device_inventory": {FAR: [True, 1, 2]}}))
    assert observatory.register_distance("device_inventory") == distance + 1


def test_state_that_is_none(observatory: Observatory) -> None:
    """A view's state that is no registers is passed over."""
    observatory.receive(snapshot("views", state={"store_board": 5, "other": {"a": 1}}))
    assert observatory.registers["store_board"] == {}
    assert observatory.registers["other"] == {"a": 1}


def test_a_later_lab_knows_what_the_file_holds(observatory: Observatory, tmp_path: Path) -> None:
    """Unions, figures and registers of the lab before are there; the line that its death cut off spoils no other."""
    observatory.receive(snapshot("parm", taken={TILL: [(1, 5)]}, counters={"backlog": 3.0}))
    observatory.receive(snapshot("views", incarnation=2, number=7, state={"store_board": {"taco.west.s0001": "OPEN"}}))
    file = tmp_path / "witnesses.jsonl"
    with file.open("ab") as torn:
        torn.write(b'{"stage":"parm","inst')
    again = Observatory(file)
    again.recall()
    assert (again.events["parm"], again.distinct["parm"]) == ({TILL: IntervalSet([(1, 5)])}, 5)
    assert again.total("parm", "backlog") == 3.0
    assert again.registers["store_board"] == {"taco.west.s0001": "OPEN"}
    assert again.instances["views", 1].incarnation == 2
    again.receive(snapshot("parm", incarnation=2, taken={TILL: [(6, 6)]}))
    again.close()
    *_, torn_line, last = file.read_bytes().splitlines()
    assert torn_line == b'{"stage":"parm","inst'
    assert json.loads(last)["incarnation"] == 2


def test_news_are_of_what_has_come_further(observatory: Observatory) -> None:
    """Each source once, of a terminal also when it comes or goes; not what terminals commit: that is in the ledger."""
    observatory.receive(snapshot("emulator", taken={TILL: [(1, 9)], FAR: [(1, 1)]}, handed_on={TILL: [(1, 8)]}))
    assert observatory.take_news() == {TILL}
    observatory.receive(snapshot("parm", taken={TILL: [(1, 8)], TILL_2: [(1, 1)]}, handed_on={TILL: [(1, 7)]}))
    observatory.receive(snapshot("emulator", state={"terminals": {FAR: [False, 1, 1]}}))
    assert observatory.take_news() == {TILL, TILL_2, FAR}
    assert observatory.take_news() == set()
    assert [observatory.is_online(terminal) for terminal in (TILL, FAR)] == [True, False]


def test_when_there_was_more_last(observatory: Observatory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that tells nothing new is no sign that anything goes on."""
    now_s = [10.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    observatory.receive(snapshot("parm", taken={TILL: [(1, 2)]}, handed_on={TILL: [(1, 1)]}))
    now_s[0] = 11.0
    observatory.receive(snapshot("parm", taken={TILL: [(1, 3)]}, handed_on={TILL: [(1, 1)]}))
    assert observatory.news_s == {("parm", "taken"): 11.0, ("parm", "handed_on"): 10.0}
    now_s[0] = 12.0
    observatory.receive(snapshot("parm", taken={TILL: [(1, 3)]}))
    assert observatory.news_s == {("parm", "taken"): 11.0, ("parm", "handed_on"): 10.0}
    assert observatory.instances["parm", 1].heard_s == 12.0


def test_the_moment_of_a_report(observatory: Observatory) -> None:
    """A report is of the time that it says, unless that was told by another clock; it never goes back."""
    now = now_ms()
    for said_ms, known in ((now - 60_000, range(now, now + 5_000)), (now + 60_000, range(now, now + 5_000))):
        observatory.receive(snapshot("parm", said_ms))
        assert observatory.instances["parm", 1].as_of_ms in known
    observatory.receive(snapshot("views", now - 5))
    assert observatory.instances["views", 1].as_of_ms in (now - 5, *range(now, now + 5_000))
    before = observatory.instances["views", 1].as_of_ms
    observatory.receive(snapshot("views", now - 500))
    assert observatory.instances["views", 1].as_of_ms >= before


HEADER = WitnessesHeader(run="lab-x", started_at_ms=5)


def test_a_new_file_says_whose_witnesses_it_holds(tmp_path: Path) -> None:
    """The header is written once: a lab that goes on with the run finds it there, and it is no snapshot to it."""
    file = tmp_path / "witnesses.jsonl"
    for times in (1, 2):
        found = Observatory(file, HEADER)
        found.recall()
        assert found.distinct["parm"] == times - 1
        found.receive(snapshot("parm", taken={TILL: [(times, times)]}))
        found.close()
    first, *others = file.read_bytes().splitlines()
    assert msgspec.json.decode(first, type=WitnessesHeader) == HEADER
    assert [msgspec.json.decode(line, type=Snapshot).stage for line in others] == ["parm", "parm"]
    assert read_header(file) == HEADER


def test_a_newer_file_is_not_taken_up(tmp_path: Path) -> None:
    """A file of a newer version is refused in one line."""
    file = tmp_path / "witnesses.jsonl"
    file.write_bytes(b'{"format":"storefleet-witnesses","version":2,"by":"another"}\n')
    found = Observatory(file, HEADER)
    with pytest.raises(SettingsError, match="format version 2"):
        found.recall()
    found.close()


@pytest.mark.parametrize(
    "said",
    [
        {"taken": {TILL: [[10, 1]]}},
        {"state": {"terminals": {TILL: [True, 1, 1]}}},
        {"state": {"olympus_dgs": {TILL: [True, 1, 1]}}},
        {"holdings": {"orders": {}}},
    ],
    ids=str,
)
def test_what_cannot_be_or_is_anothers_is_refused_whole(
    observatory: Observatory, tmp_path: Path, said: dict[str, Any]
) -> None:
    """Nothing of it is written or counted, from a stage or from a file."""
    wrong = snapshot("parm", counters={"backlog": 5.0}) | said
    with pytest.raises(msgspec.ValidationError):
        observatory.receive(wrong)
    assert (tmp_path / "witnesses.jsonl").read_bytes() == b""
    (tmp_path / "witnesses.jsonl").write_bytes(msgspec.json.encode(wrong) + b"\n")
    observatory.recall()
    assert observatory.instances == {}
    assert not any(observatory.events.values())


@pytest.mark.parametrize("state", [5, [], {TILL: 5}, {TILL: []}, {"nowhere": [True, 1, 1]}], ids=str)
def test_terminals_have_a_shape(observatory: Observatory, state: object) -> None:
    """What the emulator tells of them is what everything else is compared with."""
    with pytest.raises(msgspec.ValidationError):
        observatory.receive(snapshot("emulator") | {"state": {"terminals": state}})
    observatory.receive(snapshot("emulator") | {"state": {"terminals": {TILL: [True, 1, 1]}}})
    assert observatory.board_truth() == {"taco.west.s0001": ["OPEN"]}


def test_troubles_are_told_as_they_are_now(tmp_path: Path) -> None:
    """Each instance has its own; a late report changes nothing; what an earlier lab has written is not told again."""
    noted, file = Noted(), tmp_path / "witnesses.jsonl"
    found = Observatory(file, HEADER, noted.note)
    found.receive(snapshot("gateway", number=2, troubles={"disk_full": "no room"}))
    found.receive(snapshot("gateway", number=1))
    found.receive(snapshot("gateway", instance=2, number=1))
    assert [(one.who, one.code, one.detail) for one in found.troubles.all()] == [("gateway-1", "disk_full", "no room")]
    found.receive(snapshot("gateway", incarnation=2, number=1))
    assert found.troubles.all() == []
    assert [kind for kind, *_ in noted.rows] == ["trouble_on", "trouble_off"]
    found.receive(snapshot("gateway", incarnation=2, number=2, loop_stall_ms=600.0, at_ms=10_000))
    assert noted.rows[-1] == ("standstill", "gateway-1", "0.6 s (event loop)", 9_400)
    found.close()
    later = Noted()
    again = Observatory(file, HEADER, later.note)
    again.recall()
    for stall in found.stalls:
        again.keep_stall(stall)
    assert (again.troubles.all(), later.rows, again.stalls) == ([], [], found.stalls)
    again.close()
