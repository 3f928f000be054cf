"""What is wrong with values of a configuration, in words of the people who wrote it instead of pydantic's."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
PATH = r"^[\w.-]+(/[\w.-]+)*$"
MEMBER = r"^\w[\w-]*(\.[\w-]+)*(/\w[\w-]*(\.[\w-]+)*)*$"
MD5 = r"^[0-9a-f]{32}$"
ADDRESS = r"^https?://[^/]+.*[^/]$"
WEIGHTS = r"\.(h5|keras|safetensors)$"
SHARD = r"^\d+-of-\d+\.tfrecord$"
BUCKET = r"^[a-z0-9+]+://[^/]+(/[^/]+)*$"
NOT_ENDED = r"[^/]$"
PREFIX = r"^[A-Za-z0-9_.-]*$"

_PATTERNS = {
    NAME: "letters (A-Z, a-z), digits, '_', '-' and '.' are allowed, a letter or digit first",
    PATH: "a relative path of letters, digits, '_', '-' and '.' is expected",
    MEMBER: "a relative path of letters, digits, '_', '-' and '.' is expected, no part of which begins with '.'",
    MD5: "32 hexadecimal digits in lower case are expected",
    ADDRESS: "an address http://... or https://... without a slash at its end is expected",
    WEIGHTS: "a file of weights is expected, whose name ends in .safetensors, .h5 or .keras",
    SHARD: "the name of a shard beside the manifest is expected, such as 00000-of-00001.tfrecord",
    BUCKET: "an address such as gs://bucket/folder without a slash at its end is expected",
    NOT_ENDED: "a folder without a slash at its end is expected",
    PREFIX: "letters (A-Z, a-z), digits, '_', '-' and '.' are allowed, since it begins the name of a folder",
}

NUMBER, MAP = "<number>", "<map>"
"""Tags of the alternatives of a key that is a number or a map; they are no part of its name."""

_KINDS = {
    "int_type": "an integer is expected",
    "int_from_float": "an integer is expected",
    "int_parsing": "an integer is expected",
    "float_type": "a number is expected",
    "float_parsing": "a number is expected",
    "bool_type": "true or false is expected",
    "bool_parsing": "true or false is expected",
    "string_type": "text is expected",
    "tuple_type": "a list is expected",
    "dict_type": "a section is expected",
    "model_type": "a section is expected",
    "model_attributes_type": "a section is expected",
    "extra_forbidden": "unknown key, correct it or leave it out",
    "missing": "Field required, give it a value",
}

_SILENT = ("missing", "extra_forbidden", "too_long")
"""Problems that are clear without the value that was given."""

_INHERITED = ("search", "final")
_EXPONENT = re.compile(r"(?P<whole>[-+]?\d+)(?P<fraction>\.\d*)?[eE](?P<sign>[-+]?)(?P<exponent>\d+)")


def explain(error: ValidationError, model: type[BaseModel] | None = None) -> str:
    """All problems of a pydantic error on one line: where, what is wrong, and what was given.

    Of the `model` that was validated, the key that an unknown one resembles is named.
    """
    return "; ".join(dict.fromkeys(_lines(error, model)))


def _lines(error: ValidationError, model: type[BaseModel] | None) -> Iterator[str]:
    problems = error.errors()
    shared = [_same(problem, 1) for problem in problems if problem["loc"][:1] == ("train",)]
    for problem in problems:
        loc = tuple(part for part in problem["loc"] if part not in (NUMBER, MAP))
        # What is wrong in `train` is so in the trainings that take it from there.
        if loc[:1] and loc[0] in _INHERITED and loc[1:2] == ("train",) and _same(problem, 2) in shared:
            continue
        given = problem["input"]
        message = _message(problem["type"], problem["msg"], problem.get("ctx", {}), given)
        if problem["type"] == "extra_forbidden" and model is not None and (near := _nearest(model, loc)):
            message = f"unknown key, is {near} meant? correct it or leave it out"
        whole = isinstance(given, Mapping | BaseModel)  # a section would hide the message
        shown = "" if whole or problem["type"] in _SILENT else f" (given: {given!r})"
        if loc[-1:] == ("[key]",):
            loc, message = loc[:-2], f"key {loc[-2]!r}: {message}"
            shown = ""
        elif problem["type"] == "missing" and isinstance(loc[-1], int):
            # Of a list, the first value that is not there.
            absent = [other["loc"] for other in problems if other["loc"][:-1] == problem["loc"][:-1]]
            expected = 1 + max(index for *_, index in absent if isinstance(index, int))
            loc, message = loc[:-1], f"{expected} entries are expected, {len(given)} given"
        where = ".".join(map(str, loc))
        yield f"{where}: {message}{shown}" if where else f"{message}{shown}"


def _nearest(model: type[BaseModel], loc: tuple[Any, ...]) -> str | None:
    """The key of the section of `model` at `loc` that the last part of `loc` resembles, if there is one."""
    sections = [model]
    for part in loc[:-1]:
        fields = [section.model_fields[part] for section in sections if part in section.model_fields]
        # Else it is the name or place of a section in a map or list of them.
        if fields:
            sections = [one for field in fields for one in _sections(field.annotation)]
    near = get_close_matches(str(loc[-1]), dict.fromkeys(key for one in sections for key in one.model_fields), n=1)
    return near[0] if near else None


def _sections(annotation: Any) -> Iterable[type[BaseModel]]:
    """The models within a type, such as that of an optional section or of a map of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for part in get_args(annotation) for found in _sections(part)]


def _same(problem: Mapping[str, Any], depth: int) -> tuple[Any, ...]:
    """What two equal problems of trainings have in common: where (below `depth`), what, and a value, not a section."""
    given = problem["input"]
    return problem["loc"][depth:], problem["msg"], None if isinstance(given, Mapping) else given


def _message(kind: str, text: str, context: Mapping[str, Any], given: Any) -> str:
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], text)
    if kind == "too_long":
        return f"{context['max_length']} entries are expected, {context['actual_length']} given"
    message = _KINDS.get(kind, text.removeprefix("Value error, "))
    if kind in ("int_type", "float_type") and isinstance(given, str):
        message += _unquoted(given.strip())
    if kind == "string_type" and isinstance(given, int | float):
        message += "; put it into quotation marks"
    return message


def _unquoted(text: str) -> str:
    """Why YAML made text of a number, if it did."""
    if found := _EXPONENT.fullmatch(text):
        number = f"{found['whole']}{found['fraction'] or '.0'}e{found['sign'] or '+'}{found['exponent']}"
        return f"; YAML reads {text} as text: write {number}"
    try:
        float(text)
    except ValueError:
        return ""
    return "; write it without quotation marks"
