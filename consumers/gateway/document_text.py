"""Documents as text: checks what a client sent, takes out the properties that Sync Gateway keeps for itself, and puts
stored documents together again. Bodies stay the bytes they were, in one line whatever white space came in
(:mod:`fleetwire.one_line`); they are neither decoded nor encoded on the way.
"""

import functools
from collections.abc import Sequence
from typing import Any

import msgspec

from consumers.gateway.database import Edit, LocalEdit, StoredDocument
from consumers.gateway.errors import Refusal
from fleetwire import bounded_json
from fleetwire.one_line import one_line
from fleetwire.revisions import DELETED, canonical_json, generation_of, read_exactly

LOCAL_PREFIX = "_local/"
MAXIMUM_ID_LENGTH = 250
REVISIONS_KEPT = 50

Properties = dict[str, msgspec.Raw]

_TAKEN_OUT = frozenset({"_id", "_rev", "_revisions", "_deleted", "_attachments"})
_REFUSED = {
    "_sync": (400, "document-top level property '_sync' is a reserved internal property"),
    "_purged": (400, "user defined top-level property '_purged' is not allowed in document body"),
    "_removed": (404, "Document revision is not accessible"),
    "_exp": (400, "_exp is not supported: this gateway keeps documents until they are deleted"),
}
_REFUSED_PREFIX = "_sync_"
_REFUSED_PREFIX_REASON = "user defined top-level properties that start with '_sync_' are not allowed in document body"


class Revisions(msgspec.Struct):
    """The `_revisions` property: `start` is the generation of the first of `ids`, which are digests, newest first."""

    start: int
    ids: list[str]


_properties_decoder = bounded_json.Decoder(Properties)
_text_decoder = bounded_json.Decoder(str)
_bool_decoder = bounded_json.Decoder(bool)
_revisions_decoder = bounded_json.Decoder(Revisions)
_any_decoder = bounded_json.Decoder(Any)
encode = msgspec.json.Encoder().encode


def checked_json(payload: bytes) -> bytes:
    """The text in one line, when a reader of the feed can decode it. Raises Refusal 400.

    Decoded as raw members, bad UTF-8, half characters and numbers beyond all range would pass: so all is decoded once.
    """
    if not payload:
        raise Refusal(400, "Document body is empty")
    try:
        _any_decoder.decode(payload)
    except (UnicodeDecodeError, msgspec.MsgspecError) as error:
        raise invalid_json(error) from error
    return one_line(payload)


def read_properties(payload: bytes) -> Properties:
    """The top-level properties of one JSON object. Raises Refusal 400."""
    text = checked_json(payload)
    try:
        return _properties_decoder.decode(text)
    except msgspec.ValidationError as error:
        raise Refusal(400, "Document body must be JSON") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise invalid_json(error) from error


def invalid_json(error: Exception) -> Refusal:
    """The refusal of a text that does not parse."""
    return Refusal(400, f'Invalid JSON: "{error}"')


def new_revision(properties: Properties, document_id: str, parent: str) -> Edit:
    """An edit whose revision the gateway makes, following `parent`. Raises Refusal."""
    body = _join_body(properties)
    deleted = is_deleted(properties)
    return Edit(
        id=checked_id(document_id),
        body=body,
        channels=_channels(properties),
        deleted=deleted,
        parent=checked_revision(parent) if parent else "",
        canonical=_canonical(body, properties),
    )


def tombstone(document_id: str, parent: str) -> Edit:
    """The edit that deletes a document. Raises Refusal."""
    return new_revision({DELETED: msgspec.Raw(b"true")}, document_id, parent)


def existing_revision(properties: Properties, document_id: str) -> Edit:
    """An edit that brings its own revision and history (new_edits=false). Raises Refusal."""
    return Edit(
        id=checked_id(document_id),
        body=_join_body(properties),
        channels=_channels(properties),
        deleted=is_deleted(properties),
        history=_history(properties),
    )


def local_edit(properties: Properties, document_id: str) -> LocalEdit:
    """A checkpoint to write; all properties with an underscore in front are dropped. Raises Refusal."""
    kept = {name: value for name, value in properties.items() if name[:1] != "_"}
    return LocalEdit(
        id=checked_local_id(document_id), revision=text_property(properties, "_rev"), body=_join_body(kept)
    )


def text_property(properties: Properties, name: str) -> str:
    """A property that is text; "" when it is absent, null or something else, as Sync Gateway reads it."""
    value = properties.get(name)
    if value is None:
        return ""
    try:
        return _text_decoder.decode(value)
    except msgspec.ValidationError:
        return ""


def is_deleted(properties: Properties) -> bool:
    """Whether `_deleted` is true. Raises Refusal 400 when it is no boolean."""
    value = properties.get(DELETED)
    if value is None:
        return False
    try:
        return _bool_decoder.decode(value)
    except msgspec.ValidationError as error:
        raise Refusal(400, "_deleted must be true or false") from error


def checked_id(document_id: str) -> str:
    """The id itself. Raises Refusal 400 when it is empty, longer than 250 characters or begins with `_`."""
    if not document_id or len(document_id) > MAXIMUM_ID_LENGTH or document_id[0] == "_" or "\0" in document_id:
        raise Refusal(400, "Invalid doc ID")
    return document_id


def checked_local_id(document_id: str) -> str:
    """The id of a checkpoint, without `_local/`. Raises Refusal 400."""
    if not document_id or len(document_id) > MAXIMUM_ID_LENGTH or "\0" in document_id:
        raise Refusal(400, "Invalid doc ID")
    return document_id


def checked_revision(revision: str) -> str:
    """The revision id itself. Raises Refusal 400."""
    try:
        generation_of(revision)
    except ValueError as error:
        raise Refusal(400, "Invalid revision ID") from error
    return revision


def render_document(document: StoredDocument, *, with_revisions: bool = False) -> bytes:
    """The document as a GET shows it."""
    extra = b',"_revisions":' + _render_revisions(document) if with_revisions else b""
    return render_body(document.id, document.revision, document.deleted, document.body or b"", extra)


def render_body(document_id: str, revision: str, deleted: bool, body: bytes, extra: bytes = b"") -> bytes:
    """One JSON object of the id, the revision, and the members in `body` and `extra`."""
    tombstone_mark = b',"_deleted":true' if deleted else b""
    return b'{"_id":%b,"_rev":"%b"%b%b%b}' % (
        encode(document_id),
        revision.encode(),
        tombstone_mark,
        body,
        extra,
    )


def _render_revisions(document: StoredDocument) -> bytes:
    digests = [revision.partition("-")[2] for revision in (document.revision, *document.ancestors)]
    return encode({"start": generation_of(document.revision), "ids": digests})


def _join_body(properties: Properties) -> bytes:
    pieces: list[bytes | msgspec.Raw] = []
    for name, value in properties.items():
        if name[:1] == "_" and _is_taken_out(name, value):
            continue
        pieces.append(_member(name))
        pieces.append(value)
    body = b"".join(pieces)
    try:
        bounded_json.check_depth(body, bounded_json.DOCUMENT_DEPTH - 1)  # an object is still to stand around it
    except msgspec.DecodeError as error:
        raise invalid_json(error) from error
    return body


@functools.lru_cache(maxsize=4096)
def _member(name: str) -> bytes:
    return b"," + encode(name) + b":"


def _is_taken_out(name: str, value: msgspec.Raw) -> bool:
    refused = _REFUSED.get(name)
    if refused is not None:
        raise Refusal(*refused)
    if name.startswith(_REFUSED_PREFIX):
        raise Refusal(400, _REFUSED_PREFIX_REASON)
    if name == "_attachments" and _any_decoder.decode(value):
        raise Refusal(400, "attachments are not supported by this gateway")
    return name in _TAKEN_OUT


def _canonical(body: bytes, properties: Properties) -> bytes:
    try:
        value = read_exactly(b"{" + body[1:] + b"}")
        assert isinstance(value, dict)
        if DELETED in properties:
            value[DELETED] = properties[DELETED]
        return canonical_json(value)
    except ValueError as error:
        raise invalid_json(error) from error


def _channels(properties: Properties) -> tuple[str, ...]:
    """What the default sync function does, `channel(doc.channels)`: a text or an array of texts, anything else none."""
    raw = properties.get("channels")
    if raw is None:
        return ()
    try:
        value: Any = _any_decoder.decode(raw)
    except msgspec.MsgspecError as error:
        raise invalid_json(error) from error
    names = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    channels = tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name))
    for name in channels:
        if "," in name or "\0" in name:
            raise Refusal(400, f'Illegal channel name "{name}"')
    return channels


def _history(properties: Properties) -> tuple[str, ...]:
    raw = properties.get("_revisions")
    if raw is None:
        revision = text_property(properties, "_rev")
        if not revision:
            raise Refusal(400, "Bad _revisions")
        return (checked_revision(revision),)
    try:
        revisions = _revisions_decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise Refusal(400, "Bad _revisions") from error
    return _expand(revisions.start, revisions.ids[:REVISIONS_KEPT], len(revisions.ids))


def _expand(start: int, digests: Sequence[str], count: int) -> tuple[str, ...]:
    if not digests or start < count:
        raise Refusal(400, "Bad _revisions")
    return tuple(checked_revision(f"{start - age}-{digest}") for age, digest in enumerate(digests))
