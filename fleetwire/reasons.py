"""Why a message became a dead letter: one row a reason, the only place that lists them.

The code is a topic level, a metric label and a word in verdicts, so it is lower case, with underscores, and never changes
its meaning. ``docs/contract.md`` prints this table.
"""

from __future__ import annotations

from typing import Final

REASONS: Final[dict[str, str]] = {
    "not_utf8": "the payload or a user property is not valid UTF-8",
    "malformed_json": "the payload is no JSON document",
    "schema": "a field is missing, has the wrong type, or holds a value outside its range",
    "unknown_brand": "the topic names a brand that this fleet does not have",
    "unknown_type": "the event type is not one of the contract",
    "totals": "line items, taxes, tenders and totals do not add up",
    "topic_mismatch": "the payload or its properties contradict the topic on which it came",
    "no_key": "the message gives no usable key (source and sequence)",
    "ambiguous": "the message says something twice, in one place or in two, so that two readers would read two events",
    "oversized": "the payload is larger than the stage accepts",
    "key_conflict": "another content is stored under the same key already",
    "stage_error": "the stage raised an exception that nobody foresaw",
    "crash": "the stage, or the process that it hands on to, died three times while it handled this message",
}
