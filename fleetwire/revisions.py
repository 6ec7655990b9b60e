"""Revision ids as Sync Gateway 3.3 makes them, equal to the published vectors.

A revision id is `generation-digest`. The digest is the MD5 of one length byte, the parent's revision id and the
canonical JSON of the body: sorted keys, no spaces, numbers as they were written, and `<`, `>`, `&`, U+2028, U+2029
escaped (source: Sync Gateway 3.3.7, db/revision.go, and Go's encoding/json).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import NoReturn

import msgspec

DELETED = "_deleted"
UNHASHED_PROPERTIES = frozenset({"_attachments", "_exp", "_id", "_purged", "_removed", "_rev", "_revisions", "_sync"})
UNHASHED_PREFIX = "_sync_"

_ESCAPES = (
    (b"<", b"\\u003c"),
    (b">", b"\\u003e"),
    (b"&", b"\\u0026"),
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
)
_REVISION_ID = re.compile(r"([1-9][0-9]{0,9})-[!#-\[\]-~]{1,200}")
_encoder = msgspec.json.Encoder(order="sorted")


def revision_id(generation: int, parent: str, body: Mapping[str, object]) -> str:
    """The id of the revision with this body that follows `parent` ("" when it is the first, generation 1).

    `_id`, `_rev` and the other properties that Sync Gateway keeps for itself are not hashed; `_deleted` is.
    Floats are written as msgspec writes them; for numbers exactly as a text had them, read it with `read_exactly`.
    """
    return revision_id_of_canonical(generation, parent, canonical_json(body))


def revision_id_of_canonical(generation: int, parent: str, canonical: bytes) -> str:
    """The same for a body that is canonical JSON already, as `canonical_json` returns it."""
    parent_bytes = parent.encode()
    material = bytes((len(parent_bytes) & 0xFF,)) + parent_bytes + canonical
    return f"{generation}-{hashlib.md5(material, usedforsecurity=False).hexdigest()}"


def canonical_json(body: Mapping[str, object]) -> bytes:
    """The body as the bytes that are hashed."""
    hashed = {name: value for name, value in body.items() if not _is_unhashed(name)}
    encoded = _encoder.encode(hashed)
    for plain, escaped in _ESCAPES:
        encoded = encoded.replace(plain, escaped)
    return encoded


def read_exactly(text: bytes) -> object:
    """Decodes JSON so that `canonical_json` writes every number as this text has it (`1e2` stays `1e2`).

    Raises ValueError for what is not JSON; how deep it is nested is for the caller to check (fleetwire.bounded_json).
    """
    return json.loads(text, parse_float=_number, parse_int=_number, parse_constant=_refuse_constant)


def generation_of(revision: str) -> int:
    """The generation in front of the dash; ValueError when the text is not a revision id of printable ASCII."""
    match = _REVISION_ID.fullmatch(revision)
    if match is None:
        raise ValueError(f"{revision[:80]!r} is not a revision id: expected generation-digest, such as 1-ca9ad2")
    return int(match[1])


def _is_unhashed(name: str) -> bool:
    return name[:1] == "_" and (name in UNHASHED_PROPERTIES or name.startswith(UNHASHED_PREFIX))


def _number(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
