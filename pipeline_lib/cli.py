"""What every program in scripts/ shares: logging, exit codes, types of options, settings as JSON."""

import argparse
import atexit
import ctypes
import errno
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from pipeline_lib import remote
from pipeline_lib.config import SEED, Genotype
from pipeline_lib.errors import ConfigError, EvoPoseError, Preempted
from pipeline_lib.explain import explain

CONSOLE_VARIABLE = "EVOPOSE_CONSOLE_FD"
PARENT_VARIABLE = "EVOPOSE_PARENT"
USER_ERROR = 2
_PR_SET_PDEATHSIG = 1  # sys/prctl.h
SILENCE = 10.0
"""Seconds without a message after which a program says that it is still at work."""

REMEDY = "check the path, and who may read and write there"
REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, or write elsewhere")
"""What is to be done when the system refuses to read or write, by its error number."""

Settings = TypeVar("Settings", bound=BaseModel)


def run(main: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser) -> None:
    """Parse the command line and run `main`.

    An `EvoPoseError`, and a file that the system refuses to read or write, become one message on stderr and exit code 2,
    Ctrl-C one message and exit code 130, a training that was asked to end (SIGTERM) one message and exit code 143.
    """
    setup_logging()
    if CONSOLE_VARIABLE in os.environ:
        end_with_parent()
    log = logging.getLogger("evopose")
    try:
        with never_silent(parser.prog):
            main(parser.parse_args())
    except Preempted as error:
        log.warning("%s", error)
        _end(128 + signal.SIGTERM, main)
    except EvoPoseError as error:
        log.error("%s", error)
        _end(USER_ERROR, main)
    except KeyboardInterrupt:
        log.error("interrupted")
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:  # the reader of our stdout went away (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.strerror is None:  # a library's own, not the system's
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        log.error("%s%s; %s", where, error.strerror, REMEDIES.get(error.errno or 0, REMEDY))
        _end(USER_ERROR, main)
    except MemoryError:
        log.error(
            "there is not enough memory; look for a size in the inputs that is a mistake, or use a larger machine"
        )
        _end(USER_ERROR, main)


def _end(code: int, main: Callable[[argparse.Namespace], None]) -> NoReturn:
    """End with an exit code; a program that has loaded TensorFlow ends at once.

    Its threads may still be reading ahead, and at an ordinary end it would abort because of them (SIGABRT).
    """
    if main.__module__ == "__main__" and "tensorflow" in sys.modules:
        _copies.close()
        logging.shutdown()
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def end_with_parent() -> None:
    """Have the system send SIGTERM when the process that started this one dies: a job of a killed Snakemake is nobody's.

    A training then saves its state. Linux only; elsewhere such a job runs on to its end. Who has died already, while this
    program was starting, is known by `EVOPOSE_PARENT`, the parent's process id: then this one ends at once, with 143.
    """
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # Not for programs that this one starts.
    parent = os.environ.pop(PARENT_VARIABLE, None)
    if parent is not None and parent != str(os.getppid()):
        logging.getLogger("evopose").error("the Snakemake that started this program has ended, and so does the program")
        sys.exit(128 + signal.SIGTERM)


def setup_logging() -> None:
    """Log to stderr, and to the workflow's console too when a rule has sent stderr to its log file.

    Rules run with `EVOPOSE_CONSOLE_FD` naming a copy of Snakemake's own stderr, so that progress is seen while all of
    it, native messages included, lands in the rule's log.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    console = os.environ.get(CONSOLE_VARIABLE)
    if console is not None and console.isdecimal() and _is_open(int(console)) and not _same_file(int(console), 2):
        # As stderr does, it shows what is no text of its encoding, such as half a character of a file's name, as \\udXXX.
        stream = os.fdopen(os.dup(int(console)), "w", buffering=1, errors="backslashreplace")
        handlers.append(logging.StreamHandler(stream))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", handlers=handlers, force=True
    )


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except (OSError, OverflowError):
        return False
    return True


def _same_file(first: int, second: int) -> bool:
    return os.path.sameopenfile(first, second)


class _Spoken(logging.Handler):
    """Remembers when the last message was."""

    def __init__(self) -> None:
        super().__init__()
        self.at = time.monotonic()

    def emit(self, record: logging.LogRecord) -> None:
        self.at = time.monotonic()


@contextmanager
def never_silent(name: str) -> Iterator[None]:
    """Say every 10 seconds without a message that the program `name` is at work: it loads, compiles, or reads."""
    spoken, ended, started = _Spoken(), threading.Event(), time.monotonic()

    def watch() -> None:
        while not ended.wait(SILENCE / 10):
            now = time.monotonic()
            if now - spoken.at >= SILENCE:
                logging.getLogger("evopose").info("%s: at work for %.0f s", name, now - started)

    logging.getLogger().addHandler(spoken)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        logging.getLogger().removeHandler(spoken)


def data_file(text: str) -> Path:
    """An option's type: a file of data, which may be an address in a bucket; its copy is here until the program ends."""
    if not remote.is_remote(text):
        return Path(text)
    return _copies.enter_context(remote.local_copy(text))


_copies = ExitStack()
atexit.register(_copies.close)


def positive(text: str) -> int:
    """An option's type: an integer above 0."""
    if (number := _integer(text)) < 1:
        raise argparse.ArgumentTypeError(f"an integer above 0 is expected, not {text}")
    return number


def non_negative(text: str) -> int:
    """An option's type: an integer from 0 on, such as a seed."""
    if not 0 <= (number := _integer(text)) <= SEED:
        raise argparse.ArgumentTypeError(f"an integer from 0 to {SEED} is expected, not {text}")
    return number


def finite(text: str) -> float:
    """An option's type: a number that is neither infinite nor NaN."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"a finite number is expected, not {text}")
    return number


def positive_number(text: str) -> float:
    """An option's type: a finite number above 0."""
    if (number := finite(text)) <= 0:
        raise argparse.ArgumentTypeError(f"a number above 0 is expected, not {text}")
    return number


def non_negative_number(text: str) -> float:
    """An option's type: a finite number from 0 on."""
    if (number := finite(text)) < 0:
        raise argparse.ArgumentTypeError(f"a number from 0 on is expected, not {text}")
    return number


def fraction(text: str) -> float:
    """An option's type: a number between 0 and 1, both excluded."""
    if not 0 < (number := finite(text)) < 1:
        raise argparse.ArgumentTypeError(f"a number between 0 and 1 is expected, not {text}")
    return number


def share(text: str) -> float:
    """An option's type: a number from 0 to 1."""
    if not 0 <= (number := finite(text)) <= 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to 1 is expected, not {text}")
    return number


def json_value(text: str) -> Any:
    """An option's type: JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise argparse.ArgumentTypeError(f"JSON is expected ({error}), not {text[:60]}") from None


def genotype(text: str) -> Genotype:
    """An option's type: a genotype as JSON."""
    try:
        return TypeAdapter(Genotype).validate_json(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(
            f"7 x 4 integers as JSON are expected: blocks, kernel, channels / 8, stride ({explain(error)})"
        ) from None


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"an integer is expected, not {text}") from None


def settings(model: type[Settings], text: str, option: str = "--settings") -> Settings:
    """Parse the JSON `text` of `option` as `model`; raises `ConfigError` naming the option and each wrong key."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(f"{option}: {explain(error, model)}") from None
