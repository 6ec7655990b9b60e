"""What is bounded, at which number, and how a user hears of it: a table of ``docs/contract.md`` by the code's constants."""

from __future__ import annotations

from typing import Final, NamedTuple

from consumers.feed import fold_file, lines
from consumers.sync_stage import stage as sync_stage
from consumers.sync_stage import status_writer, suspects
from consumers.views import view
from fleetwire import bounded_json, control, dead_letters, gateway_client, message_key, outcomes, troubles, witness
from parm_stub import applied, register_publisher, store_status
from parm_stub import stage as parm
from storefleet import (
    broker,
    contents,
    control_server,
    gateway_contents,
    names_borne,
    observatory,
    observer,
    remembered,
    run_log,
    run_record,
    served,
    under_way,
)
from storefleet.verdict import letter_file, log_file, result


class Limit(NamedTuple):
    """``told``: the counter or the class that says that the limit was hit; "" where nothing is given up for it."""

    what: str
    number: int
    beyond: str
    told: str = ""


LIMITS: Final = (
    Limit(
        "unresolved events of a terminal on the wire", outcomes.WINDOW, "the others wait in its outbox", "`unresolved`"
    ),
    Limit("arrays and objects inside each other, in any JSON", bounded_json.MAXIMUM_DEPTH, "it counts as no JSON"),
    Limit(
        "the same in the data of an event, and in one document",
        bounded_json.DOCUMENT_DEPTH,
        "a dead letter (`malformed_json`); the gateway answers 400",
    ),
    Limit("events in PARM's hands", parm.BACKLOG_LIMIT, "it stops reading", "`in_hand`, `paused`"),
    Limit(
        "bytes of a payload that are searched for the key of a structured event that cannot be read",
        message_key.READ_BYTES,
        "no key: the dead letter has none, and the terminal is not told",
    ),
    Limit("events in the sync stage's hands", sync_stage.BACKLOG_LIMIT, "it stops reading", "`in_hand`, `paused`"),
    Limit(
        "suspects of earlier runs that the sync stage remembers", suspects.REMEMBERED_LIMIT, "the oldest are forgotten"
    ),
    Limit(
        "terminals that PARM knows",
        store_status.MAXIMUM_TERMINALS,
        "their state is ignored",
        "`terminals_refused_total`",
    ),
    Limit(
        "sources whose outcomes PARM tells, where nobody stands behind it",
        applied.SOURCE_LIMIT,
        "those silent longest are forgotten: what a terminal then asks for, it sends again",
    ),
    Limit(
        "intervals of all these sources",
        applied.INTERVAL_LIMIT,
        "those silent longest are forgotten: what a terminal then asks for, it sends again",
    ),
    Limit("registers on PARM's way to the broker", register_publisher.UNDER_WAY_LIMIT, "they follow one by one"),
    Limit(
        "dead letters under way that nobody waits for",
        dead_letters.LETTERS_ASIDE,
        "counted as rejects, not written",
        "`dead_letters_unwritten_total`",
    ),
    Limit("bytes of a line of the changes feed", lines.MAXIMUM_LINE_BYTES, "skipped, by its id", "`oversized`"),
    Limit("rows of `skipped` that a final read tells of a view", fold_file.TOLD_SKIPS, "the oldest are told"),
    Limit(
        "bytes of an answer that a final read asks for over HTTP",
        served.LIMIT_BYTES,
        "the view was not read",
        "`no_final_read`",
    ),
    Limit(
        "rows of `skipped` in the file of Poseidon or of a view",
        fold_file.MAXIMUM_SKIPPED_ROWS,
        "no row; from Poseidon a letter and `rejected` once, beyond 11,000 letters under way neither",
        "`skipped_unkept_total`, `dead_letters_unwritten_total`",
    ),
    Limit("rows that a view shows", view.MAXIMUM_ROWS, "not shown"),
    Limit(
        "stores whose status the sync stage knows", status_writer.MAXIMUM_STORES, "their status is ignored, and logged"
    ),
    Limit("bytes of an answer of the gateway", gateway_client.MAXIMUM_ANSWER_BYTES, "an error"),
    Limit("sources in each set of a witness", witness.SOURCE_LIMIT, "not noted", "`unnoted_total`, `witness_full`"),
    Limit(
        "characters of all sources in each set of a witness",
        witness.NAME_LIMIT,
        "not noted",
        "`unnoted_total`, `witness_full`",
    ),
    Limit("intervals in each set of a witness", witness.INTERVAL_LIMIT, "not noted", "`unnoted_total`, `witness_full`"),
    Limit(
        "intervals in what a view says that it holds (sources and characters as in a witness)",
        witness.INTERVAL_LIMIT,
        "not told",
        "`unnoted_total`, `witness_full`",
    ),
    Limit("registers of a view in a witness", witness.REGISTER_LIMIT, "not noted", "`unnoted_total`, `witness_full`"),
    Limit("events whose times a stage keeps for `trace`", witness.JOURNEY_LIMIT, "the oldest are forgotten"),
    Limit("events of the broker's own final read", observer.REMEMBERED_LIMIT, "there is none", "`no_final_read`"),
    Limit("sources of these events", witness.SOURCE_LIMIT, "there is none", "`no_final_read`"),
    Limit(
        "messages that our own broker keeps for a lab that reads them itself",
        broker.QUEUED_FOR_A_READER,
        "dropped, by the broker's own count",
        "`heard_in_part`",
    ),
    Limit("sources that are named by what bears no key", names_borne.SOURCES, "the others are counted together"),
    Limit("contents that it remembers under one key", remembered.OTHERS_OF_A_KEY, "further ones say no more"),
    Limit(
        "dead letters that a run writes down",
        letter_file.LETTER_LIMIT,
        "counted by stage and reason; nobody knows whose they are",
        "`letters_unheard`",
    ),
    Limit("of them with their payload", letter_file.BODY_LIMIT, "written down without it"),
    Limit("bytes of the payload of such a letter", letter_file.BODY_BYTES, "cut"),
    Limit("messages with a dead letter that a verdict names", result.NAMED_LETTER_LIMIT, "counted"),
    Limit("happenings in the log of a run", log_file.HAPPENING_LIMIT, "counted", "`unkept` in the log"),
    Limit("of one kind and party", run_log.KIND_LIMIT, "counted", "`unkept` in the log"),
    Limit("happenings that wait while the disk has no room", run_log.WAITING_LIMIT, "counted", "`unkept` in the log"),
    Limit("troubles that a stage tells at once", troubles.TROUBLES_LIMIT, "its report is refused", "`refused_reports`"),
    Limit("commands that a run records", run_record.COMMAND_LIMIT, "not recorded", "`commands_unkept`"),
    Limit(
        "events whose contents a running lab compares, of the ledger and of the gateway each",
        contents.EVENT_LIMIT,
        "compared by number alone; of the gateway no `wait --converged` ends in time",
        "the lab's log",
    ),
    Limit(
        "events under way whose place a running lab knows",
        under_way.EVENT_LIMIT,
        "in no backlog and no lag",
        "the lab's log",
    ),
    Limit(
        "events of the gateway whose numbers lie far beyond their source's others",
        gateway_contents.FAR_LIMIT,
        "no `wait --converged` ends in time",
        "the lab's log",
    ),
    Limit(
        "bytes of a control line",
        control.LINE_LIMIT,
        "of ours: an error instead of it; of a peer: the connection ends",
    ),
    Limit("bytes of the one control line before `hello` is answered", control.HELLO_LIMIT, "the connection ends"),
    Limit("stage instances that the lab hears on the broker", observer.HOST_LIMIT, "not heard"),
    Limit("bytes of what such an instance says", observer.HOST_BYTES, "not heard"),
    Limit(
        "stalls that the lab keeps, of the machine and of stages each",
        observatory.STALL_LIMIT,
        "further ones excuse nothing",
    ),
    Limit("control connections", control_server.CONNECTION_LIMIT, "closed at once"),
    Limit("control connections before `hello`", control_server.STRANGER_LIMIT, "closed at once"),
)
