"""Runs programs as a user would and judges what they say of a malformed input."""

import contextlib
import importlib.util
import io
import logging
import os
import random
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from pipeline_lib import cli

ROOT = Path(__file__).parents[2]
Change = Callable[[Path, random.Random], None]

# A remedy is a sentence in the imperative, or says what would have been right.
VERBS = (
    *("check", "choose", "complete", "convert", "correct", "delete", "download", "evaluate", "expected", "get", "give"),
    *("install", "leave", "look", "lower", "make", "move", "name", "predict", "put", "raise", "replace", "run", "save"),
    *(
        "say",
        "search",
        "set",
        "unset",
        "update",
        "use",
        "validate",
        "write",
        "allowed",
        "are known",
        "is unknown",
        "choose from",
        "should be",
        "should have",
    ),
    *("required", "unrecognized"),
)
REMEDY = re.compile(rf"\b({'|'.join(VERBS)})\b")


@dataclass(frozen=True)
class Case:
    """A malformed input.

    Attributes:
        name: unique; the seed of its random changes is made of it.
        kind: of input.
        change: makes the good world (the current folder) malformed.
        command: program in scripts/, or one of `readers`, and its arguments; they refer to the world's files.
        file: what the message has to name: the file, the option, or the key of the configuration.
        item: what it has to name within that, as a regular expression.
    """

    name: str
    kind: str
    change: Change
    command: Sequence[str]
    file: str
    item: str = ""


@dataclass(frozen=True)
class Said:
    """What came of a program: exit code, its last message (all lines of it), and everything on stderr."""

    code: Any
    message: str
    stderr: str

    @property
    def template(self) -> str:
        """The message without what is the case's own: paths, values, numbers."""
        text = re.sub(r"\(.*\)", "", self.message, flags=re.DOTALL)
        text = re.sub(r"'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}", "Q", text)
        text = re.sub(r"\S*/\S*|\b[\w.-]+\.(json|jpg|csv|yaml|h5|keras|safetensors|tfrecord|zip)\b", "P", text)
        return " ".join(re.sub(r"-?\d[\d.,x-]*", "N", text).split())


def seed(name: str) -> random.Random:
    return random.Random(zlib.crc32(name.encode()))


@cache
def program(name: str) -> Any:
    """The module of a program in scripts/, or a reader of `tests.corpus.readers`."""
    from tests.corpus import readers

    if name in readers.READERS:
        return SimpleNamespace(main=readers.READERS[name], parser=readers.parser)
    spec = importlib.util.spec_from_file_location(f"scripts_{name}", ROOT / f"scripts/{name}.py")
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:], root.level = handlers, level


def run(command: Sequence[str]) -> Said:
    """A program in this process, in the current folder, through the same `cli.run` as from a shell; foreign errors pass."""
    made, stderr = program(command[0]), io.StringIO()
    code: Any = 0
    with (
        _own_logging(),
        mock.patch.object(sys, "argv", [f"{command[0]}.py", *command[1:]]),
        mock.patch("os.fsync", new=lambda stream: None),
        contextlib.redirect_stderr(stderr),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            cli.run(made.main, made.parser())
        except SystemExit as end:
            code = end.code
    return Said(code, last_message(stderr.getvalue()), stderr.getvalue())


def last_message(stderr: str) -> str:
    """The last message of a log, or of argparse."""
    found = re.split(r"^\d{4}-\d\d-\d\d [\d:,]+ (?:INFO|WARNING|ERROR) |^\S+: error: ", stderr, flags=re.MULTILINE)
    return found[-1].strip()


def applied(case: Case, folder: Path) -> Said:
    """What a program says of a case; `folder` holds a good world of its own."""
    with contextlib.chdir(folder), mock.patch.dict(os.environ):
        case.change(Path(), seed(case.name))
        return run(case.command)


def problems(case: Case, said: Said) -> list[str]:
    """What is wrong with what a program said of a malformed input."""
    found = []
    if said.code != cli.USER_ERROR:
        found.append(f"exit code {said.code}")
    if "Traceback" in said.stderr:
        found.append("a traceback")
    if case.file not in said.message:
        found.append(f"{case.file} is not named")
    if not re.search(case.item, said.message):
        found.append(f"{case.item} is not named")
    if not REMEDY.search(said.message):
        found.append("no remedy")
    if "\n" in said.message and "trainings failed" not in said.message:  # of which each is listed
        found.append("several lines")
    return found
