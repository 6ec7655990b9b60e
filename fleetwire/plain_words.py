"""What is wrong with a value, in a person's words: a place, what is expected there, what was found.

msgspec tells it in Python's and JSON's words (``Expected `int`, got `str` - at `$.stores```) and shows regular
expressions. Whoever shows one of its errors to somebody, in a refusal, an answer or a dead letter, says it through
:func:`plain`. A text that has to have a form declares it with :func:`matching`, which takes the form in words, too.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct

from fleetwire.nearest_word import meant, one_of

SHOWN_CHARACTERS: Final = 80
_FORMS: Final[dict[str, str]] = {}
"""Regular expression -> the form in words."""
_WORDS: Final[dict[str, str]] = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "a table of names and values",
    "bytes": "bytes in base64",
    "datetime": "a time",
    "date": "a date",
}
_BOUND: Final = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}
_UNITS: Final = {"array": "entries", "object": "entries", "str": "characters", "bytes": "bytes"}

_PLACE: Final = re.compile(r" - at (`key` in )?`\$(.*)`$", re.DOTALL)
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_LENGTH: Final = re.compile(r"Expected `(\w+)` of length (>=|<=)? ?(\d+)(?:, got (\d+))?")
_LIMIT: Final = re.compile(r"Expected `(\w+)` (>=|<=|>|<) (\S+)")
_FORM: Final = re.compile(r"Expected `str` matching regex (['\"])(.*)\1", re.DOTALL)
_TYPE: Final = re.compile(r"Expected `([^`]+)`(?:, got `([^`]+)`)?")
_UNKNOWN_KEY: Final = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_KEY: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_NO_WORD: Final = re.compile(r"Invalid enum value (.*)", re.DOTALL)

Path = tuple[str | int, ...]


class Wrong(NamedTuple):
    """``path``: keys and places of a list on the way to what is wrong; ``said``: what is wrong with it, place and all."""

    path: Path
    said: str


def matching(pattern: str, form: str) -> Meta:
    """The constraint of a text of this form; ``form`` says it to people: ``a time of day such as 09:30``."""
    _FORMS[pattern] = form
    return Meta(pattern=pattern, description=form)


def plain(error: msgspec.MsgspecError | Exception) -> str:
    """One of msgspec's errors in plain words, ``data.lines[0].quantity: expected a whole number, found a text``.

    Any other error, and what msgspec has no value for (bytes that are no JSON), is passed on in its own words.
    """
    text, path, of_key = _parted(str(error))
    said = _said(text)
    place = as_text(path)
    return f"{place}{' (a key)' if of_key else ''}: {said}" if place else said


def tell_wrong(error: msgspec.ValidationError, values: object, shape: type[Struct]) -> Wrong:
    """The same where values and their shape are at hand: names what was found, which words there are, the nearest key."""
    text, path, of_key = _parted(str(error))
    path = _exact(path, values, shape)
    shape_there, value = _type_at(shape, path), _value_at(values, path)
    if unknown := _UNKNOWN_KEY.fullmatch(text):
        known = _keys_of(shape_there)
        said = f"unknown key {unknown[1]!r:.{SHOWN_CHARACTERS}}; {meant(unknown[1], known, there_are='known keys:')}"
        return Wrong((*path, unknown[1]), f"{_before(path)}{said}")
    if _MISSING_KEY.fullmatch(text) or not path:
        return Wrong(path, f"{_before(path)}{_said(text)}")
    if of_key:
        return Wrong(path, f"{_before(path)}its keys: {_said(text)}")
    shown = f"{value!r:.{SHOWN_CHARACTERS}}"
    words = _literals(shape_there)
    if words and isinstance(value, str):
        key, before = _last_key(path)
        near = meant(value, words)
        hint = f"; {near}" if near.startswith("did you") else ""
        return Wrong(path, f"{before}{key} {shown}: expected {one_of(words)}{hint}")
    key, before = _last_key(path)
    return Wrong(path, f"{before}{key} = {shown}: {expected(text, shape_there)}")


def expected(text: str, shape: Any = None) -> str:
    """``expected a whole number from 1 to 100,000``: with both limits where the shape has them."""
    limits = _limits(shape)
    kind = next((kind for kind in (int, float) if kind in _alternatives(shape)), None)
    if limits and kind is not None and (_LIMIT.match(text) or _TYPE.match(text)):
        return f"expected {_WORDS[kind.__name__]} {limits}"
    return _said(text).partition(", found ")[0]


def as_text(path: Path) -> str:
    """``brands[0].dialect``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _parted(text: str) -> tuple[str, Path, bool]:
    """The sentence, the path, and whether it is about a key."""
    place = _PLACE.search(text)
    if place is None:
        return text, (), False
    steps: Path = tuple(int(number) if number.isdigit() else name or number for name, number in _STEP.findall(place[2]))
    return text[: place.start()], steps, place[1] is not None


def _said(text: str) -> str:
    for pattern, words in _SENTENCES.items():
        if match := pattern.fullmatch(text):
            return words(match)
    return text


def _say_length(match: re.Match[str]) -> str:
    kind, bound, number, found = match.groups()
    how_many = f"{_BOUND[bound]} {number}" if bound else number
    return f"expected {how_many} {_UNITS.get(kind, 'entries')}" + (f", found {found}" if found else "")


def _say_limit(match: re.Match[str]) -> str:
    return f"expected {_WORDS.get(match[1], match[1])} of {_BOUND[match[2]]} {number_text(float(match[3]))}"


def _say_form(match: re.Match[str]) -> str:
    pattern = match[2].replace("\\\\", "\\")
    return f"expected {_FORMS.get(pattern) or _FORMS.get(match[2]) or 'a text of another form'}"


def _say_type(match: re.Match[str]) -> str:
    wanted, found = match.groups()
    said = "expected " + one_of(_WORDS.get(one.strip(), one.strip()) for one in wanted.split("|"))
    return said + (f", found {_WORDS.get(found, found)}" if found else "")


_SENTENCES: Final[dict[re.Pattern[str], Callable[[re.Match[str]], str]]] = {
    _LENGTH: _say_length,
    _LIMIT: _say_limit,
    _FORM: _say_form,
    _TYPE: _say_type,
    _UNKNOWN_KEY: lambda match: f"unknown key {match[1]!r:.{SHOWN_CHARACTERS}}",
    _MISSING_KEY: lambda match: f"the key {match[1]!r} is missing",
    _NO_WORD: lambda match: f"{match[1][:SHOWN_CHARACTERS]} is none of the words that can stand here",
}


def number_text(number: float) -> str:
    """``65535``, ``100,000``, ``0.01``: grouped where it is long."""
    if not float(number).is_integer():
        return f"{number:g}"
    return f"{int(number):,}" if abs(number) >= 100_000 else str(int(number))


def _limits(shape: Any) -> str:
    metas = [one for one in get_args(shape)[1:] if isinstance(one, Meta)] if get_origin(shape) is Annotated else []
    least = next((meta.ge for meta in metas if meta.ge is not None), None)
    most = next((meta.le for meta in metas if meta.le is not None), None)
    if least is not None and most is not None:
        return f"from {number_text(float(least))} to {number_text(float(most))}"
    return f"of at least {number_text(float(least))}" if least is not None else ""


def _before(path: Path) -> str:
    return f"{as_text(path)}: " if path else ""


def _last_key(path: Path) -> tuple[str, str]:
    """``dialect`` and ``brands[0]: ``; of ``clock_skews_s["*.west"]`` name and place stay together."""
    *before, last = path
    if isinstance(last, int) or not before:
        return as_text(path), ""
    return last, _before(tuple(before))


def _bare(shape: Any) -> Any:
    while get_origin(shape) is Annotated:
        shape = get_args(shape)[0]
    return shape


def _alternatives(shape: Any) -> tuple[Any, ...]:
    bare = _bare(shape)
    return tuple(map(_bare, get_args(bare))) if get_origin(bare) in (Union, types.UnionType) else (bare,)


def _literals(shape: Any) -> tuple[Any, ...]:
    return next((get_args(one) for one in _alternatives(shape) if get_origin(one) is Literal), ())


def _keys_of(shape: Any) -> list[str]:
    structs = (one for one in _alternatives(shape) if isinstance(one, type) and issubclass(one, Struct))
    return next(([field.encode_name for field in msgspec.structs.fields(one)] for one in structs), [])


def _type_at(shape: Any, path: Iterable[str | int]) -> Any:
    for step in path:
        shape = _type_below(shape, step)
    return shape


def _type_below(shape: Any, step: str | int) -> Any:
    for one in _alternatives(shape):
        if isinstance(one, type) and issubclass(one, Struct):
            return get_type_hints(one, include_extras=True).get(str(step))
        if get_origin(one) is dict:
            return get_args(one)[1]
        if isinstance(step, int) and get_args(one):
            return get_args(one)[0]
    return None


def _value_at(values: object, path: Iterable[str | int]) -> object:
    for step in path:
        if isinstance(values, (list, tuple)) and isinstance(step, int) and step < len(values):
            values = values[step]
        elif isinstance(values, Mapping):
            values = values.get(str(step))
        else:
            return None
    return values


def _exact(path: Path, values: object, shape: Any) -> Path:
    """msgspec writes ``[...]`` for an entry of a table: which one it is, is found by trying."""
    found: list[str | int] = []
    for step in path:
        table, below = _value_at(values, found), _type_below(_type_at(shape, found), step)
        if step == "..." and isinstance(table, Mapping):
            step = next((str(key) for key, value in table.items() if not _fits(value, below)), "...")  # noqa: PLW2901
        found.append(step)
    return tuple(found)


def _fits(value: object, shape: Any) -> bool:
    try:
        msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return False
    return True
