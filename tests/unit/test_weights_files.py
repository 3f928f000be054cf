import dataclasses

import numpy as np
import pytest

from pipeline_lib.artifacts import load_metadata, load_weights, save_weights
from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets import files
from pipeline_lib.nets.spec import Architecture, initial_weights

NETWORK = Architecture(
    [[1, 3, 1, 1], [1, 3, 1, 2], *([[1, 3, 1, 1]] * 5)],
    32,
    16,
    keypoints=5,
    scale=(1.5, 1.25),
    expansion=(1,) * 7,
    stem=8,
    head=8,
    head_layers=1,
)
WEIGHTS = initial_weights(NETWORK, 3)


def test_round_trip(tmp_path):
    path = tmp_path / "weights.safetensors"
    files.save(path, NETWORK, WEIGHTS)
    architecture, weights = files.load(path)
    assert architecture == NETWORK == files.load_architecture(path)
    assert weights.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(weights[name], array)
        assert weights[name].dtype == array.dtype
    assert load_metadata(path) == {"architecture": NETWORK.to_json()}
    files.save(tmp_path / "again.safetensors", architecture, dict(reversed(weights.items())))
    assert path.read_bytes() == (tmp_path / "again.safetensors").read_bytes()


def test_what_the_heat_maps_show_is_in_the_header(tmp_path):
    path, names = tmp_path / "weights.safetensors", ("nose", "left eye", "größe", "d", "e")
    files.save(path, NETWORK, WEIGHTS)
    assert files.load_keypoints(path) is None
    files.save(path, NETWORK, WEIGHTS, names)
    assert files.load_keypoints(path) == names and files.load(path)[0] == NETWORK
    assert set(load_metadata(path)) == {"architecture", "keypoints"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nose", "the keypoints in its header are not as written by this version"),
        ('{"a": 1}', "a list of names is expected"),
        ("[1, 2, 3, 4, 5]", "a list of names is expected"),
        ('["a"]', "its header names 1 keypoints, its network has 5"),
    ],
)
def test_damaged_names_of_keypoints_are_refused(tmp_path, text, said):
    path = tmp_path / "damaged.safetensors"
    save_weights(path, WEIGHTS, {"architecture": NETWORK.to_json(), "keypoints": text})
    with pytest.raises(ArtifactError) as caught:
        files.load_keypoints(path)
    assert str(caught.value).startswith(f"{path}: ") and said in str(caught.value)


def test_weights_of_another_network_are_not_written(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(ArtifactError, match="do not belong"):
        files.save(path, dataclasses.replace(NETWORK, keypoints=6), WEIGHTS)
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_network_are_not_read(tmp_path):
    path = tmp_path / "odd.safetensors"
    save_weights(path, WEIGHTS, {"architecture": dataclasses.replace(NETWORK, stem=16).to_json()})
    with pytest.raises(ArtifactError, match=r"odd\.safetensors: weights do not belong"):
        files.check_finite(path, files.load(path)[1])
    files.check_finite(path, WEIGHTS)
    assert files.load_architecture(path).stem == 16


@pytest.mark.parametrize("metadata", [{}, {"other": "1"}])
@pytest.mark.parametrize("reader", [files.load, files.load_architecture])
def test_foreign_files_are_refused(tmp_path, reader, metadata):
    path = tmp_path / "foreign.safetensors"
    save_weights(path, {"a/b": np.zeros(2, np.float32)}, metadata)
    load_weights(path)
    with pytest.raises(ArtifactError, match=r"foreign\.safetensors: its header names no architecture"):
        reader(path)


@pytest.mark.parametrize("reader", [files.load, files.load_architecture])
def test_a_damaged_architecture_is_refused(tmp_path, reader):
    path = tmp_path / "damaged.safetensors"
    save_weights(path, WEIGHTS, {"architecture": "{}"})
    with pytest.raises(ArtifactError, match=r"damaged\.safetensors: "):
        reader(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.safetensors: no such file"):
        files.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(tmp_path, value):
    path, name = tmp_path / "weights.safetensors", "final_conv/kernel"
    broken = {**WEIGHTS, name: WEIGHTS[name].copy()}
    broken[name].flat[3] = value
    files.save(path, NETWORK, broken)
    with pytest.raises(ArtifactError, match=f"^{path}: {name} has values that are no finite numbers.*train it again"):
        files.check_finite(path, files.load(path)[1])
    files.check_finite(path, WEIGHTS)
