"""Every fault and every accepted variant of an envelope, one row each, and how a row goes out in each mode.

A row says what becomes of the attributes that our own terminals send, and what must come of it: an accepted event, or the
reason and the words of its dead letter, and whether its terminal is told. ``{where}`` in the words is the place where the
mode has its attributes, ``{source}`` the row's terminal.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from fleetwire.envelope import JSON, STRUCTURED, Envelope
from fleetwire.identity import MAXIMUM_SEQUENCE, Key, Terminal
from fleetwire.topics import Topics
from tests.parm_live.running import TOPICS, UTC_TIME, raw_control

SEQUENCE: Final = 317
MODES: Final = ("binary", "structured", "mqtt311")
"""``mqtt311``: structured, without content type and user properties."""
Attributes = list[tuple[str, Any]]


def nothing(_: Attributes) -> Attributes:
    return []


class Row(NamedTuple):
    """``change`` makes the row's attributes of sound ones. ``reason`` is empty for what is accepted, with ``attempt``."""

    change: Callable[[Attributes], Attributes] = list
    reason: str = ""
    words: str = ""
    told: bool = True
    attempt: int = 1
    content_types: Mapping[str, str | None] = MappingProxyType({})
    """Mode -> another content type than the usual; a mode that is not named has the usual one."""
    modes: tuple[str, ...] = MODES
    payload: Callable[[bytes], bytes] = bytes
    """What becomes of the payload as it goes out."""
    data: str = '"data":{data}'
    """How a structured payload says its data."""
    beside: Callable[[Attributes], Attributes] = nothing
    """The user properties of a structured message."""


class Sent(NamedTuple):
    """One message as it goes to the broker."""

    topic: str
    properties: list[tuple[str, str]]
    payload: bytes
    content_type: str | None


def terminal_of(number: int) -> Terminal:
    """The terminal of the row in this place of the table."""
    return Terminal("taco", "west", "s0001", f"r{number:03}")


def message(row: Row, mode: str, number: int, topics: Topics = TOPICS) -> Sent:
    """The row's message in this mode."""
    terminal = terminal_of(number)
    data = raw_control(SEQUENCE, terminal.id)
    sound: Attributes = [*Envelope(Key(terminal.id, SEQUENCE), "transaction.control", UTC_TIME).properties()]
    attributes = row.change(sound)
    content_type = row.content_types.get(mode, {"binary": JSON, "structured": STRUCTURED}.get(mode))
    topic = topics.terminal("transaction", terminal)
    if mode == "binary":
        return Sent(topic, [(name, _text(value)) for name, value in attributes], row.payload(data), content_type)
    members = [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in attributes]
    if row.data:
        members.append(row.data.replace("{data}", data.decode()).replace("{base64}", b64encode(data).decode()))
    payload = row.payload(("{" + ",".join(members) + "}").encode())
    beside = [(name, _text(value)) for name, value in row.beside(sound)] if mode == "structured" else []
    return Sent(topic, beside, payload, content_type)


def words_of(row: Row, mode: str, number: int) -> str:
    """The words that the dead letter begins with."""
    where = "user property" if mode == "binary" else "member"
    return row.words.replace("{where}", where).replace("{source}", terminal_of(number).id)


def _text(value: object) -> str:
    """An attribute in a user property (CloudEvents 1.0.2, "Type System")."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def without(*names: str) -> Callable[[Attributes], Attributes]:
    return lambda attributes: [pair for pair in attributes if pair[0] not in names]


def saying(**values: object) -> Callable[[Attributes], Attributes]:
    return lambda attributes: [*dict(attributes, **values).items()]


def also(*pairs: tuple[str, object]) -> Callable[[Attributes], Attributes]:
    return lambda attributes: [*attributes, *pairs]


def again(name: str) -> Callable[[Attributes], Attributes]:
    return lambda attributes: [*attributes, (name, dict(attributes)[name])]


def renamed(name: str, other: str) -> Callable[[Attributes], Attributes]:
    return lambda attributes: [(other if one == name else one, value) for one, value in attributes]


def cut(payload: bytes) -> bytes:
    return payload[:-20]


def types(binary: str | None, structured: str | None) -> dict[str, str | None]:
    return {"binary": binary, "structured": structured}


TYPED: Final = ("binary", "structured")
IN_PAYLOAD: Final = ("structured", "mqtt311")
NO_NUMBER: Final = f"expected a number from 1 to {MAXIMUM_SEQUENCE}"
DEEP: Final = "[" * 20_000 + "]" * 20_000

ROWS: Final[dict[str, Row]] = {
    # -- accepted
    "as our terminals send it": Row(),
    "in another order": Row(lambda attributes: attributes[::-1]),
    "a later attempt": Row(saying(attempt="3"), attempt=3),
    "no attempt": Row(without("attempt")),
    "an empty attempt": Row(saying(attempt="")),
    "attempt null": Row(saying(attempt=None)),
    "no time": Row(without("time")),
    "an empty time": Row(saying(time="")),
    "time null": Row(saying(time=None)),
    "the time with another offset": Row(saying(time="2026-03-02T15:30:00.000+01:30")),
    "the time without a fraction, in small letters": Row(saying(time="2026-03-02t14:00:00z")),
    "the time with nine places": Row(saying(time="2026-03-02T14:00:00.000000000Z")),
    "sequence as an integer": Row(saying(sequence=SEQUENCE)),
    "attempt as an integer": Row(saying(attempt=2), attempt=2),
    "an extension that is a truth value": Row(also(("training", True), ("vip", False))),
    "an extension that is an integer": Row(also(("lane", -4), ("aisle", 0))),
    "an extension without a value": Row(also(("lane", None))),
    "an id that is no key": Row(saying(id="7c6f2b1e-5d0a-4a36-9f39-0b8c6a0f4a10")),
    "no trace parent": Row(without("traceparent")),
    "a property of another kind of name": Row(also(("X-Request-ID", "7"), ("user property", "8"))),
    "media types in capitals": Row(content_types=types("APPLICATION/JSON", "Application/CloudEvents+JSON")),
    "media types with a charset": Row(
        content_types=types("application/json; charset=utf-8", "application/cloudevents+json;charset=UTF-8")
    ),
    "media types with a quoted parameter": Row(
        content_types=types('application/json ; Charset="utf-8"', 'application/cloudevents+json; v="1; a=\\"b\\""')
    ),
    "another media type of JSON": Row(content_types={"binary": "application/vnd.acme.till+json"}, modes=("binary",)),
    "text/json": Row(content_types={"binary": "text/json"}, modes=("binary",)),
    "no content type": Row(content_types=types(None, None)),
    "an empty content type": Row(content_types=types("", "")),
    "a datacontenttype that agrees": Row(also(("datacontenttype", "Application/JSON; charset=utf-8"))),
    "data in base 64": Row(data='"data_base64":"{base64}"', modes=IN_PAYLOAD),
    "white space around": Row(payload=lambda payload: b" \r\n\t" + payload.replace(b'":', b'" :\n') + b"\n"),
    "escaped names": Row(payload=lambda payload: payload.replace(b'"source"', rb'"\u0073ource"'), modes=IN_PAYLOAD),
    "user properties that repeat the payload": Row(beside=list, modes=("structured",)),
    "user properties that say nothing": Row(
        beside=lambda _: [("time", ""), ("attempt", ""), ("source", "")], modes=("structured",)
    ),
    "user properties in another notation": Row(
        also(("datacontenttype", "application/json")),
        beside=lambda _: [("time", "2026-03-02T14:00:00Z"), ("datacontenttype", "Application/JSON; v=1")],
        modes=("structured",),
    ),
    "a trace parent of the sending beside it": Row(
        beside=lambda _: [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")],
        modes=("structured",),
    ),
    "no content type, and properties that are none of the event's": Row(
        beside=lambda _: [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), ("hop", "2")],
        content_types={"structured": None},
        modes=("structured",),
    ),
    # -- missing
    "no source": Row(without("source"), "no_key", "{where} 'source' is missing: add "),
    "no sequence": Row(without("sequence"), "no_key", "{where} 'sequence' is missing: add ", told=False),
    "no specversion": Row(without("specversion"), "schema", "{where} 'specversion' is missing: add "),
    "no id": Row(without("id"), "schema", "{where} 'id' is missing: add "),
    "no type": Row(without("type"), "unknown_type", "{where} 'type' is missing: add "),
    "an empty source": Row(saying(source=""), "no_key", "{where} 'source' is missing: add "),
    "an empty sequence": Row(saying(sequence=""), "no_key", "{where} 'sequence' is missing: add ", told=False),
    "an empty specversion": Row(saying(specversion=""), "schema", "{where} 'specversion' is missing: add "),
    "an empty id": Row(saying(id=""), "schema", "{where} 'id' is missing: add "),
    "an empty type": Row(saying(type=""), "unknown_type", "{where} 'type' is missing: add "),
    "source null": Row(saying(source=None), "no_key", "{where} 'source' is missing: add "),
    "sequence null": Row(saying(sequence=None), "no_key", "{where} 'sequence' is missing: add ", told=False),
    "two missing": Row(without("source", "type"), "no_key", "{where} 'source' is missing (so is type): add "),
    "all but one missing": Row(
        without("sequence", "specversion", "id", "type"),
        "no_key",
        "{where} 'sequence' is missing (so are specversion, id, type): add ",
        told=False,
    ),
    "a source by another name": Row(
        renamed("source", "Source"), "no_key", "{where} 'source' is missing; 'Source' is another name: add "
    ),
    "an id by another name": Row(renamed("id", "ID"), "schema", "{where} 'id' is missing; 'ID' is another name: add "),
    # -- wrong
    "a source of two words": Row(
        saying(source="taco.west"), "no_key", "{where} source='taco.west': expected a terminal's id such as "
    ),
    "a source in capitals": Row(
        saying(source="TACO.west.s0001.r01"),
        "no_key",
        "{where} source='TACO.west.s0001.r01': expected a terminal's id such as ",
    ),
    "a source that is an address": Row(
        saying(source="https://example.com/till"),
        "no_key",
        "{where} source='https://example.com/till': expected a terminal's id such as ",
    ),
    "somebody else's source": Row(
        saying(source="taco.west.s0002.r01"),
        "topic_mismatch",
        "source taco.west.s0002.r01 came on the topic of {source}",
    ),
    "sequence 0": Row(saying(sequence="0"), "no_key", f"{{where}} sequence='0': {NO_NUMBER}", told=False),
    "a negative sequence": Row(saying(sequence=-1), "no_key", f"{{where}} sequence='-1': {NO_NUMBER}", told=False),
    "a sequence with zeros": Row(
        saying(sequence="0317"), "no_key", f"{{where}} sequence='0317': {NO_NUMBER}", told=False
    ),
    "a sequence with a sign": Row(
        saying(sequence="+317"), "no_key", f"{{where}} sequence='+317': {NO_NUMBER}", told=False
    ),
    "a sequence in words": Row(saying(sequence="one"), "no_key", f"{{where}} sequence='one': {NO_NUMBER}", told=False),
    "a truth value as sequence": Row(
        saying(sequence=True), "no_key", f"{{where}} sequence='true': {NO_NUMBER}", told=False
    ),
    "a sequence in other digits": Row(
        saying(sequence="\u0663"), "no_key", f"{{where}} sequence='\u0663': {NO_NUMBER}", told=False
    ),
    "a sequence beyond its range": Row(
        saying(sequence=MAXIMUM_SEQUENCE + 1),
        "no_key",
        f"{{where}} sequence='{MAXIMUM_SEQUENCE + 1}': {NO_NUMBER}",
        told=False,
    ),
    "another sequence than the data's": Row(
        saying(sequence="318"), "topic_mismatch", "sequence: 318 outside, 317 in the payload"
    ),
    "specversion 0.3": Row(
        saying(specversion="0.3"), "schema", "{where} specversion='0.3': only CloudEvents 1.0 is read"
    ),
    "specversion 1": Row(saying(specversion=1), "schema", "{where} specversion='1': only CloudEvents 1.0 is read"),
    "specversion 1.0 and a space": Row(
        saying(specversion="1.0 "), "schema", "{where} specversion='1.0 ': only CloudEvents 1.0 is read"
    ),
    "an unknown type": Row(
        saying(type="storefleet.poem.v1"),
        "unknown_type",
        "{where} type='storefleet.poem.v1': expected an event type such as ",
    ),
    "a type's short form": Row(
        saying(type="transaction.control"),
        "unknown_type",
        "{where} type='transaction.control': expected an event type such as ",
    ),
    "the next version of a type": Row(
        saying(type="storefleet.transaction.control.v2"),
        "unknown_type",
        "{where} type='storefleet.transaction.control.v2': expected an event type such as ",
    ),
    "another type than the data's": Row(
        saying(type="storefleet.terminal.alert.v1"),
        "topic_mismatch",
        "type: 'terminal.alert' outside, 'transaction.control' in the payload",
    ),
    "attempt 0": Row(saying(attempt=0), "schema", "{where} attempt='0': expected a number from 1 to 1000000"),
    "an attempt in words": Row(
        saying(attempt="first"), "schema", "{where} attempt='first': expected a number from 1 to 1000000"
    ),
    "another time than the data's": Row(
        saying(time="2026-03-02T14:00:00.001Z"),
        "topic_mismatch",
        "time: '2026-03-02T14:00:00.001Z' outside, '2026-03-02T14:00:00.000Z' in the payload",
    ),
    "a time that is none": Row(
        saying(time="yesterday"),
        "topic_mismatch",
        "time: 'yesterday' outside, '2026-03-02T14:00:00.000Z' in the payload",
    ),
    "a time without an offset": Row(
        saying(time="2026-03-02T14:00:00.000"),
        "topic_mismatch",
        "time: '2026-03-02T14:00:00.000' outside, '2026-03-02T14:00:00.000Z' in the payload",
    ),
    # -- said twice
    "source twice": Row(again("source"), "ambiguous", "attribute 'source' is given twice; leave one out"),
    "sequence twice": Row(again("sequence"), "ambiguous", "attribute 'sequence' is given twice; leave one out"),
    "two sequences": Row(
        also(("sequence", "318")), "ambiguous", "attribute 'sequence' is given twice; leave one out", told=False
    ),
    "two sources": Row(
        also(("source", "taco.west.s0002.r01")),
        "ambiguous",
        "attribute 'source' is given twice; leave one out",
        told=False,
    ),
    "type twice": Row(again("type"), "ambiguous", "attribute 'type' is given twice; leave one out"),
    "two attempts": Row(also(("attempt", "2")), "ambiguous", "attribute 'attempt' is given twice; leave one out"),
    "specversion twice": Row(again("specversion"), "ambiguous", "attribute 'specversion' is given twice"),
    "an extension twice": Row(
        also(("lane", "1"), ("lane", "2")), "ambiguous", "attribute 'lane' is given twice; leave one out"
    ),
    "a source twice, once by an escaped name": Row(
        also(("sou-rce", "taco.west.s0002.r01")),
        "ambiguous",
        "attribute 'source' is given twice; leave one out",
        told=False,
        payload=lambda payload: payload.replace(b'"sou-rce"', rb'"sou\u0072ce"'),
        modes=IN_PAYLOAD,
    ),
    "data twice": Row(
        data='"data":{data},"data":{}', reason="ambiguous", words="attribute 'data' is given twice", modes=IN_PAYLOAD
    ),
    "data in two notations": Row(
        data='"data":{data},"data_base64":"e30="',
        reason="ambiguous",
        words="members 'data' and 'data_base64' are both given; leave one out",
        modes=IN_PAYLOAD,
    ),
    "data beside the payload": Row(
        also(("data", "{}")), "ambiguous", "user property 'data' is given: the data are the payload", modes=("binary",)
    ),
    "data in base 64 beside the payload": Row(
        also(("data_base64", "e30=")),
        "ambiguous",
        "user property 'data_base64' is given: the data are the payload",
        modes=("binary",),
    ),
    "a type beside it that is another": Row(
        beside=saying(type="storefleet.terminal.alert.v1"),
        reason="ambiguous",
        words="attribute 'type': the user property says 'storefleet.terminal.alert.v1', the payload 'storefleet.trans",
        modes=("structured",),
    ),
    "a time beside it that is another": Row(
        beside=saying(time="2026-03-02T14:00:01Z"),
        reason="ambiguous",
        words="attribute 'time': the user property says '2026-03-02T14:00:01Z', the payload '2026-03-02T14:00:00.000Z'",
        modes=("structured",),
    ),
    "a datacontenttype beside it that is another": Row(
        also(("datacontenttype", "application/json")),
        beside=lambda _: [("datacontenttype", "text/json")],
        reason="ambiguous",
        words="attribute 'datacontenttype': the user property says 'text/json', the payload 'application/json'",
        modes=("structured",),
    ),
    "a sequence beside it that is another": Row(
        beside=lambda _: [("sequence", "318")],
        reason="ambiguous",
        words="attribute 'sequence': the user property says '318', the payload '317'",
        told=False,
        modes=("structured",),
    ),
    "an extension beside it that is another": Row(
        also(("lane", 4)),
        beside=lambda _: [("lane", "5")],
        reason="ambiguous",
        words="attribute 'lane': the user property says '5', the payload '4'",
        modes=("structured",),
    ),
    "an attempt beside it alone": Row(
        without("attempt"),
        beside=lambda _: [("attempt", "2")],
        reason="ambiguous",
        words="attribute 'attempt': the user property says '2', the payload nothing",
        modes=("structured",),
    ),
    # -- media types
    "data that are no JSON": Row(
        content_types={"binary": "text/plain"},
        reason="schema",
        words="data of content type 'text/plain': expected application/json",
        modes=("binary",),
    ),
    "a datacontenttype that is no JSON": Row(
        also(("datacontenttype", "application/xml")),
        "schema",
        "data of content type 'application/xml': expected application/json",
    ),
    "a datacontenttype in another charset": Row(
        also(("datacontenttype", "application/json; charset=latin-1")),
        "schema",
        "content type 'application/json; charset=latin-1': expected charset utf-8",
    ),
    "a datacontenttype that is not the content type": Row(
        also(("datacontenttype", "text/json")),
        "ambiguous",
        "content type 'application/json', but user property 'datacontenttype'='text/json'",
        modes=("binary",),
    ),
    "an event format that is not read": Row(
        content_types=types("application/cloudevents+avro", "application/cloudevents-batch+json"),
        reason="schema",
        words="content type 'application/cloudevents",
        modes=TYPED,
    ),
    "a media type that is none": Row(
        content_types=types("json", "application/cloudevents+json/1"),
        reason="schema",
        words="content type '",
        modes=TYPED,
    ),
    "a media type in another charset": Row(
        content_types=types("application/json;charset=utf-16", "application/cloudevents+json; charset=ascii"),
        reason="schema",
        words="content type 'application/",
        modes=TYPED,
    ),
    "a charset twice": Row(
        content_types=types(
            "application/json;charset=utf-8;charset=utf-8", "application/cloudevents+json;charset=utf-8;CHARSET=utf-8"
        ),
        reason="ambiguous",
        words="content type 'application/",
        modes=TYPED,
    ),
    # -- values and payloads of structured mode
    "a sequence with a fraction": Row(
        saying(sequence=317.0), "schema", "member 'sequence': expected a text", told=False, modes=IN_PAYLOAD
    ),
    "a source in an array": Row(
        saying(source=["taco.west.s0001.r01"]), "schema", "member 'source': expected a text", modes=IN_PAYLOAD
    ),
    "an extension that is an object": Row(
        also(("lane", {"id": "3"})), "schema", "member 'lane': expected a text", modes=IN_PAYLOAD
    ),
    "an extension with a control character": Row(
        also(("lane", "3\x00")), "schema", "member 'lane': expected a text", modes=IN_PAYLOAD
    ),
    "an extension with half a character": Row(
        also(("lane", "\ud800")), "malformed_json", "structured CloudEvent: JSON is malformed", modes=IN_PAYLOAD
    ),
    "no data": Row(data="", reason="schema", words="member 'data' is missing: ", modes=IN_PAYLOAD),
    "data in base 64 that is none": Row(
        data='"data_base64":"e30"',
        reason="schema",
        words="member 'data_base64'=b'\"e30\"': expected text in base 64",
        modes=IN_PAYLOAD,
    ),
    "data null": Row(data='"data":null', reason="schema", words="", modes=IN_PAYLOAD),
    "a payload that is cut off": Row(payload=cut, reason="malformed_json", words=""),
    "a payload that is not UTF-8": Row(
        payload=lambda payload: payload.replace(b"op7", b"\xff\xfe"), reason="not_utf8", words="byte "
    ),
    "data nested without end": Row(
        data=f'"data":{DEEP}',
        reason="malformed_json",
        words="structured CloudEvent: JSON is nested more than 200 deep",
        modes=IN_PAYLOAD,
    ),
    "an array of events": Row(
        payload=lambda payload: b"[" + payload + b"]",
        reason="no_key",
        words="structured CloudEvent: expected a JSON object",
        told=False,
        modes=("structured",),
    ),
    "nothing but data": Row(
        change=nothing,
        data='"eventKind":"staffAction"',
        reason="no_key",
        words="user property 'source' is missing (so are sequence, specversion, id, type): add mosquitto_pub -V 5",
        told=False,
        modes=("mqtt311",),
    ),
}
