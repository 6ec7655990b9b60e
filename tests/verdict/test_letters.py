"""Dead letters on hand-written histories: whose they are, what explains them, and what speaks against the run."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fleetwire.identity import Key
from fleetwire.witness import ViewRead
from storefleet.verdict import letters as module
from storefleet.verdict.check import check
from storefleet.verdict.history import History, Intervention, Skip
from storefleet.verdict.letter_file import BODY_BYTES, End, Gap, Header, Letter, Letters, read_letters
from storefleet.verdict.letters import ALLOWED, CONFLICT_PLANTED, MALFORMED_PLANTED
from storefleet.verdict.result import BrokerAccount, LetterAccount, Verdict
from storefleet.verdict.table import plain_text
from tests.verdict.world import SOURCES, content, healthy, stage, view

ONE, TWO, _ = SOURCES
STRANGER = "nobody.nowhere.s1.r1"


def letter(source: str = ONE, sequence: int | None = 3, **more: object) -> Letter:
    """A letter of the sync stage about a schema."""
    values: dict[str, object] = {"at_ms": 1, "stage": "sync_stage", "reason": "schema", "detail": "no", **more}
    return msgspec.convert({"source": source, "sequence": sequence, **values}, Letter)


def heard(*letters: Letter, history: History | None = None, complete: bool = True) -> Verdict:
    """The verdict on a run with these letters."""
    result = history or healthy()
    result.letters = Letters(heard=[*letters], complete=complete)
    return check(result)


def codes(verdict: Verdict) -> tuple[list[str], list[str]]:
    """Codes of what is wrong, and of what is not known."""
    return [entry.code for entry in verdict.invalid], [entry.code for entry in verdict.unknown]


def test_a_run_without_letters_says_none() -> None:
    """Nothing is counted, nothing is printed, and no bound is one."""
    verdict = heard()
    assert (codes(verdict), verdict.dead_letters, verdict.letters, verdict.guests) == (([], []), {}, [], {})
    assert not verdict.dead_letters_at_least
    assert "Dead letters" not in plain_text(verdict)


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (letter(), f"{ONE}.3"),
        (letter(sequence=None, topic=f"lab/terminal/heartbeat/taco/west/s0001/{ONE}"), None),
        (letter("unknown", None, topic=f"lab/terminal/ask/taco/west/s0001/{ONE}"), None),
        (letter("unknown", None, topic="lab/canonical/status/taco/west/s0001"), None),
        (
            letter(STRANGER, 3, topic=f"lab/canonical/transaction/nobody/nowhere/s1/{STRANGER}", claims=ONE),
            f"{STRANGER}.3",
        ),
        (letter(reason="key_conflict"), f"{ONE}.3"),
    ],
)
def test_what_bears_a_name_of_the_fleet_and_nothing_explains_is_invalid(one: Letter, name: str | None) -> None:
    """It is named by its key, or its topic, with stage, reason and detail; the table shows it."""
    verdict = heard(one, one)
    assert codes(verdict) == (["dead_letters"], [])
    key = name or one.topic
    assert verdict.letters == [
        LetterAccount(key=key, stage="sync_stage", reason=one.reason, count=2, detail="no", first_at_ms=1, last_at_ms=1)
    ]
    assert verdict.dead_letters == {"sync_stage": {one.reason: 2}}
    assert key in plain_text(verdict).replace("\n", "").replace(" ", "")


@pytest.mark.parametrize("one", [letter(STRANGER), letter("unknown", None), letter(STRANGER, None, topic="a/b")])
def test_what_bears_no_name_of_the_fleet_is_a_guests(one: Letter) -> None:
    """Counted by stage and reason, held against nobody."""
    verdict = heard(one)
    assert (codes(verdict), verdict.guests) == (([], []), {"sync_stage": {"schema": 1}})
    assert "a guest's" in plain_text(verdict)


def test_a_planted_damage_explains_its_own_reason_alone() -> None:
    """At whichever stage; another reason under the same key is not explained."""
    history = healthy()
    assert history.ledger is not None
    history.ledger.sources[ONE].malformed[3] = "schema"
    judgement = module.judge_letters(with_letters(history, letter(), letter(stage="parm"), letter(reason="totals")))
    assert [(one.explained_by, one.reason, one.count) for one in judgement.letters] == [
        ("", "totals", 1), (MALFORMED_PLANTED, "schema", 1), (MALFORMED_PLANTED, "schema", 1),
    ]  # fmt: skip


def with_letters(history: History, *letters: Letter) -> History:
    """The same history with these letters."""
    history.letters = Letters(heard=[*letters])
    return history


@pytest.mark.parametrize(
    ("hash_of", "replayed", "explained"),
    [
        (content(ONE, 3), True, True), (b"12345678", True, True), (b"87654321", True, False), (b"", True, False),
        (b"87654321", False, True),
    ],
)  # fmt: skip
def test_a_planted_conflict_explains_the_two_contents_that_were_sent(
    hash_of: bytes, replayed: bool, explained: bool
) -> None:
    """A third content is somebody else's; where the two cannot be made again, the planted row alone tells."""
    history = healthy()
    assert history.ledger is not None
    history.ledger.sources[ONE].conflicts.add(3)
    if replayed:
        history.planted_contents[Key(ONE, 3)] = b"12345678"
    verdict = heard(letter(reason="key_conflict", content=hash_of.hex()), history=history)
    assert [one.explained_by for one in verdict.letters] == [CONFLICT_PLANTED if explained else ""]


def test_what_is_allowed_or_was_done_explains_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command or a fault explains only what came after it."""
    monkeypatch.setattr(module, "EXPLAINS", {"spoil": frozenset({"schema"})})
    history = healthy()
    history.allowed_rejections = frozenset({"crash"})
    history.interventions = [Intervention("spoil", 50)]
    letters = [letter(reason="crash"), letter(at_ms=49), letter(sequence=4, at_ms=50)]
    assert [one.explained_by for one in heard(*letters, history=history).letters] == [
        "", ALLOWED, "a command or a fault that was given before leads to it",
    ]  # fmt: skip


def test_the_field_that_differs_is_shown() -> None:
    """Where the letter kept the whole message and the event could be made again."""
    body = {"type": "transaction.control", "time": "t", "business_day_date": "d", "data": {"grand_cents": 5}}
    payload = msgspec.json.encode({**body, "data": {"grand_cents": 6}, "key": "k"})
    history = healthy()
    history.expected_bodies[Key(ONE, 3)] = body
    whole = letter(reason="key_conflict", content="00" * 8)
    whole = msgspec.structs.replace(whole, payload=payload, size_bytes=len(payload))
    (account,) = heard(whole, history=history).letters
    assert [(one.path, one.expected, one.found) for one in account.fields] == [("data.grand_cents", "5", "6")]
    for cut in (
        msgspec.structs.replace(whole, payload=payload[:-1]),
        msgspec.structs.replace(whole, payload=b"", size_bytes=0),
    ):
        assert heard(cut, history=history).letters[0].fields == []


def test_the_greater_count_is_told_and_a_lower_bound_is_called_one() -> None:
    """Killed before it could report: heard; without a broker: counted. A gap, or drops of the broker, make it a bound."""
    history = healthy()
    history.ledger.sources[ONE].malformed[3] = "schema"  # type: ignore[union-attr]
    stage(history, "views").rejects = {"schema": 4}
    stage(history, "parm").rejects = {"schema": 1}
    two = [letter(stage="parm")] * 2
    verdict = heard(*two, history=history)
    assert verdict.dead_letters == {"views": {"schema": 4}, "parm": {"schema": 2}}
    assert not verdict.dead_letters_at_least
    assert "Dead letters: 6" in plain_text(verdict)
    assert heard(*two, history=history, complete=False).dead_letters_at_least
    history.broker = BrokerAccount(dropped=1)
    verdict = heard(*two, history=history)
    assert "Dead letters: at least 6" in plain_text(verdict)


def test_letters_that_nobody_heard_are_not_known_unless_as_many_were_planted() -> None:
    """A stage counted more than was heard: whose they are, nobody knows, but planted rows without a letter may be theirs."""
    history = healthy()
    assert history.ledger is not None
    stage(history, "parm").rejects = {"schema": 2}
    history.ledger.sources[ONE].malformed.update({3: "schema", 4: "schema"})
    one = letter(stage="parm")
    assert codes(heard(one, history=history))[1] == []
    del history.ledger.sources[ONE].malformed[4]
    assert codes(heard(one, history=history))[1] == ["letters_unheard"]


def rejecting(stage_name: str = "parm", reason: str = "schema") -> History:
    """A run in which the terminal was told that the third event of ONE is rejected."""
    history = healthy()
    assert history.ledger is not None
    entries = history.ledger.sources[ONE]
    entries.rejected[3] = (stage_name, reason)
    entries.malformed[3] = reason
    if stage_name == "parm":
        stage(history, "parm").rejects = {reason: 1}
    return history


@pytest.mark.parametrize(
    ("history", "letters", "complete", "found"),
    [
        (rejecting(), [], True, ["rejected_without_letter"]),
        (rejecting(), [letter(stage="parm")], True, []),
        (rejecting(), [letter(stage="parm", sequence=4)], True, ["dead_letters", "rejected_without_letter"]),
        (rejecting(), [letter(stage="parm", reason="key_conflict")], True, ["dead_letters", "rejected_without_letter"]),
        (rejecting(), [], False, []),
        (rejecting("terminal", "oversized"), [], True, []),
        (rejecting("parm", "oversized"), [], True, ["rejected_without_letter"]),
    ],
)  # fmt: skip
def test_what_was_rejected_has_a_letter_of_its_own(
    history: History, letters: list[Letter], complete: bool, found: list[str]
) -> None:
    """Whoever rejects and posts nothing lets bad input vanish; where letters may be missing nobody can say so."""
    history.letters = Letters(heard=letters, complete=complete)
    assert [one.code for one in module.judge_letters(history).invalid] == found
    assert not module.judge_letters(history).unknown


def test_letters_beyond_the_lines_may_be_of_what_was_rejected() -> None:
    """As many as were counted under its reason, or under none."""
    for beyond, found in (
        ({"parm": {"schema": 1}}, []), ({"other": {"other": 1}}, []), ({"parm": {"totals": 1}}, ["rejected_without_letter"])
    ):  # fmt: skip
        history = rejecting()
        history.letters = Letters(beyond=beyond)
        assert [one.code for one in module.judge_letters(history).invalid] == found


def test_what_a_view_skipped_is_judged_where_no_letter_told_of_it() -> None:
    """The same rules; an id that is no key is nobody's event."""
    history = healthy()
    history.skips = [
        Skip("views", f"{ONE}.3", "schema", "no"),
        Skip("views", f"{ONE}.4", "crash"),
        Skip("views", "x", "schema"),
    ]
    verdict = heard(letter(), history=history)
    assert [(one.key, one.stage, one.reason) for one in verdict.letters] == [
        (f"{ONE}.3", "sync_stage", "schema"), (f"{ONE}.4", "views", "crash"),
    ]  # fmt: skip


def test_untrue_messages_count_by_the_name_that_they_came_under() -> None:
    """Those of the fleet are invalid; a stranger's, and other contents under a stranger's key, are guests'."""
    history = healthy()
    history.untrue_messages = {ONE: 2, STRANGER: 1, "": 1}
    reads = view(history, "gateway").read
    assert reads is not None
    reads[STRANGER] = ViewRead(intervals=[], hashes=b"", others=[(1, b"12345678")])
    verdict = heard(history=history)
    assert codes(verdict) == (["untrue_messages"], [])
    assert verdict.guests == {"canonical": {"untrue": 2}, "gateway": {"untrue": 1}}


def test_documents_under_another_id_count_by_the_name_that_they_bear() -> None:
    """A copy of an event beside it is nobody's event, and yet it is put under a terminal's name."""
    history = healthy()
    history.untrue_documents = {ONE: 1, STRANGER: 2}
    verdict = heard(history=history)
    assert codes(verdict) == (["untrue_messages"], [])
    assert verdict.guests == {"gateway": {"untrue": 2}}


def test_no_more_than_so_many_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """All are counted."""
    monkeypatch.setattr(module, "NAMED_LETTER_LIMIT", 2)
    verdict = heard(*(letter(sequence=number) for number in (1, 2, 3)))
    assert len(verdict.letters) == 2
    assert verdict.invalid[0].detail.startswith("3 sync_stage schema; the first: ")


LINES = [Header(begun_at_ms=1), letter(), letter(sequence=None), End(end_at_ms=9)]


def write(path: Path, *lines: object) -> Path:
    """A file with these lines."""
    path.write_bytes(b"".join(one if isinstance(one, bytes) else msgspec.json.encode(one) + b"\n" for one in lines))
    return path


def test_a_file_is_read_back(tmp_path: Path) -> None:
    """Letters with all their fields; complete only with an end."""
    payload = msgspec.structs.replace(letter(), payload=b"\xff\x00" * 10, size_bytes=20)
    letters = read_letters(write(tmp_path / "letters.jsonl", *LINES[:2], payload, LINES[3]))
    assert letters == Letters(heard=[letter(), payload])
    assert read_letters(write(tmp_path / "letters.jsonl", *LINES[:3])) == Letters(
        heard=[letter(), letter(sequence=None)], complete=False
    )


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b'{"at_ms":1,"stage":"pa',
        b"\xff\xff\n",
        b"[1]\n",
        b"[" * 9_000 + b"\n",
        Gap(gap_from_ms=1, gap_until_ms=2),
    ],
)
def test_what_is_torn_or_missed_makes_it_a_lower_bound(tmp_path: Path, line: object) -> None:
    """What can be read is read."""
    letters = read_letters(write(tmp_path / "letters.jsonl", *LINES[:3], line, LINES[3]))
    assert letters is not None
    assert (len(letters.heard), letters.complete) == (2, False)


@pytest.mark.parametrize(
    "content_of_file", [b"", b"{}", b"\xff", b'{"format":"storefleet-letters","version":99}\n', b"[]"]
)
def test_what_is_no_file_of_ours_is_none(tmp_path: Path, content_of_file: bytes) -> None:
    """A newer format neither."""
    assert read_letters(write(tmp_path / "letters.jsonl", content_of_file)) is None
    assert read_letters(tmp_path / "nothing.jsonl") is None
    assert BODY_BYTES < 65_536
