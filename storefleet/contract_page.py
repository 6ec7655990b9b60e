"""``docs/contract.md`` as the code's own tables tell it: ``python -m storefleet.contract_page`` prints the page.

A test compares the page with this module's output, so that the page cannot say what the code does not do.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any, Final

import msgspec

from fleetwire import (
    documents,
    envelope,
    events,
    identity,
    ledger_format,
    outcomes,
    reasons,
    settings,
    topics,
    troubles,
    witness,
)
from fleetwire.documents import DeviceDocument, TransactionDocument
from fleetwire.events import EVENT_TYPES, CanonicalEvent, Heartbeat, StoreStatus, TerminalState
from fleetwire.outcomes import Ask, Outcome, Rejection
from fleetwire.settings import PREFIX, VARIABLES
from fleetwire.troubles import TROUBLES
from fleetwire.witness import Holding, Snapshot, Step, ViewRead
from storefleet.limits_table import LIMITS
from storefleet.plan import JOURNEY, STAGES, TERMINALS_HOP
from storefleet.verdict import letter_file, log_file, run_format
from storefleet.verdict.letter_file import Beyond, End, Gap, Header, Letter
from storefleet.verdict.log_file import KINDS, Happening, LogHeader
from storefleet.verdict.result import INVALID_REASONS, UNKNOWN_REASONS
from storefleet.verdict.run_format import FinalRead, Plan
from storefleet.verdict.seal import DroppedFile, FileMark, Seal, Slimmed, TableMark

INTRODUCTION: Final = """# The contract

*Made from the code by `python -m storefleet.contract_page`; a test keeps it true.*

This is what a stage in any language needs to take part in a lab: topics, envelope, messages, settings, outcomes. What a
stage must acknowledge, and when, stands in [guarantees.md](guarantees.md); why it is so, in [decisions/](decisions/).
"""


def page() -> str:
    """The whole page."""
    return "\n".join(_parts()).rstrip() + "\n"


def _parts() -> Iterator[str]:
    yield INTRODUCTION
    for heading, module in (("Identity and key", identity), ("Topics", topics), ("Envelope", envelope)):
        yield _section(heading, module)
    yield from _messages()
    yield _section("Outcomes and asks", outcomes)
    yield from map(_shape, (Outcome, Rejection, Ask))
    yield "## Dead letters\n\n" + _text(reasons)
    yield _table(("reason", "when"), ((f"`{code}`", text) for code, text in reasons.REASONS.items()))
    yield _section("Documents in the gateway", documents)
    yield from map(_shape, (TransactionDocument, DeviceDocument))
    yield "## What a stage is told\n\n" + _text(settings)
    yield _table(("variable", "meaning"), ((f"`{PREFIX}{name}`", text) for name, text in VARIABLES.items()))
    yield "## Stages and hops\n\nIn the order of the journey.\n"
    yield _stages()
    yield _section("Witnesses", witness)
    yield from map(_shape, (Snapshot, Holding, ViewRead, Step))
    yield _section("Troubles of a stage", troubles)
    yield _table(("trouble", "in words"), ((f"`{code}`", words) for code, words in TROUBLES.items()))
    yield "## Limits\n\nWhat comes over the network is bounded; what is given up for a bound is counted or said.\n"
    limits = ((limit.what, f"{limit.number:,}", limit.beyond, limit.told) for limit in LIMITS)
    yield _table(("limit", "number", "beyond it", "told by"), limits)
    yield _section("The ledger", ledger_format)
    yield f"```sql{ledger_format.DDL}```\n"
    yield _section("The run folder", run_format)
    yield from map(_shape, (Plan, Seal, FileMark, TableMark, Slimmed, DroppedFile, FinalRead))
    yield _section("Dead letters of a run", letter_file)
    yield from map(_shape, (Header, Letter, Gap, Beyond, End))
    yield _section("The log of a run", log_file)
    yield from map(_shape, (LogHeader, Happening))
    kinds = ((f"`{kind}`", row.words, "yes" if row.trouble else "") for kind, row in KINDS.items())
    yield _table(("kind", "in words", "bad news"), kinds)
    yield "## The verdict\n"
    yield "Exit status, everywhere: 0 valid; 1 invalid; 2 it did not begin; 3 unknown; 130 stopped by a signal.\n"
    yield _table(("invalid because", "meaning"), ((f"`{code}`", text) for code, text in INVALID_REASONS.items()))
    rows = ((f"`{code}`", text, known) for code, (text, known) in UNKNOWN_REASONS.items())
    yield _table(("unknown because", "meaning", "it would be known by"), rows)


def _messages() -> Iterator[str]:
    yield _section("Messages", events)
    yield "### Events\n\nOne JSON object on `canonical/transaction`, QoS 1:\n"
    yield _shape(CanonicalEvent)
    for name, shape in EVENT_TYPES.items():
        yield f"#### data of `{name}`\n"
        yield _shape(shape)
    yield "### Registers and heartbeats\n"
    for shape in (TerminalState, Heartbeat, StoreStatus):
        yield _shape(shape)


def _section(heading: str, module: ModuleType) -> str:
    return f"## {heading}\n\n{_text(module)}"


def _text(module: ModuleType) -> str:
    return _references(inspect.cleandoc(module.__doc__ or "")) + "\n"


def _references(text: str) -> str:
    """Sphinx roles and double back-quotes as plain Markdown."""
    for role in (":class:", ":data:", ":mod:", ":func:", ":meth:"):
        text = text.replace(role, "")
    return text.replace("``", "`")


def _shape(shape: Any) -> str:
    schema = msgspec.json.schema(shape, schema_hook=lambda _: {"description": "any JSON"})
    definition = schema["$defs"][shape.__name__]
    required = set(definition.get("required", ()))
    rows = (
        (f"`{name}`", _type(field), "yes" if name in required else "")
        for name, field in definition["properties"].items()
    )
    text = _references(inspect.cleandoc(shape.__doc__ or ""))
    return f"**{shape.__name__}**: {text}\n\n" + _table(("field", "type", "required"), rows)


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if field.get("type") == "array":
        inner = field.get("items") or {}
        return f"array of {_type(inner)}" if inner else "array"
    limits = [f"{word} {field[key]}" for key, word in _LIMITS if key in field]
    return " ".join([str(field.get("type", "any JSON")), *limits])


_LIMITS: Final = (
    ("minimum", "from"),
    ("maximum", "to"),
    ("minLength", "of at least"),
    ("maxLength", "of at most"),
    ("pattern", "like"),
)


def _stages() -> str:
    emulator = ("`emulator`", "`emulator`", f"`{TERMINALS_HOP}`", "")
    rows = [emulator]
    for name in JOURNEY:
        row = STAGES[name]
        hops = ", ".join(f"`{hop}`" for hop in (row.broker_hop, row.gateway_hop) if hop)
        rows.append((f"`{name}`", f"`{row.module}`", hops, ", ".join(row.behind)))
    return _table(("stage", "module", "hops", "behind it"), rows)


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(headings)
    lines = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())
