"""The lab's own record of dead letters: bounded, whole lines only, and it says when letters may be missing."""

from __future__ import annotations

import errno
from pathlib import Path

import msgspec
import pytest

from fleetwire.mqtt import Message
from fleetwire.topics import Topics
from storefleet import letter_box as module
from storefleet.letter_box import Counted, LetterBox
from storefleet.verdict.letter_file import Letter, Letters, read_letters
from tests.storefleet_units.noted import Noted
from tests.storefleet_units.test_observer import TILL, canonical, message_of

TOPICS = Topics("storefleet/test")


def dead(payload: bytes = b"bytes", reason: str = "schema", source: str = TILL.id, **properties: str) -> Message:
    """A dead letter of PARM."""
    return message_of(TOPICS.dead_letter("parm", reason, source), payload, list(properties.items()))


def box_of(folder: Path) -> LetterBox:
    """A box in this folder."""
    return LetterBox(folder / "letters.jsonl", TOPICS)


def letters_of(folder: Path) -> Letters:
    """What the file says."""
    letters = read_letters(folder / "letters.jsonl")
    assert letters is not None
    return letters


def received(folder: Path, *messages: Message) -> list[Letter]:
    """What is written down of these messages."""
    box = box_of(folder)
    for message in messages:
        box.receive(message)
    box.finish()
    box.close()
    assert letters_of(folder).complete
    return letters_of(folder).heard


def test_a_letter_is_written_as_its_topic_and_properties_tell_it(tmp_path: Path) -> None:
    """Key, detail and original topic; the bytes as they were; an event's content hash and the source that it claims."""
    event = canonical(7)
    letter, other = received(
        tmp_path,
        dead(b"\xff\x00", key=f"{TILL.id}.7", detail="no", original_topic="a/b"),
        dead(event.payload, original_topic=event.topic),
    )
    assert (letter.stage, letter.reason, letter.source, letter.sequence) == ("parm", "schema", TILL.id, 7)
    assert (letter.detail, letter.topic, letter.payload, letter.size_bytes) == ("no", "a/b", b"\xff\x00", 2)
    assert (letter.content, letter.claims) == ("", "")
    assert (other.sequence, other.claims, len(other.content)) == (None, TILL.id, 16)


def test_a_letter_about_a_document_names_the_source_that_it_claims(tmp_path: Path) -> None:
    """It came on no topic; what came on a terminal's own claims nothing, since its payload is the brand's."""
    document = b'{"_id":"copy-of-it","source":"%b"}' % TILL.id.encode()
    raw = TOPICS.terminal("transaction", TILL)
    letters = received(tmp_path, dead(document, source="unknown"), dead(document, source="x", original_topic=raw))
    assert [letter.claims for letter in letters] == [TILL.id, ""]


@pytest.mark.parametrize(
    ("message", "source", "sequence"),
    [
        (dead(source="unknown"), "unknown", None), (dead(key="no key"), TILL.id, None), (dead(sequence="5"), TILL.id, 5),
        (dead(source="x" * 5_000), "x" * 131, None), (message_of("storefleet/test/dead-letter", b""), "dead-letter", None),
        (dead(b"[" * 100_000), TILL.id, None), (dead(b'{"source":["' + TILL.id.encode() + b'"]}'), TILL.id, None),
        (dead(detail="d" * 60_000, original_topic="t" * 60_000, key="k" * 60_000), TILL.id, None),
    ],
)  # fmt: skip
def test_whatever_anybody_publishes_there_is_written_down(
    tmp_path: Path, message: Message, source: str, sequence: int | None
) -> None:
    """Cut to what a line can hold."""
    (letter,) = received(tmp_path, message)
    assert (letter.source, letter.sequence) == (source, sequence)
    assert max(map(len, (tmp_path / "letters.jsonl").read_bytes().splitlines())) < 16_384


def test_a_retained_letter_is_of_an_earlier_day(tmp_path: Path) -> None:
    """Somebody else's broker may hold some."""
    assert received(tmp_path, msgspec.structs.replace(dead(), retain=True)) == []


def test_letters_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """First without their payload, then only counted, which is said once."""
    monkeypatch.setattr(module, "BODY_LIMIT", 1)
    monkeypatch.setattr(module, "LETTER_LIMIT", 2)
    letters = received(tmp_path, *(dead(reason=reason) for reason in ("a", "b", "c", "c", "d")))
    assert [(one.reason, one.payload, one.size_bytes) for one in letters] == [("a", b"bytes", 5), ("b", b"", 5)]
    assert letters_of(tmp_path).counts() == {"parm": {"a": 1, "b": 1, "c": 2, "d": 1}}
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_kinds_that_are_counted_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever invents reasons fills no memory."""
    monkeypatch.setattr(module, "LETTER_LIMIT", 0)
    monkeypatch.setattr(module, "KINDS_COUNTED", 1)
    received(tmp_path, *(dead(reason=reason) for reason in ("a", "b", "c", "a")))
    assert letters_of(tmp_path).counts() == {"parm": {"a": 2}, "other": {"other": 2}}


def test_a_gap_makes_it_a_lower_bound(tmp_path: Path) -> None:
    """However often the loss of the connection is reported, it is one gap; without an end it is one, too."""
    box = box_of(tmp_path)
    box.receive(dead())
    assert not letters_of(tmp_path).complete
    box.begin_gap()
    box.begin_gap()
    box.end_gap()
    box.finish()
    box.close()
    assert not letters_of(tmp_path).complete
    assert (tmp_path / "letters.jsonl").read_bytes().count(b"gap_from_ms") == 1


def test_a_lab_that_goes_on_writes_behind_what_the_one_before_has_left(tmp_path: Path) -> None:
    """A torn line is lost alone; counts add up; what came between may be missing."""
    box = box_of(tmp_path)
    box.receive(dead())
    box.close()
    with (tmp_path / "letters.jsonl").open("ab") as file:
        file.write(b'{"at_ms":5,"stage":"pa')
    box = LetterBox(tmp_path / "letters.jsonl", TOPICS, missed_since_ms=1)
    box.receive(dead(reason="totals"))
    box.finish()
    box.close()
    letters = letters_of(tmp_path)
    assert ([one.reason for one in letters.heard], letters.complete) == (["schema", "totals"], False)


def test_the_first_of_each_kind_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With whose it was; all are counted by kind, as many kinds as are told apart; and that the lab was away."""
    monkeypatch.setattr(module, "KINDS_COUNTED", 2)
    noted = Noted()
    box = LetterBox(tmp_path / "letters.jsonl", TOPICS, note=noted.note)
    for reason, sequence in (("schema", 4), ("schema", 5), ("totals", 6), ("oversized", 7)):
        box.receive(dead(reason=reason, key=f"{TILL.id}.{sequence}", detail="no"))
    box.begin_gap()
    box.begin_gap()
    assert noted.told() == [
        ("dead_letter", "parm", f"schema: {TILL.id}.4: no"),
        ("dead_letter", "parm", f"totals: {TILL.id}.6: no"),
        ("heard_in_part", "lab", "the lab is away from the broker: dead letters may be missed"),
    ]
    assert box.kinds == {("parm", "schema"): Counted(f"{TILL.id}.4", 2), ("parm", "totals"): Counted(f"{TILL.id}.6", 1)}
    box.close()


def test_a_run_that_had_no_record_is_not_complete_from_now_on(tmp_path: Path) -> None:
    """A lab of an older version began it."""
    box = LetterBox(tmp_path / "letters.jsonl", TOPICS, missed_since_ms=1)
    box.finish()
    box.close()
    assert not letters_of(tmp_path).complete


class FullDisk:
    """A file on a disk that has room for half a line."""

    def __init__(self, file: object) -> None:
        self._file = file
        self.full = True

    def write(self, line: bytes) -> int:
        """Half of it, or all of it."""
        if not self.full:
            return int(self._file.write(line))  # type: ignore[attr-defined]
        self._file.write(line[: len(line) // 2])  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)


def test_a_full_disk_costs_lines_not_letters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are counted; with room again they are written down, and no half line is left."""
    box = box_of(tmp_path)
    disk = FullDisk(box._file)
    box._file = disk  # type: ignore[assignment]
    box.receive(dead())
    box.receive(dead())
    assert box.refusal == "No space left on device"
    disk.full = False
    box.receive(dead(reason="totals"))
    assert box.refusal == ""
    box.finish()
    box.close()
    letters = letters_of(tmp_path)
    assert (letters.counts(), letters.complete) == ({"parm": {"schema": 2, "totals": 1}}, True)
    assert len(caplog.records) == 1


WHOLE = {"stage": "parm", "reason": "no_key", "detail": "no", "original_topic": "a/b"}
BY_WHOM = "sent by hand, or by a stage of yours"
NO_PROPERTIES = f"user property 'detail' is missing (so are stage, reason, original_topic): {BY_WHOM}"


@pytest.mark.parametrize(
    ("topic", "properties", "first", "detail"),
    [
        (f"parm/no_key/{TILL.id}", {**WHOLE, "key": f"{TILL.id}.4"}, f"{TILL.id}.4", "no"),
        (f"parm/no_key/{TILL.id}", WHOLE, f"a message of {TILL.id} without a key", "no"),
        ("parm/no_key/unknown", WHOLE, "a message without sender and key", "no"),
        ("parm/no_key/", WHOLE, "a message without sender and key", "no"),
        ("parm/no_key/x", {**WHOLE, "detail": ""}, "a message of x without a key", "no detail is given"),
        (
            "parm/no_key/x",
            {"stage": "parm", "reason": "no_key", "original_topic": "a/b"},
            "a message of x without a key",
            f"user property 'detail' is missing: {BY_WHOM}",
        ),
        (
            "parm/no_key/x",
            {"stage": "parm"},
            "a message of x without a key",
            f"user property 'detail' is missing (so are reason, original_topic): {BY_WHOM}",
        ),
        ("parm/no_key/x", {}, "a message of x without a key", NO_PROPERTIES),
    ],
)
def test_what_a_letter_fails_to_say_is_said(
    tmp_path: Path, topic: str, properties: dict[str, str], first: str, detail: str
) -> None:
    """In the log and in the file: what its message is called, and what it lacks; never an empty place or empty quotes."""
    noted = Noted()
    box = LetterBox(tmp_path / "letters.jsonl", TOPICS, note=noted.note)
    box.receive(message_of(f"{TOPICS.root}/dead-letter/{topic}", b"", list(properties.items())))
    box.close()
    assert noted.told() == [("dead_letter", "parm", f"no_key: {first}: {detail}")]
    (letter,) = letters_of(tmp_path).heard
    assert (letter.detail, letter.source) == (detail, topic.rpartition("/")[2] or "unknown")


def test_a_letter_whose_topic_says_no_reason(tmp_path: Path) -> None:
    """It has a kind all the same, so that no table has an empty place."""
    (letter,) = received(tmp_path, message_of(f"{TOPICS.root}/dead-letter/mine", b"hello"))
    assert (letter.stage, letter.reason, letter.detail) == ("mine", "unknown", NO_PROPERTIES)
