"""Media types as RFC 9110, section 8.3.1, writes them: names compare without case, parameters may follow.

Read strictly: what is no media type, or gives a parameter twice, is BadPayload, and so is a ``charset`` other than UTF-8,
since JSON between systems has no other (RFC 8259, section 8.1).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from fleetwire.errors import BadPayload
from fleetwire.quoted import quoted

MAXIMUM_CHARACTERS: Final = 255
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_NAME: Final = re.compile(rf"[ \t]*({_WORD}/{_WORD})[ \t]*")
_PARAMETER: Final = re.compile(rf';[ \t]*(?:({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)"))?[ \t]*', re.DOTALL)


@lru_cache(maxsize=256)
def media_type(text: str) -> str:
    """``type/subtype`` in lower case; raises BadPayload(schema | ambiguous)."""
    found = _NAME.match(text) if len(text) <= MAXIMUM_CHARACTERS else None
    if found is None:
        raise BadPayload("schema", f"content type {quoted(text)}: expected type/subtype, such as application/json")
    charset = _parameters(text, found.end()).get("charset", "utf-8")
    if charset.lower() != "utf-8":
        raise BadPayload("schema", f"content type {quoted(text)}: expected charset utf-8, the only one for JSON")
    return found[1].lower()


def is_json(name: str) -> bool:
    """Whether a :func:`media_type` says that the content is JSON (CloudEvents JSON format 1.0.2, section 3.1)."""
    kind = name.partition("/")[2]
    return kind == "json" or kind.endswith("+json")


def _parameters(text: str, begin: int) -> dict[str, str]:
    parameters: dict[str, str] = {}
    while begin < len(text):
        found = _PARAMETER.match(text, begin)
        if found is None:
            raise BadPayload("schema", f"content type {quoted(text)}: expected ; name=value behind type/subtype")
        begin = found.end()
        if found[1] is None:
            continue  # an empty parameter is allowed
        name = found[1].lower()
        if name in parameters:
            raise BadPayload("ambiguous", f"content type {quoted(text)} gives the parameter {name} twice")
        parameters[name] = found[2] or found[3] or ""
    return parameters
