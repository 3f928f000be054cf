"""Files are whole or not there, equal content gives equal bytes, and damage is named."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pipeline_lib import artifacts
from pipeline_lib.errors import ArtifactError

ROOT = Path(__file__).parents[2]
TENSORS = {
    "stem_conv/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "bn/gamma": np.array([1.5, -2.5], np.float32),
    "steps": np.array(7, np.int64),
}


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), artifacts.atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        assert temporary.parent == tmp_path  # another file system could not be renamed into place
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_appears_whole_and_its_folder_is_made(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with artifacts.atomic_path(path) as temporary:
        temporary.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    artifacts.write_json(path, "old")
    script = (
        "import sys, time\n"
        "from pipeline_lib import artifacts\n"
        "with artifacts.atomic_path(sys.argv[1]) as temporary:\n"
        "    with temporary.open('w') as stream:\n"
        "        stream.write('\"half')\n"
        "        stream.flush()\n"
        "        print('writing', flush=True)\n"
        "        time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, path], cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "writing\n"
        writer.send_signal(signal.SIGKILL)
    assert writer.returncode == -signal.SIGKILL
    assert artifacts.read_json(path) == "old"
    assert len(list(tmp_path.iterdir())) == 2  # what it had written lies under another name
    artifacts.write_json(path, "new")
    assert artifacts.read_json(path) == "new"


WRITERS = {
    "text": lambda path, size: artifacts.write_text(path, "a" * size),
    "json": lambda path, size: artifacts.write_json(path, list(range(size))),
    "csv": lambda path, size: artifacts.write_csv(path, [{"a": number} for number in range(size)], ("a",)),
    "weights": lambda path, size: artifacts.save_weights(path, {"a": np.arange(size)}),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_reader_of_the_old_file_keeps_it(tmp_path, kind):
    path = tmp_path / "file"
    WRITERS[kind](path, 900)
    old = path.read_bytes()
    with path.open("rb", buffering=0) as reader:
        start = reader.read(9)
        WRITERS[kind](path, 3)
        assert start + reader.read() == old
    assert len(path.read_bytes()) < len(old)
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    script = (
        "import sys\n"
        "from pipeline_lib import artifacts\n"
        "with artifacts.atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('theirs')\n"
    )
    path = tmp_path / "file.txt"
    with artifacts.atomic_path(path) as temporary:
        temporary.write_text("ours")
        subprocess.run([sys.executable, "-c", script, path], cwd=ROOT, check=True)
        assert (path.read_text(), temporary.read_text()) == ("theirs", "ours")
    assert path.read_text() == "ours"


def test_bytes_are_on_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (events.append("fsync"), fsync(descriptor)))
    monkeypatch.setattr(Path, "replace", lambda self, target: (events.append("rename"), replace(self, target))[1])
    artifacts.write_text(tmp_path / "file.txt", "content")
    assert events == ["fsync", "rename", "fsync"]


def test_json(tmp_path):
    path = tmp_path / "file.json"
    artifacts.write_json(path, {"b": np.float32(0.5), "a": np.array([[1, 2]]), "text": "\u03bb", "none": None})
    assert artifacts.read_json(path) == {"b": 0.5, "a": [[1, 2]], "text": "\u03bb", "none": None}
    for value in (float("nan"), float("inf"), {"a": [np.float64("nan")]}):
        with pytest.raises(ValueError, match="not JSON compliant"):
            artifacts.write_json(path, value)
    with pytest.raises(TypeError, match="set cannot be written"):
        artifacts.write_json(path, {1})
    assert artifacts.read_json(path)["b"] == 0.5 and len(list(tmp_path.iterdir())) == 1


def test_csv(tmp_path):
    path = tmp_path / "file.csv"
    rows = [{"name": 'a,"b"\nc', "value": 0.1}, {"name": "d", "value": None}, {"name": "e"}]
    artifacts.write_csv(path, rows, ("name", "value"))
    assert artifacts.read_csv(path) == [
        {"name": 'a,"b"\nc', "value": "0.1"}, {"name": "d", "value": ""}, {"name": "e", "value": ""},
    ]  # fmt: skip
    assert b"\r" not in path.read_bytes()
    with pytest.raises(ValueError, match="other"):
        artifacts.write_csv(path, [{"other": 1}], ("name",))
    assert len(artifacts.read_csv(path)) == 3


def test_weights_come_back_as_they_were(tmp_path):
    path = tmp_path / "weights.safetensors"
    artifacts.save_weights(path, TENSORS, {"architecture": '{"height": 96}', "a": "b"})
    tensors, metadata = artifacts.load_weights(path)
    assert metadata == {"architecture": '{"height": 96}', "a": "b"}
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], tensor, strict=True)


def test_equal_weights_are_equal_bytes(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    artifacts.save_weights(first, TENSORS, {"a": "1", "b": "2", "c": "3"})
    backwards = {name: np.asarray(TENSORS[name], order="F") for name in reversed(TENSORS)}
    artifacts.save_weights(second, backwards, {"c": "3", "b": "2", "a": "1"})
    assert artifacts.sha256(first) == artifacts.sha256(second)
    artifacts.save_weights(second, TENSORS | {"steps": np.array(8)}, {"a": "1", "b": "2", "c": "3"})
    assert artifacts.sha256(first) != artifacts.sha256(second)


def test_metadata_is_read_without_the_tensors(tmp_path):
    path = tmp_path / "weights.safetensors"
    artifacts.save_weights(path, TENSORS, {"architecture": "text"})
    assert artifacts.load_metadata(path) == {"architecture": "text"}
    artifacts.save_weights(path, TENSORS)
    assert artifacts.load_metadata(path) == {}


@pytest.mark.parametrize("length", range(8))
def test_tensors_start_at_a_multiple_of_8(tmp_path, length):
    """As the format asks for, so that they can be mapped into memory."""
    artifacts.save_weights(tmp_path / "file", TENSORS, {"text": "a" * length})
    content = (tmp_path / "file").read_bytes()
    header = int.from_bytes(content[:8], "little")
    assert header % 8 == 0 and len(content) == 8 + header + sum(tensor.nbytes for tensor in TENSORS.values())


def test_damage_is_named(tmp_path):
    weights, document, table = tmp_path / "a.safetensors", tmp_path / "a.json", tmp_path / "a.csv"
    artifacts.save_weights(weights, TENSORS)
    artifacts.write_json(document, {"a": [1, 2, 3]})
    artifacts.write_csv(table, [{"a": 1, "b": 2}, {"a": 3, "b": 4}], ("a", "b"))
    readers = {
        weights: (artifacts.load_weights, artifacts.load_metadata), document: (artifacts.read_json,), table: (artifacts.read_csv,)
    }  # fmt: skip
    for path, functions in readers.items():
        whole = path.read_bytes()
        for damaged in (whole[:-3], b"\xff\xfe" * 20):
            path.write_bytes(damaged)
            for function in functions:
                with pytest.raises(ArtifactError, match=rf"{path.name}"):
                    function(path)
        path.unlink()
        for function in functions:
            with pytest.raises(ArtifactError, match=rf"{path.name}: no such file"):
                function(path)


def test_a_folder_is_not_a_weights_file(tmp_path):
    with pytest.raises(ArtifactError, match="not readable as safetensors"):
        artifacts.load_weights(tmp_path)


@pytest.mark.parametrize("text", ["a,b\n1\n", "a,b\n1,2,3\n", 'a,b\n"1,2\n', 'a,b\n"1"2,3\n'])
def test_ragged_tables_are_refused(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ArtifactError, match=r"a\.csv"):
        artifacts.read_csv(tmp_path / "a.csv")


def test_sha256_is_the_files(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert artifacts.sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_provenance_says_what_computed():
    found = artifacts.provenance()
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"].keys() >= {"evopose", "keras", "numpy"}
    assert found["versions"].keys() & {"tensorflow", "tensorflow-tpu"}
    head = None
    if (ROOT / ".git").exists():
        shown = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
        head = shown.stdout.strip() or None
    assert found["commit"] == head
