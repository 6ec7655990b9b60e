"""The file of witnesses: reading only what is needed gives what reading everything gives; broken lines are counted."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetwire.intervals import IntervalSet
from fleetwire.witness import Snapshot, Witness
from storefleet.verdict.classify import classify
from storefleet.verdict.history import History, Ledger, Reading, StageRecord, ViewRecord
from storefleet.verdict.run_folder import judge_folder
from storefleet.verdict.witness_file import Patience, enter_witnesses
from tests.verdict.test_run_folder import write_run
from tests.verdict.world import SOURCES, START_MS, ledger, read_of

EVENTS = 8
taking = st.tuples(st.sampled_from(SOURCES), st.integers(1, EVENTS), st.integers(1, 2), st.booleans())
steps = st.lists(
    st.one_of(
        st.tuples(st.just("take"), st.integers(1, 2), taking),
        st.tuples(st.just("tell"), st.integers(1, 2), st.booleans()),
        st.tuples(st.just("die"), st.integers(1, 2), st.booleans()),
    ),
    max_size=60,
)


def snapshots(script: list[tuple[str, int, object]]) -> list[Snapshot]:
    """Two instances of a stage take, tell (in full or what changed), and die, told or untold."""
    witnesses = {1: Witness(), 2: Witness()}
    incarnations = {1: 1, 2: 1}
    result: list[Snapshot] = []

    def tell(instance: int, *, full: bool) -> None:
        told = witnesses[instance].snapshot("parm", instance, incarnations[instance], full=full, loop_stall_ms=0.0)
        told.at_ms = START_MS + len(result) * 1000
        result.append(told)

    for what, instance, detail in script:
        if what == "take":
            source, sequence, attempt, on = detail  # type: ignore[misc]
            witnesses[instance].take(source, sequence, attempt)
            if on:
                witnesses[instance].hand_on(source, sequence)
        elif what == "tell":
            tell(instance, full=bool(detail))
        else:
            if detail:
                tell(instance, full=True)
            witnesses[instance] = Witness()
            incarnations[instance] += 1
    return result


def retry_of(told: list[Snapshot], truth: Ledger, source: str, number: int) -> str:
    """What is known of one event: ``sure`` (first taken on a retry), ``undecided``, or '' for anything else."""
    first: dict[int, Snapshot] = {}
    """Instance -> the newest report of the incarnation that took it first."""
    for one in told:
        known = first.get(one.instance)
        told_again = known is not None and known.incarnation == one.incarnation and source in one.taken
        if told_again or (known is None and number in IntervalSet(one.taken.get(source, []))):
            first[one.instance] = one
    on_retry = [IntervalSet(one.first_taken_on_retry.get(source, [])) for one in first.values()]
    if not first or any(number not in numbers for numbers in on_retry):
        return ""
    committed_ms = truth.sources[source].times_ms[number - 1]
    sure = False
    for instance, one in first.items():
        blanks = [
            begun
            for begun in begun_without_memory(told)
            if begun.instance != instance or begun.incarnation <= one.incarnation
        ]
        sure |= all(begun.at_ms < committed_ms for begun in blanks)
    return "sure" if sure else "undecided"


def begun_without_memory(told: list[Snapshot]) -> list[Snapshot]:
    """The first reports of later incarnations that lack something that was known of the stage, or all if nothing was."""
    known: dict[str, IntervalSet] = {}
    newest: dict[int, int] = {}
    result = []
    for one in told:
        if one.incarnation > newest.get(one.instance, one.incarnation):
            lacking = (numbers.difference(IntervalSet(one.taken.get(name, []))) for name, numbers in known.items())
            if not known or any(lacking):
                result.append(one)
        newest[one.instance] = one.incarnation
        for name, intervals in one.taken.items():
            known.setdefault(name, IntervalSet()).update(IntervalSet(intervals))
    return result


@settings(max_examples=300, deadline=None)
@given(steps, st.booleans())
def test_reading_back_only_what_is_needed_is_reading_everything(
    script: list[tuple[str, int, object]], resent: bool
) -> None:
    """Over any lives of two instances, the sets are the unions of all that was told about the run's events.

    First takings on a retry are asked for only of terminals that sent anything again; each is one that nobody had taken at
    the first sending, and is undecided where an incarnation may have died with that knowledge.
    """
    told = snapshots(script)
    history = History(ledger=ledger(EVENTS))
    assert history.ledger is not None
    for entries in history.ledger.sources.values():
        entries.attempts = {1: 2} if resent else {}
    history.stages = [StageRecord(step="parm", stage="parm")]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "witnesses.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in told))
        enter_witnesses(history, path, None)
    if resent:
        for source in SOURCES:
            expected = {number: retry_of(told, history.ledger, source, number) for number in range(1, EVENTS + 1)}
            for name, what in (("first_taken_on_retry", "sure"), ("retry_undecided", "undecided")):
                found = getattr(history.stages[0], name).get(source, IntervalSet())
                assert list(found.numbers()) == [number for number, kind in expected.items() if kind == what]
    for name in ("taken", "handed_on"):
        found = getattr(history.stages[0], name)
        for source in SOURCES:
            everything = IntervalSet()
            for one in told:
                everything.update(IntervalSet(getattr(one, name).get(source, [])))
            assert found.get(source, IntervalSet()) == everything
    last = {(one.instance, one.incarnation): one.duplicates_absorbed for one in told}
    assert history.stages[0].duplicates_absorbed == sum(last.values())


@pytest.mark.parametrize(
    ("tail", "broken"),
    [(b"", 0), (b'{"stage":"parm","instance":1,"inc', 1), (b'\x00\xff{"stage"\n\n[]\n{"stage":"parm"}\n', 3)],
)
def test_broken_lines_are_counted_and_harmless(tmp_path: Path, tail: bytes, broken: int) -> None:
    """Whatever a killed lab leaves at the end of its file, the verdict is the same and counts what it skipped."""
    write_run(tmp_path)
    path = tmp_path / "witnesses.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.rindex(b"\n") + 1] + tail)
    verdict = judge_folder(tmp_path)
    assert (verdict.validity, verdict.broken_lines) == ("valid", broken)
    assert ("skipped" in (tmp_path / "report.txt").read_text(encoding="utf-8")) == bool(broken)


waits = st.lists(st.tuples(st.integers(0, 4_000), st.sampled_from(SOURCES), st.integers(1, EVENTS)), max_size=50)


@settings(max_examples=400, deadline=None)
@given(waits, st.integers(0, 12), st.sampled_from([0.5, 1.0, 3.0, 5.0]))
def test_lateness_is_found_as_if_all_was_kept(
    reports: list[tuple[int, str, int]], healed_s: int, deadline_s: float
) -> None:
    """Looking at every half deadline which terminals may be late finds each that keeping every report would find.

    Every report tells of all terminals, since what it does not name has not changed.
    """
    witness, told, at_ms = Witness(), [], START_MS
    everything: list[Reading] = []
    for wait_ms, source, sequence in reports:
        at_ms += wait_ms
        witness.take(source, sequence)
        snapshot = witness.snapshot("views", 1, 1, full=False, loop_stall_ms=0.0)
        snapshot.at_ms = at_ms
        told.append(snapshot)
        seen = {name: numbers.to_list() for name, numbers in witness.taken.items()}
        everything.append(Reading(at_ms, {name: seen.get(name, []) for name in SOURCES}))
    history = History(ledger=ledger(EVENTS))
    history.stages = [StageRecord(step="views", stage="views")]
    read = {source: read_of(source, numbers) for source, numbers in witness.taken.items()}
    view = ViewRecord(view="sales", step="views", read=read, healed_at_ms=START_MS + healed_s * 1000)
    view.deadline_s = deadline_s
    history.views = [view]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "witnesses.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in told))
        assert view.healed_at_ms is not None
        enter_witnesses(history, path, Patience(view.healed_at_ms, int(deadline_s * 1000)))
    view.timeline = history.stages[0].timeline
    found = classify(history).overall.sets.get("stale", {})
    view.timeline = everything
    assert found == classify(history).overall.sets.get("stale", {})


@pytest.mark.parametrize(
    ("resent_ms", "believed"), [({4: 500}, True), ({4: 1_000}, True), ({4: 1_500}, False), ({4: 9_500}, False), ({}, True)]
)  # fmt: skip
def test_what_was_taken_before_it_was_sent_again_was_not_taken_on_a_retry(
    resent_ms: dict[int, int], believed: bool, tmp_path: Path
) -> None:
    """A stage believes what a message says of its attempt, and anybody on the way may have written that."""
    told = snapshots([("take", 1, (SOURCES[0], 4, 77, True)), ("tell", 1, True)] + [("tell", 1, False)] * 3)
    told[0].at_ms += 1_000
    history = History(ledger=ledger(EVENTS))
    assert history.ledger is not None
    entries = history.ledger.sources[SOURCES[0]]
    entries.attempts = {4: 2}
    entries.resent_ms = {number: START_MS + at_ms for number, at_ms in resent_ms.items()}
    history.stages = [StageRecord(step="parm", stage="parm")]
    path = tmp_path / "witnesses.jsonl"
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in told))
    enter_witnesses(history, path, None)
    assert history.stages[0].first_taken_on_retry == ({SOURCES[0]: IntervalSet([(4, 4)])} if believed else {})
