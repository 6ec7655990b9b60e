"""What a run folder proves of single events: each kind of proof, what follows from it, and what damage takes away."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fleetwire.errors import SettingsError
from fleetwire.identity import Key
from fleetwire.witness import Step
from storefleet.verdict import witnessed_events
from storefleet.verdict.journey import JourneyView
from storefleet.verdict.letter_file import Letter
from storefleet.verdict.run_format import FinalRead, WitnessesHeader
from storefleet.verdict.sightings import Sighting, sightings
from storefleet.verdict.witnesses_header import header_line
from tests.verdict.seen_run import ONE, READ_MS, THREE, TWO, SeenRun, at, held, views_with
from tests.verdict.world import START_MS, ledger

EARLY = Key(ONE, 3)
OTHERS = [Key(f"taco.west.s{store:04d}.r01", 1) for store in range(100, 100 + witnessed_events.SEARCHED_SOURCES)]
"""Beside these, lines are decoded and not searched."""
COMMITTED = Sighting(step="emulator", stage="emulator", at_ms=at(3), did="committed", evidence="ledger")


@pytest.fixture
def run(tmp_path: Path) -> SeenRun:
    """A run of which the ledger is written, and nothing else."""
    made = SeenRun(tmp_path)
    made.write_ledger()
    return made


def seen(run: SeenRun, key: Key = EARLY, *, beside: list[Key] | None = None) -> list[Sighting]:
    """What is proven of one event."""
    return sightings(run.folder, run.plan, [*(beside or []), key])[key]


def brief(found: list[Sighting]) -> list[tuple[str, int, float, bool, str]]:
    """Step, instance, seconds since the start, exact, evidence."""
    return [(one.step, one.instance, (one.at_ms - START_MS) / 1000, one.exact, one.evidence) for one in found]


def report_all(run: SeenRun, *stages: str) -> None:
    """These stages lack event 3 at 2.9 s, and have handed it on by 3.9 s."""
    for stage in stages:
        run.report(stage, 2.9, {ONE: [(1, 2)]}, number=1)
        run.report(stage, 3.9, {ONE: [(1, 4)]}, number=2)


@pytest.mark.parametrize("beside", [[], OTHERS])
def test_an_early_event_that_no_ring_remembers(run: SeenRun, beside: list[Key]) -> None:
    """Commit and views' times are exact; in between, it was there by what reports and what lies behind them say."""
    report_all(run, "emulator", "parm", "sync_stage", "poseidon", "views")
    run.write_reads({"gateway": held({2: 2.1, 3: 3.2, 4: 4.1}), "orders": held({3: 3.3}), "sales": held({3: 3.4})})
    run.write_journeys({"parm-1": {f"{ONE}.10": Step(taken_ms=at(10))}})
    told = {"handed_on_ms": at(3.9), "handed_on_exact": False}
    behind = {"at_ms": at(3.2), "exact": False}
    assert seen(run, beside=beside) == [
        msgspec.structs.replace(COMMITTED, instance=1, **told),
        Sighting(step="broker-raw", stage="broker", **behind, did="acknowledged it", evidence="acknowledged"),
        Sighting(
            step="parm", stage="parm", instance=1, **behind, after_ms=at(2.9), **told, did="took it", evidence="witness"
        ),
        Sighting(step="broker-canonical", stage="broker", **behind, did="acknowledged it", evidence="acknowledged"),
        Sighting(
            step="sync_stage", stage="sync_stage", instance=1, **behind, after_ms=at(2.9), **told, did="took it",
            evidence="witness",
        ),
        Sighting(step="gateway", stage="gateway", at_ms=at(3.2), did="holds it", evidence="read"),
        Sighting(step="poseidon", stage="poseidon", instance=1, at_ms=at(3.3), **told, did="holds it", evidence="read"),
        Sighting(step="views", stage="views", instance=1, at_ms=at(3.4), **told, did="holds it", evidence="read"),
    ]  # fmt: skip


def test_what_rings_remember_is_exact(run: SeenRun) -> None:
    """A journey says when, at which attempt and what; it fills in what a final read, which says when, does not tell."""
    report_all(run, "parm", "poseidon")
    run.write_reads({"orders": held({3: 3.3})})
    run.write_journeys(
        {
            "emulator-1": {str(EARLY): Step(taken_ms=at(3.001), handed_on_ms=at(3.004))},
            "parm-1": {str(EARLY): Step(taken_ms=at(3.1), handed_on_ms=at(3.2), attempt=2, did="canonical")},
            "poseidon-1": {str(EARLY): Step(taken_ms=at(3.31), handed_on_ms=at(3.31), did="applied")},
        }
    )
    emulator, broker, parm, *_, poseidon = seen(run)
    assert emulator == msgspec.structs.replace(COMMITTED, instance=1, handed_on_ms=at(3.004), attempt=1)
    assert (broker.step, broker.at_ms, broker.exact) == ("broker-raw", at(3.004), False)
    assert parm == Sighting(
        step="parm", stage="parm", instance=1, at_ms=at(3.1), handed_on_ms=at(3.2), attempt=2, did="canonical",
        evidence="journey",
    )  # fmt: skip
    assert poseidon == Sighting(
        step="poseidon", stage="poseidon", instance=1, at_ms=at(3.3), handed_on_ms=at(3.31), attempt=1, did="applied",
        evidence="read",
    )  # fmt: skip


def test_what_stages_say_now_counts_like_the_file(run: SeenRun) -> None:
    """A running stage's own memory is evidence too."""
    remembered = {"parm-1": {str(EARLY): Step(taken_ms=at(3.1))}}
    found = sightings(run.folder, run.plan, [EARLY], remembered=remembered)[EARLY]
    assert brief(found)[2] == ("parm", 1, 3.1, True, "journey")


def test_an_event_that_is_lost_behind_a_hop(run: SeenRun) -> None:
    """The last that is known of it is the broker's acknowledgement; every step behind is absent."""
    run.report("emulator", 3.9, {ONE: [(1, 4)]}, number=1)
    run.report("parm", 3.9, {ONE: [(1, 2), (4, 4)]}, number=1)
    run.report("parm", 9.9, {ONE: [(1, 2), (4, 10)]}, number=2)
    run.write_reads({"gateway": held({2: 2.1, 4: 4.1})})
    assert brief(seen(run)) == [
        ("emulator", 1, 3.0, True, "ledger"),
        ("broker-raw", 0, 3.9, False, "acknowledged"),
    ]


def test_what_was_taken_and_not_handed_on(run: SeenRun) -> None:
    """A stage that took an event and kept it has acknowledged nothing behind it."""
    run.report("parm", 3.9, {ONE: [(1, 4)]}, handed_on={ONE: [(1, 2), (4, 4)]}, number=1)
    found = seen(run)
    assert brief(found)[1:] == [("broker-raw", 0, 3.9, False, "downstream"), ("parm", 1, 3.9, False, "witness")]
    assert (found[2].handed_on_ms, found[2].after_ms) == (0, 0)


def test_a_stage_of_somebody_elses(run: SeenRun) -> None:
    """It has no word of its own: it was passed, by when what lies behind it had the event."""
    run.foreign("parm")
    run.report("parm", 3.1, {ONE: [(1, 4)]}, number=1)
    run.write_journeys({"parm-1": {str(EARLY): Step(taken_ms=at(3.1))}})
    run.report("sync_stage", 3.9, {ONE: [(1, 4)]}, number=1)
    found = seen(run)
    assert brief(found)[1:4] == [
        (step, 0, 3.9, False, "downstream") for step in ("broker-raw", "parm", "broker-canonical")
    ]
    assert found[2].did == "passed, by what lies behind"


def test_a_poseidon_of_somebody_elses_is_known_by_its_outcome(run: SeenRun) -> None:
    """Its word to the terminal is all there is of it; our own Poseidon's proves nothing beside what it reports."""
    assert brief(seen(run)) == [("emulator", 0, 3.0, True, "ledger")]
    run.foreign("poseidon")
    poseidon = seen(run)[-1]
    assert (poseidon.step, poseidon.did, poseidon.exact) == ("poseidon", "applied", False)


def test_several_instances(run: SeenRun) -> None:
    """Each has its own sighting, the earlier one first; what names no instance stands for itself."""
    run.report("parm", 2.9, {TWO: [(1, 2)]}, number=1, instance=2)
    run.report("parm", 3.9, {ONE: [(3, 3)]}, number=2, instance=2)
    run.report("parm", 6.9, {ONE: [(1, 5)]}, handed_on={}, number=1, instance=1)
    run.report("sync_stage", 3.5, {ONE: [(1, 4)]}, number=1)
    run.write_letters(letter("parm", "key_conflict", at(7)))
    parms = [one for one in seen(run) if one.step == "parm"]
    assert brief(parms) == [
        ("parm", 2, 3.9, False, "witness"),
        ("parm", 1, 6.9, False, "witness"),
        ("parm", 0, 7.0, False, "letter"),
    ]
    assert [(one.after_ms, one.handed_on_ms, one.did) for one in parms] == [
        (at(2.9), at(3.9), "took it"),
        (0, 0, "took it"),
        (0, 0, "dead letter: key_conflict"),
    ]


def test_only_whole_silence_proves_that_it_had_not_come(run: SeenRun) -> None:
    """A report that names nothing speaks for its time while none before it is missing."""
    for number in (1, 2, 4, 5):
        run.report("parm", number, {}, number=number)
    run.report("parm", 6, {ONE: [(1, 3)]}, number=6)
    run.report("sync_stage", 1, {}, number=1)
    run.report("sync_stage", 5, {}, number=2)
    run.report("sync_stage", 6, {ONE: [(1, 3)]}, number=3)
    after_ms = {one.step: one.after_ms for one in seen(run)}
    assert (after_ms["parm"], after_ms["sync_stage"]) == (0, at(5))


def test_a_restarted_stage(run: SeenRun) -> None:
    """What the new one lacks proves nothing of what was committed before it began: the old one may have had it."""
    run.report("parm", 2, {ONE: [(1, 1)], TWO: [(1, 1)]}, number=1)
    run.report("parm", 2.5, {}, number=2)
    run.report("parm", 5, {ONE: [(1, 1)], TWO: [(1, 1)]}, number=1, incarnation=2)
    run.report("parm", 6.5, {ONE: [(1, 2)], TWO: [(1, 2)]}, number=2, incarnation=2)
    run.report("parm", 7.5, {ONE: [(1, 6)], TWO: [(1, 6)]}, number=3, incarnation=2)
    found = sightings(run.folder, run.plan, [Key(ONE, 3), Key(TWO, 6)])
    parm = {key: next(one for one in rows if one.step == "parm") for key, rows in found.items()}
    assert (parm[Key(ONE, 3)].at_ms, parm[Key(ONE, 3)].after_ms) == (at(7.5), at(2.5))
    assert (parm[Key(TWO, 6)].at_ms, parm[Key(TWO, 6)].after_ms) == (at(7.5), at(6.5))


def test_the_first_incarnation_that_had_it_counts(run: SeenRun) -> None:
    """A stage that lost its memory and took the event again had it when it took it first."""
    run.report("poseidon", 3.9, {ONE: [(1, 4)]}, number=1)
    run.report("poseidon", 20, {ONE: [(1, 10)]}, number=1, incarnation=2)
    run.write_reads({"orders": held({3: 19.0})})
    assert brief(seen(run))[-1] == ("poseidon", 1, 3.9, False, "witness")


def test_an_event_that_nobody_committed(run: SeenRun) -> None:
    """It has passed the party right before whoever took it; for those before nothing follows."""
    phantom = Key(ONE, 5_004)
    run.foreign("parm")
    run.report("sync_stage", 6, {ONE: [(1, 4), (5_004, 5_004)]}, number=1)
    run.write_reads({"gateway": held({5_004: 5.2}), "sales": held({5_004: 5.4})})
    assert brief(seen(run, phantom)) == [
        ("broker-canonical", 0, 6.0, False, "downstream"),
        ("sync_stage", 1, 6.0, False, "witness"),
        ("gateway", 0, 5.2, True, "read"),
        ("views", 0, 5.4, True, "read"),
    ]
    assert seen(run, Key("taco.west.s0999.r01", 1)) == []


def test_a_rejected_event(run: SeenRun) -> None:
    """Where it was rejected stands in the outcome, in the letter and in the ring; nothing behind has it."""
    truth = ledger(5, sources=(ONE, TWO))
    truth.sources[TWO].rejected = {3: ("parm", "schema")}
    run.folder.joinpath("ledger.sqlite").unlink()
    run.write_ledger(truth)
    key = Key(TWO, 3)
    run.report("parm", 3.9, {TWO: [(1, 4)]}, handed_on={TWO: [(1, 2), (4, 4)]}, number=1)
    run.write_letters(letter("parm", "schema", at(3.2), TWO), letter("nobody", "schema", at(3.2), TWO))
    run.write_journeys({"parm-1": {str(key): Step(taken_ms=at(3.1), did="rejected: schema")}})
    found = seen(run, key)
    assert [one.step for one in found] == ["emulator", "broker-raw", "parm"]
    assert found[-1].did == "rejected: schema, dead letter: schema"


def test_a_view_that_could_not_use_it(run: SeenRun) -> None:
    """A view's skip is where its journey ended."""
    read = FinalRead(at_ms=READ_MS, events={}, skips=[{"id": str(EARLY), "reason": "schema", "detail": "x"}])
    run.write_reads({"sales": read, "gateway": held({3: 3.2})})
    assert [(one.step, one.did) for one in seen(run)[-2:]] == [("gateway", "holds it"), ("views", "skipped: schema")]


@pytest.mark.parametrize(
    ("views", "timed", "time_s"),
    [(views_with(), False, 3.2), (views_with(), True, 0), (views_with(hop="views-gateway"), True, 3.2)],
)
def test_a_view_that_does_not_say_when(run: SeenRun, views: list[JourneyView], timed: bool, time_s: float) -> None:
    """It was there when it was read; what reads over a hop had it a little later than the step."""
    run.plan.views = views
    run.write_reads({"gateway": held({3: time_s}, timed=timed)})
    gateway = seen(run)[-1]
    assert (gateway.step, gateway.exact) == ("gateway", False)
    assert gateway.at_ms == (at(3.2) if timed and time_s else READ_MS)


def test_what_cannot_be_in_the_witnesses_is_skipped(run: SeenRun) -> None:
    """Torn lines, impossible ones (be it for another source), other stages' and other words prove nothing."""
    run.line(b'{"stage":"parm","instance":1,"incarnation":1,"at_ms":%d,"taken":{"%s":[[1,' % (at(3.1), ONE.encode()))
    run.line(b"\xff\xfe")
    run.line(b"[" * 5_000)
    run.line(b'{"taken":{"%s":[[1,9]]}}' % ONE.encode())
    run.report("parm", 3.2, {ONE: [(1, 4)], TWO: [(5, 2)]}, number=1)
    run.report("parm", 3.3, {ONE: [(1, 4)]}, number=1, instance=0)
    run.report("hermes", 3.4, {ONE: [(1, 4)]}, number=1)
    run.report("parm", 3.5, {ONE: [(1, 4)]}, handed_on={}, number=2)
    assert brief(seen(run))[-1] == ("parm", 1, 3.5, False, "witness")
    assert brief(seen(run, beside=OTHERS))[-1] == ("parm", 1, 3.5, False, "witness")


def test_more_instances_than_a_lab_can_have(run: SeenRun) -> None:
    """Beyond a limit they are not listened to."""
    for instance in range(1, witnessed_events.INSTANCE_LIMIT + 3):
        run.report("parm", 3.5, {ONE: [(1, 4)]}, number=1, instance=instance)
    instances = [one.instance for one in seen(run) if one.step == "parm"]
    assert instances == [*range(1, witnessed_events.INSTANCE_LIMIT + 1)]


@pytest.mark.parametrize(
    "header",
    [
        header_line(WitnessesHeader(run="another", started_at_ms=START_MS)),
        header_line(WitnessesHeader(run="seen", started_at_ms=START_MS + 1)),
        header_line(WitnessesHeader(run="seen", started_at_ms=START_MS, version=2)),
    ],
)
def test_witnesses_of_another_run(run: SeenRun, header: bytes) -> None:
    """They prove nothing here; without a header they are believed, as an older storefleet wrote them."""
    run.report("parm", 3.5, {ONE: [(1, 4)]}, handed_on={}, number=1)
    path = run.folder / "witnesses.jsonl"
    _, line = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(header + line)
    assert [one.step for one in seen(run)] == ["emulator"]
    path.write_bytes(line)
    assert [one.step for one in seen(run)] == ["emulator", "broker-raw", "parm"]


HOSTILE = (
    b"", b"[]", b"\xff", b"{", b'{"parm-1":' * 2_000, b'{"parm-1":[]}',
    b'{"parm-1":{"%(key)s":{"taken_ms":-1}}}',
    b'{"parm-1":{"%(key)s":{"taken_ms":9007199254740992}}}',
    b'{"parm-1":{"%(key)s":{"taken_ms":"now"}}}',
    b'{"parm-1":{"%(key)s":{"taken_ms":%(ms)d,"attempt":0}}}',
    b'{"parm-1":{"%(key)s":{"taken_ms":%(ms)d,"handed_on_ms":-5}}}',
    b'{"parm-0":{"%(key)s":{"taken_ms":%(ms)d}}}',
    b'{"parm-99999999":{"%(key)s":{"taken_ms":%(ms)d}}}',
    b'{"parm":{"%(key)s":{"taken_ms":%(ms)d}},"":{},"hermes-1":{"%(key)s":{"taken_ms":%(ms)d}}}',
)  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE)
def test_journeys_that_cannot_be(run: SeenRun, content: bytes) -> None:
    """They are left out; what else is known stays."""
    filled = content % {b"key": str(EARLY).encode(), b"ms": at(3.1)} if b"%" in content else content
    (run.folder / "journeys.json").write_bytes(filled)
    assert seen(run) == [COMMITTED]


def test_what_a_ring_says_is_printable_and_bounded(run: SeenRun) -> None:
    """Control characters never reach a terminal, and nobody fills a table."""
    run.write_journeys({"parm-1": {str(EARLY): Step(taken_ms=at(3.1), did="\x1b[31mred" + "x" * 1_000)}})
    did = seen(run)[-1].did
    assert did.startswith("?[31mredxxx")
    assert len(did) == 200


@pytest.mark.parametrize("name", ["ledger.sqlite", "witnesses.jsonl", "reads.json", "letters.jsonl", "journeys.json"])
@pytest.mark.parametrize("damage", ["missing", "torn", "binary", "folder"])
def test_a_damaged_file_costs_its_own_proofs_alone(run: SeenRun, name: str, damage: str) -> None:
    """Whatever happens to one file, the others still tell."""
    run.report("parm", 3.5, {ONE: [(1, 4)]}, number=1)
    run.write_reads({"sales": held({3: 3.4})})
    run.write_letters(letter("sync_stage", "schema", at(3.3)))
    run.write_journeys({"poseidon-1": {str(EARLY): Step(taken_ms=at(3.3))}})
    path = run.folder / name
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(content[: len(content) // 3] if damage == "torn" else b"\x00\xff" * 600)
    proofs = {"ledger.sqlite": "ledger", "witnesses.jsonl": "witness", "reads.json": "read", "letters.jsonl": "letter"}
    lost = proofs.get(name, "journey")
    kinds = {one.evidence for one in seen(run)} - {"downstream", "acknowledged"}
    assert kinds == {*proofs.values(), "journey"} - {lost}


def test_what_is_no_run_folder(run: SeenRun, tmp_path: Path) -> None:
    """That alone is an error."""
    with pytest.raises(SettingsError, match="is no run folder"):
        sightings(tmp_path / "gone", run.plan, [EARLY])
    (tmp_path / "empty").mkdir()
    assert sightings(tmp_path / "empty", run.plan, [EARLY, Key(THREE, 1)]) == {EARLY: [], Key(THREE, 1): []}
    run.plan.steps = []
    assert seen(run) == []


def letter(stage: str, reason: str, at_ms: int, source: str = ONE) -> Letter:
    """A dead letter of the source's third event."""
    return Letter(at_ms=at_ms, stage=stage, reason=reason, source=source, sequence=3)
