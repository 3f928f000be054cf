"""The state of a training on disk: what it takes to go on after a crash or a preemption as if nothing had happened.

States lie in an undeclared folder beside the outputs (Snakemake deletes declared ones when a job fails):

    .training/lock                  held by the one process that writes here
    .training/<key>/attempts.json   how often this training was started, and how the attempts ended
    .training/<key>/running.json    what an attempt noted when it began; left behind by one that was killed
    .training/<key>/000003_000120/  a state: 3 epochs and 120 steps of the fourth are done
    .training/<key>/finished/       the outputs of a training that ended, where they are kept

The key is a digest of all that decides the result, so that no state of another training is ever taken up. A state is complete
when its folder has its name, and whole when its files have the checksums of its state.json.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib import artifacts
from pipeline_lib.errors import ArtifactError, EvoPoseError

log = logging.getLogger(__name__)

FOLDER = ".training"
WAIT = 30
"""Seconds for which a training waits for another one in its place to end."""

KEPT = 2
"""Newest states of a training: should the last one be damaged, the one before it is taken up."""

SCHEMA_VERSION = 1
_STATE, _VARIABLES, _BEST = "state.json", "variables.safetensors", "best.safetensors"
_ATTEMPTS, _RUNNING = "attempts.json", "running.json"
_FINISHED, _CHECKSUMS = "finished", "sha256.json"
_SEAL = "digest"

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class State:
    """Where a training stands.

    Attributes:
        epoch: epochs that are done, with their validation.
        step: steps of the next epoch that are done.
        variables: every variable: weights, batch statistics, optimiser, random streams, metrics of the running epoch.
        best: weights of the best epoch so far; None when they are not asked for.
        rows: of history.csv.
        values: other numbers that the trainer goes on with.
    """

    epoch: int
    step: int
    variables: Tensors
    best: Tensors | None = None
    rows: Sequence[Mapping[str, Any]] = ()
    values: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """The states of one training; made by `opened`, which holds the lock."""

    def __init__(self, folder: Path, key: str) -> None:
        self._root = folder
        self.folder = folder / key
        self.folder.mkdir(exist_ok=True)
        self.attempts: dict[str, int] = self._read_attempts()

    def count(self, kind: str) -> None:
        """Count an attempt that was `started`, or how one ended, such as `preempted`."""
        self.attempts[kind] = self.attempts.get(kind, 0) + 1
        artifacts.write_json(self.folder / _ATTEMPTS, self.attempts)

    @contextmanager
    def running(self, note: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | None]:
        """Around an attempt, which `note` is kept of meanwhile; gives that of the one before if it was killed, else None."""
        path = self.folder / _RUNNING
        left = None
        with suppress(ArtifactError):
            content = artifacts.read_json(path)
            left = content if isinstance(content, dict) else None
        artifacts.write_json(path, dict(note))
        try:
            yield left
        finally:
            path.unlink(missing_ok=True)

    def save(self, state: State) -> None:
        """Write `state`; it is there in whole or not at all. Older ones but the last are removed."""
        name = f"{state.epoch:06d}_{state.step:06d}"
        temporary = self.folder / f".{name}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            artifacts.save_weights(temporary / _VARIABLES, state.variables)
            if state.best is not None:
                artifacts.save_weights(temporary / _BEST, state.best)
            content = {
                "schema_version": SCHEMA_VERSION,
                "epoch": state.epoch,
                "step": state.step,
                "rows": [dict(row) for row in state.rows],
                "values": dict(state.values),
                "sha256": {path.name: artifacts.sha256(path) for path in sorted(temporary.iterdir())},
            }
            artifacts.write_text(temporary / _STATE, _sealed(content))
            target = self.folder / name
            shutil.rmtree(target, ignore_errors=True)
            temporary.rename(target)
            _sync(self.folder)
        except OSError as error:
            raise ArtifactError(
                f"{self.folder}: the state of the training cannot be written ({error.strerror}); make room"
            ) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        for old in self._saved()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def load(self) -> State | None:
        """The newest state that is whole, or None; those that are damaged are named in the log and removed."""
        for path in reversed(self._saved()):
            try:
                return _read(path)
            except ArtifactError as error:
                log.warning("%s: a damaged state of the training is left out (%s)", path, error)
                shutil.rmtree(path, ignore_errors=True)
        return None

    def remove(self) -> None:
        """Remove everything: the training's outputs are in place."""
        shutil.rmtree(self._root, ignore_errors=True)

    def keep(self, outputs: Sequence[Path]) -> None:
        """Remove all but the outputs, which are in place: `put_back` has them for a later process, if they are deleted.

        They are links, which take no room while the outputs are there.
        """
        temporary = self.folder / f".{_FINISHED}.tmp"
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            for path in outputs:
                _link(path, temporary / path.name)
            artifacts.write_json(temporary / _CHECKSUMS, {path.name: artifacts.sha256(path) for path in outputs})
            temporary.rename(self.folder / _FINISHED)
        except (OSError, ArtifactError) as error:  # they are in place all the same
            log.warning("%s: the outputs are not kept for another run (%s)", self.folder, error)
            shutil.rmtree(temporary, ignore_errors=True)
        for path in self.folder.iterdir():
            if path.name != _FINISHED:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def put_back(self, outputs: Sequence[Path]) -> bool:
        """Put the outputs that `keep` was given in their places again, new by their times; False where they are not, or damaged."""
        kept = self.folder / _FINISHED
        if not kept.is_dir():
            return False
        try:
            wanted = artifacts.read_json(kept / _CHECKSUMS)
            if any(artifacts.sha256(kept / path.name) != wanted[path.name] for path in outputs):
                raise ArtifactError(f"{kept}: a file was changed")
        except (ArtifactError, OSError, KeyError, TypeError) as error:
            log.warning("%s: damaged, and left out (%s)", kept, error)
            shutil.rmtree(kept)
            return False
        for path in outputs:
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.unlink(missing_ok=True)
            _link(kept / path.name, temporary)
            os.utime(temporary)
            temporary.replace(path)
        return True

    def _saved(self) -> list[Path]:
        folders = (path for path in self.folder.iterdir() if path.is_dir() and path.name != _FINISHED)
        return sorted(path for path in folders if not path.name.startswith("."))

    def _read_attempts(self) -> dict[str, int]:
        with suppress(ArtifactError, TypeError, ValueError, OverflowError, AttributeError):
            content = artifacts.read_json(self.folder / _ATTEMPTS)
            return {str(kind): int(number) for kind, number in content.items()}
        return {}


@contextmanager
def opened(beside: str | os.PathLike[str], key: str) -> Iterator[Store]:
    """The states of the training `key` whose outputs lie in the folder of the file `beside`.

    Those of other trainings in this folder are removed: their settings, data or code are no longer asked for. Raises
    `EvoPoseError` when another process trains here.
    """
    folder = Path(beside).parent / FOLDER
    with _locked(folder):
        for other in folder.iterdir():
            if other.is_dir() and other.name != key:
                log.info("%s: left by another training, whose settings, data or code differ; removed", other)
                shutil.rmtree(other, ignore_errors=True)
        yield Store(folder, key)


def digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """A digest of named arrays."""
    found = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        found.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()


def key(inputs: Mapping[str, Any]) -> str:
    """A digest of `inputs` (JSON values) and of the code that computes with them."""
    content = {
        "inputs": inputs,
        "schema_version": SCHEMA_VERSION,
        "code": _code(),
        **artifacts.versions(),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _code() -> str:
    """A digest of the library's sources: also changes that are in no commit yet give other results."""
    digest = hashlib.sha256()
    root = Path(__file__).parents[1]
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sealed(content: Mapping[str, Any]) -> str:
    """`content` and its own digest as JSON; of a training that diverges not all numbers are finite."""
    plain = {key: value for key, value in content.items() if key != _SEAL}
    return json.dumps({**plain, _SEAL: hashlib.sha256(json.dumps(plain).encode()).hexdigest()}, indent=1) + "\n"


def _read(path: Path) -> State:
    content = artifacts.read_json(path / _STATE)
    try:
        if (path / _STATE).read_text(encoding="utf-8") != _sealed(content):
            raise ArtifactError(f"{_STATE} was changed")
        if content["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(f"schema version {content['schema_version']}")
        for name, expected in content["sha256"].items():
            if not (path / name).is_file() or artifacts.sha256(path / name) != expected:
                raise ArtifactError(f"{name} is missing or was changed")
        best = artifacts.load_weights(path / _BEST)[0] if _BEST in content["sha256"] else None
        variables = artifacts.load_weights(path / _VARIABLES)[0]
        return State(content["epoch"], content["step"], variables, best, content["rows"], content["values"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{_STATE} is not as this version writes it: {error!r}") from None


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with path.open("a+", encoding="utf-8") as stream:
        _wait_for(stream, folder)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        stream.flush()
        yield
        stream.truncate(0)  # where it is kept, two runs leave the same bytes


def _wait_for(stream: IO[str], folder: Path) -> None:
    """Lock `stream`; another process may be about to end, and saves its state."""
    last = time.monotonic() + WAIT
    said = False
    while True:
        try:
            return fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read().strip() or "another process"
        if time.monotonic() >= last:
            raise EvoPoseError(f"{folder.parent}: already being trained by {holder}; wait for it, or stop it") from None
        if not said:
            log.info("%s: being trained by %s; waiting up to %d s for its end", folder.parent, holder, WAIT)
            said = True
        time.sleep(0.1)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # the file system has no links
        shutil.copyfile(source, target)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
