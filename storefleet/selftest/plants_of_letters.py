"""Anomalies of dead letters, and of what is published under a terminal's name."""

from __future__ import annotations

from collections import Counter
from typing import Final

from msgspec.structs import replace

from fleetwire.content import HASH_BYTES
from fleetwire.identity import Key
from fleetwire.witness import ViewRead
from storefleet.selftest.findings import Findings, dead_letter_line, guest_line, letter_line, reason_line
from storefleet.selftest.ground import Event, Ground, Impossible
from storefleet.selftest.plants_of_events import GHOST, wrong_in_one_view
from storefleet.verdict.letter_file import Letter, Letters
from storefleet.verdict.letters import CONFLICT, CONFLICT_PLANTED, POSTING_STAGES

NEVER_PLANTED: Final = "stage_error"
SYNC_STAGE: Final = "sync_stage"


def _letters(ground: Ground) -> Letters:
    letters = ground.history.letters
    if letters is None:
        raise Impossible("this run has no record of its dead letters")
    return letters


def _post(ground: Ground, letter: Letter) -> Findings:
    letters = _letters(ground)
    ground.set(ground.history, "letters", replace(letters, heard=[*letters.heard, letter]))
    return Counter([dead_letter_line(letter.stage, letter.reason)])


def _stage(ground: Ground) -> str:
    present = [stage.stage for stage in ground.history.stages if stage.stage in POSTING_STAGES]
    return ground.choose(present, "stage that posts dead letters")


def unexplained(ground: Ground) -> Findings:
    """An event that was sent once, as it should be, is in a dead letter all the same."""
    event, stage = ground.event(), _stage(ground)
    reason = ground.random.choice([CONFLICT, "schema", "topic_mismatch", NEVER_PLANTED])
    ground.set(ground.history, "allowed_rejections", frozenset())
    found = _post(ground, Letter(at_ms=1, stage=stage, reason=reason, source=event.source, sequence=event.sequence))
    return found + Counter([letter_line(stage, reason, event.key), reason_line("invalid", "dead_letters")])


def without_key(ground: Ground) -> Findings:
    """Something that bears no key came under a terminal's topic, or a store's."""
    event, stage = ground.event(), _stage(ground)
    names = event.source.split(".")
    topic = ground.random.choice(
        [f"lab/terminal/ask/{'/'.join(names[:3])}/{event.source}", f"lab/canonical/status/{'/'.join(names[:3])}"]
    )
    ground.set(ground.history, "allowed_rejections", frozenset())
    found = _post(ground, Letter(at_ms=1, stage=stage, reason="malformed_json", source="unknown", topic=topic))
    return found + Counter([letter_line(stage, "malformed_json", topic), reason_line("invalid", "dead_letters")])


def _plant_conflict(ground: Ground) -> tuple[Event, list[bytes]]:
    """An event whose terminal has sent two contents on purpose, and these two."""
    event = ground.event()
    entries = ground.ledger.sources[event.source]
    ground.amend_source(event.source, conflicts=entries.conflicts | {event.sequence})
    other = ground.random.randbytes(HASH_BYTES)
    ground.put(ground.history.planted_contents, Key(*event), other)
    return event, [entries.hash_of(event.sequence), other]


def other_content_than_planted(ground: Ground) -> Findings:
    """A letter about a planted conflict holds a content that the terminal did not send."""
    event, _ = _plant_conflict(ground)
    ground.set(ground.history, "allowed_rejections", frozenset())
    found = _post(ground, _conflict_letter(event, ground.random.randbytes(HASH_BYTES)))
    return found + Counter([letter_line(SYNC_STAGE, CONFLICT, event.key), reason_line("invalid", "dead_letters")])


def planted_conflict(ground: Ground) -> Findings:
    """A letter about a planted conflict, twice: a stage died before it had acknowledged."""
    event, contents = _plant_conflict(ground)
    letter = _conflict_letter(event, ground.random.choice(contents))
    found = _post(ground, letter) + _post(ground, letter)
    return found + Counter({letter_line(SYNC_STAGE, CONFLICT, "", CONFLICT_PLANTED): 2})


def _conflict_letter(event: Event, content: bytes) -> Letter:
    return Letter(
        at_ms=1,
        stage=SYNC_STAGE,
        reason=CONFLICT,
        source=event.source,
        sequence=event.sequence,
        content=content.hex(),
    )


def of_a_guest(ground: Ground) -> Findings:
    """Somebody who is no terminal of this fleet has published rubbish."""
    stage = _stage(ground)
    found = _post(ground, Letter(at_ms=1, stage=stage, reason="schema", source=GHOST, sequence=1))
    return found + Counter([guest_line(stage, "schema")])


def second_content(ground: Ground) -> Findings:
    """Under the key of an event a view has seen another content, behind the right one."""
    view, event = ground.event_view(), ground.event()
    assert view.read is not None
    read = view.read[event.source]
    other = (event.sequence, ground.random.randbytes(HASH_BYTES))
    ground.put(view.read, event.source, _with_other(read, other))
    return wrong_in_one_view(ground, event, view)


def _with_other(read: ViewRead, other: tuple[int, bytes]) -> ViewRead:
    return replace(read, others=[*read.others, other])


def untrue_messages(ground: Ground) -> Findings:
    """What bears no key was published for canonical events, under a terminal's topic and under a stranger's."""
    event = ground.event()
    ground.set(ground.history, "untrue_messages", {event.source: 1, GHOST: 2})
    guests = Counter({guest_line("canonical", "untrue"): 2})
    return guests + Counter([reason_line("invalid", "untrue_messages")])


def letters_unheard(ground: Ground) -> Findings:
    """A stage has counted a letter that nobody heard, and nothing of its kind was planted."""
    _letters(ground)
    posting = [stage for stage in ground.history.stages if stage.stage in POSTING_STAGES]
    stage = ground.choose(posting, "stage that posts dead letters")
    count = stage.rejects.get(NEVER_PLANTED, 0) + 1
    ground.set(stage, "rejects", {**stage.rejects, NEVER_PLANTED: count})
    return Counter([dead_letter_line(stage.stage, NEVER_PLANTED), reason_line("unknown", "letters_unheard")])


def letters_missed(ground: Ground) -> Findings:
    """The lab did not hear for a while: what it counts is a lower bound, and called one."""
    found = of_a_guest(ground)
    ground.set(ground.history, "letters", replace(_letters(ground), complete=False))
    return found + Counter(["dead letters: at least"])
