"""Networks that start from trained ones, with files that `keras.applications` itself has made."""

import dataclasses
import math
import zipfile
from pathlib import Path

import fsspec
import h5py
import keras
import numpy as np
import pytest

from pipeline_lib import nets, remote
from pipeline_lib.config import COCO_KEYPOINTS, POSETRACK_KEYPOINTS
from pipeline_lib.errors import ArtifactError, EvoPoseError
from pipeline_lib.nets import files, pretrained, registry
from pipeline_lib.nets.layers import Weights, initial_weights, tensors
from pipeline_lib.nets.registry import Published, architecture
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.search.genotype import ANCESTOR, key

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SIZE = (64, 64)
TARGET = Architecture(key(ANCESTOR), *SIZE, keypoints=5)
NARROW = dataclasses.replace(
    TARGET,
    genotype=(
        (1, 5, 1, 1), (1, 3, 2, 2), (3, 3, 5, 2), (3, 3, 12, 2), (4, 5, 14, 1), (4, 5, 24, 2), (1, 3, 40, 1),
    ),
    stem=16,
    expansion=(2, 6, 6, 6, 6, 6, 6),
)  # fmt: skip
FORMATS = ("b0.weights.h5", "b0.h5", "weights_only.h5", "renamed.h5", "b0.keras")


def randomise(model: keras.Model) -> None:
    """Nothing of the weights is trivial."""
    rng = np.random.default_rng(7)

    def values(variable: keras.Variable) -> np.ndarray:
        shape = tuple(variable.shape)
        if variable.name in ("gamma", "moving_variance", "variance"):
            return rng.uniform(0.5, 1.5, shape)
        if variable.name == "kernel":
            return rng.normal(0, np.sqrt(1.5 / math.prod(shape[:-1])), shape)
        return rng.normal(0, 0.3, shape)

    model.set_weights([values(variable).astype(variable.dtype) for variable in model.weights])


def constants(model: keras.Model, mean: np.ndarray, variance: np.ndarray) -> None:
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Normalization))
    layer.set_weights([mean, variance, np.array(0, "int32")])
    layer.finalize_state()


@pytest.fixture(scope="module")
def b0() -> keras.Model:
    """EfficientNet-B0 with constants as in the file of ImageNet's weights: its variance is the standard deviation."""
    model = keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(*SIZE, 3))
    randomise(model)
    constants(model, MEAN, STD)
    return model


@pytest.fixture(scope="module")
def folder(b0: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network in every format."""
    place = tmp_path_factory.mktemp("pretrained")
    for name in ("b0.weights.h5", "b0.h5", "b0.keras"):
        b0.save_weights(place / name) if "weights" in name else b0.save(place / name)
    with h5py.File(place / "b0.h5") as whole, h5py.File(place / "weights_only.h5", "w") as stream:
        # The form of the files that Keras offers for download.
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", stream)
        for name, value in whole["model_weights"].attrs.items():
            stream.attrs[name] = value
    (place / "renamed.h5").write_bytes((place / "b0.weights.h5").read_bytes())
    return place


def known(b0: keras.Model) -> Weights:
    """The donor's weights in our names: both list their weights in the order of computation."""
    network = architecture("efficientnet_b0", *SIZE, 5)
    named = [tensor for tensor in tensors(network) if not tensor.name.startswith(("head", "final"))]
    values = [np.asarray(variable) for variable in b0.weights]
    assert [tensor.shape for tensor in named] == [value.shape for value in values]
    return {tensor.name: value for tensor, value in zip(named, values, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_the_ancestor_starts_from_every_format(folder: Path, b0: keras.Model, name: str) -> None:
    path = str(folder / name)
    weights, report = pretrained.inherit_file(path, TARGET, 3)
    donor, initial = known(b0), initial_weights(TARGET, 3)
    assert list(weights) == [tensor.name for tensor in tensors(TARGET)]
    new = [tensor for tensor in weights if tensor.startswith(("head", "final_conv"))]
    for tensor, values in weights.items():
        np.testing.assert_array_equal(values, (initial if tensor in new else donor)[tensor], err_msg=tensor)
        assert values.dtype == np.float32
    inherited = sum(values.size for tensor, values in weights.items() if tensor not in new)
    parameters = sum(values.size for values in weights.values())
    blocks = {f"m{m + 1}_b{b + 1}": f"m{m + 1}_b{b + 1}" for m, row in enumerate(ANCESTOR) for b in range(row[0])}
    assert report == {
        "source": path,
        "donor": "EfficientNetB0 (keras.applications)",
        "adapted": [],
        "parameters": parameters,
        "inherited": inherited,
        "fraction": inherited / parameters,
        "initial": new,
        "part": {},
        "blocks": blocks,
        "unused": ["top_conv/kernel", *(f"top_bn/{v}" for v in ("gamma", "beta", "moving_mean", "moving_variance"))],
    }
    assert len(new) == 17
    said = pretrained.summary(report)
    assert said.endswith(
        f"% of the parameters come from EfficientNetB0 (keras.applications) of {path}; "
        "17 tensors are new, 0 inherit in part, 5 of its tensors are not used"
    )
    assert said.startswith(f"{100 * inherited / parameters:.1f} %")


@pytest.mark.slow
def test_it_sees_what_imagenet_weights_saw(folder: Path, b0: keras.Model) -> None:
    """Keras divides by the deviation in two steps, the second of which its weights=None leaves out."""
    reference = keras.models.clone_model(b0)
    reference.set_weights(b0.get_weights())
    constants(reference, MEAN, STD**2)
    ends = {"m3_b2_add": "block3b_add", "m7_b1_project_bn": "block7a_project_bn"}
    theirs = keras.Model(reference.input, [reference.get_layer(name).output for name in ends.values()])
    weights, _ = pretrained.inherit_file(str(folder / "b0.weights.h5"), TARGET, 3)
    ours = nets.build_architecture(TARGET, weights=weights)
    ours = keras.Model(ours.input, [ours.get_layer(name).output for name in ends])
    images = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3)).astype(np.float32)
    for found, expected in zip(ours((images / 255 - MEAN) / STD), theirs(images), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


def close_inside(found: np.ndarray, expected: np.ndarray, border: int) -> None:
    """But for the border, where padding is another colour to each."""
    found, expected = (np.asarray(maps)[:, border:-border, border:-border] for maps in (found, expected))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max(), rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mean", "variance"), [(np.zeros(3), np.ones(3)), (np.array([0.1, 0.2, 0.3]), np.array([0.04, 0.09, 0.16]))]
)
def test_weights_that_were_trained_on_other_units_are_adapted(
    b0: keras.Model, tmp_path: Path, mean: np.ndarray, variance: np.ndarray
) -> None:
    """With a classifier, of a count of its own."""
    model = keras.applications.EfficientNetB0(weights=None, classes=7, input_shape=(*SIZE, 3))
    randomise(model)
    constants(model, mean, variance)
    model.save_weights(tmp_path / "own.weights.h5")
    weights, report = pretrained.inherit_file(str(tmp_path / "own.weights.h5"), TARGET, 3)
    assert report["adapted"] == ["stem_conv/kernel", "stem_bn/moving_mean"]
    assert report["unused"][-2:] == ["predictions/kernel", "predictions/bias"]
    ours = nets.build_architecture(TARGET, weights=weights)
    images = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3)).astype(np.float32)
    found = keras.Model(ours.input, ours.get_layer("stem_bn").output)((images / 255 - MEAN) / STD)
    close_inside(found, keras.Model(model.input, model.get_layer("stem_bn").output)(images), 1)


@pytest.mark.slow
def test_resnet_sees_its_own_colours(tmp_path: Path) -> None:
    """`preprocess_input` gives BGR less a mean; the classifier is not used; a file of another depth is refused."""
    model = keras.applications.ResNet50(weights=None, classes=7, input_shape=(*SIZE, 3))
    randomise(model)
    model.save_weights(tmp_path / "r50.weights.h5")
    network = Published("simple_baseline_r50", *SIZE, 5)
    weights, report = pretrained.inherit_file(str(tmp_path / "r50.weights.h5"), network, 3)
    assert report["donor"] == "ResNet50 (keras.applications)"
    assert report["adapted"] == ["conv1_conv/kernel", "conv1_conv/bias"]
    assert report["unused"] == ["predictions/kernel", "predictions/bias"]
    assert report["blocks"] == {}
    assert report["initial"] == [name for name in weights if name.startswith(("head", "final_conv"))]
    layers = {layer.name for layer in model.layers}
    for name, values in weights.items():
        layer, variable = name.split("/")
        if layer in layers and layer != "conv1_conv":
            mine = {v.name: v for v in model.get_layer(layer).weights}[variable]
            np.testing.assert_array_equal(values, mine, err_msg=name)
    ours = nets.build_architecture(network, weights=weights)
    images = np.random.default_rng(1).integers(0, 256, (2, *SIZE, 3)).astype(np.float32)
    found = keras.Model(ours.input, ours.get_layer("conv1_relu").output)((images / 255 - MEAN) / STD)
    seen = keras.applications.resnet.preprocess_input(images.copy())
    expected = keras.Model(model.input, model.get_layer("conv1_relu").output)(seen)
    close_inside(found, expected, 2)
    cpn, report = pretrained.inherit_file(str(tmp_path / "r50.weights.h5"), Published("cpn", *SIZE, 5), 3)
    np.testing.assert_array_equal(cpn["conv5_block3_3_conv/kernel"], weights["conv5_block3_3_conv/kernel"])
    assert report["fraction"] == pytest.approx(23.6 / 27.1, abs=0.01)

    path = tmp_path / "r50.weights.h5"
    for other in ("simple_baseline_r101", "efficientnet_b0"):
        with pytest.raises(ArtifactError) as caught:
            pretrained.inherit_file(str(path), Published(other, *SIZE), 3)
        expected_name = "ResNet101" if other.endswith("101") else "EfficientNetB0"
        assert str(caught.value).startswith(f"{path}: weights of {expected_name} (keras.applications) are expected")


@pytest.mark.slow
def test_efficientnet_with_its_head_inherits_its_top_and_stays_without_constants(folder: Path, b0: keras.Model) -> None:
    network = Published("efficientnet_b0", *SIZE, 5)
    weights, report = pretrained.inherit_file(str(folder / "b0.keras"), network, 3)
    assert report["unused"] == []
    np.testing.assert_array_equal(weights["top_conv/kernel"], known(b0)["top_conv/kernel"])
    np.testing.assert_array_equal(weights["normalization/mean"], np.zeros(3))
    np.testing.assert_array_equal(weights["normalization/variance"], np.ones(3))
    assert {name for name in report["initial"] if not name.startswith(("head", "final"))} == {
        f"normalization/{name}" for name in ("mean", "variance", "count")
    }


@pytest.mark.slow
def test_another_ancestor_inherits_where_it_overlaps(folder: Path, b0: keras.Model) -> None:
    weights, report = pretrained.inherit_file(str(folder / "b0.h5"), NARROW, 3)
    donor, initial = known(b0), initial_weights(NARROW, 3)
    assert report["blocks"]["m3_b3"] == "m3_b2", "a block more"
    assert report["blocks"]["m5_b4"] == "m5_b3"
    assert "m2_b2" not in report["blocks"], "a block less"
    np.testing.assert_array_equal(weights["stem_conv/kernel"], donor["stem_conv/kernel"][..., :16])
    larger = weights["m1_b1_depthwise_conv/kernel"]
    np.testing.assert_array_equal(larger[1:4, 1:4], donor["m1_b1_depthwise_conv/kernel"])
    np.testing.assert_array_equal(larger[0], initial["m1_b1_depthwise_conv/kernel"][0])
    np.testing.assert_array_equal(
        weights["m3_b3_depthwise_conv/kernel"], donor["m3_b2_depthwise_conv/kernel"][1:4, 1:4]
    )
    wider = weights["m4_b1_project_bn/beta"]
    np.testing.assert_array_equal(wider[:80], donor["m4_b1_project_bn/beta"])
    np.testing.assert_allclose(wider[80:], donor["m4_b1_project_bn/beta"].mean(dtype="f8"), rtol=1e-6)
    assert {name for name in report["initial"] if not name.startswith(("head", "final"))} == {
        "m1_b1_expand_conv/kernel",
        *(f"m1_b1_expand_bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")),
    }
    assert {name.split("_bn")[0] for name in report["unused"] if name.startswith("m2_b2") and "_bn" in name} == {
        "m2_b2_expand", "m2_b2_depthwise", "m2_b2_project",
    }  # fmt: skip
    assert 0.5 < report["fraction"] < 0.97
    assert report["part"]["m1_b1_depthwise_conv/kernel"] == pytest.approx(9 / 25)
    assert report["part"]["m4_b1_project_bn/beta"] == pytest.approx(80 / wider.size)
    assert "stem_conv/kernel" not in report["part"]  # smaller than its donor, and all of it inherits


def damaged(folder: Path, tmp_path: Path, name: str) -> Path:
    path = tmp_path / name
    content = (folder / ("b0.keras" if name.endswith("keras") else "b0.weights.h5")).read_bytes()
    if name.startswith("truncated"):
        path.write_bytes(content[: len(content) // 2])
    elif name.startswith("foreign"):
        path.write_bytes(b"PK or HDF5? neither")
    elif name == "empty.h5":
        h5py.File(path, "w").close()
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", "{}")
    return path


@pytest.mark.parametrize(
    "name", ["truncated.h5", "truncated.keras", "foreign.h5", "foreign.keras", "empty.h5", "other.keras"]
)
def test_a_file_that_cannot_be_read_is_named(folder: Path, tmp_path: Path, name: str) -> None:
    path = damaged(folder, tmp_path, name)
    with pytest.raises(ArtifactError) as caught:
        pretrained.inherit_file(str(path), TARGET, 3)
    message = str(caught.value)
    assert message.startswith(f"{path}: weights of EfficientNetB0 (keras.applications) are expected, but it cannot be")
    assert "\n" not in message


@pytest.mark.slow
def test_files_of_other_networks_are_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "b0.keras"
    expected = r"b0\.keras: weights of ResNet50 \(keras\.applications\) are expected, but it cannot be read as such .*; download"
    with pytest.raises(ArtifactError, match=expected):
        pretrained.inherit_file(str(path), Published("simple_baseline_r50", *SIZE), 3)
    with pytest.raises(ArtifactError, match=r"keras\.applications has no hrnet_w32; a \.safetensors of it is expected"):
        pretrained.inherit_file(str(path), Published("hrnet_w32", *SIZE), 3)
    larger = keras.applications.EfficientNetB1(weights=None, include_top=False, input_shape=(*SIZE, 3))
    for name in ("b1.weights.h5", "b1.h5", "b1.keras"):  # its first blocks are those of B0
        larger.save_weights(tmp_path / name) if "weights" in name else larger.save(tmp_path / name)
        with pytest.raises(ArtifactError, match=rf"{name}: weights of EfficientNetB0 \(keras\.applications\) are exp"):
            pretrained.inherit_file(str(tmp_path / name), TARGET, 3)


def test_weights_that_are_no_numbers_are_refused(folder: Path, tmp_path: Path) -> None:
    """Neither those of a training that diverged, nor what Keras has only warned of not finding."""
    path = tmp_path / "nan.weights.h5"
    path.write_bytes((folder / "b0.weights.h5").read_bytes())
    with h5py.File(path, "r+") as stream:
        stream["layers/conv2d/vars/0"][0, 0, 0, 0] = np.nan
    with pytest.raises(ArtifactError, match=r"nan\.weights\.h5: stem_conv/kernel has values that are no numbers"):
        pretrained.inherit_file(str(path), TARGET, 3)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("none.h5", "none.keras", "none.safetensors"):
        with pytest.raises(ArtifactError, match=rf"{name}: no such file"):
            pretrained.inherit_file(str(tmp_path / name), TARGET, 3)


def own(path: Path, network: nets.layers.Network) -> Weights:
    weights = {name: values + np.float32(0.5) for name, values in initial_weights(network, 9).items()}
    files.save(path, network, weights)
    return weights


def test_weights_of_our_own(tmp_path: Path) -> None:
    """A search network from EfficientNet-B0 with a head, and the other way round; other keypoints overlap."""
    path = tmp_path / "b0.safetensors"
    donor = own(path, Published("efficientnet_b0", *SIZE, 3))
    weights, report = pretrained.inherit_file(str(path), TARGET, 3)
    assert report["initial"] == []
    assert [name for name in report["unused"] if not name.startswith("top_")] == [
        f"normalization/{name}" for name in ("mean", "variance", "count")
    ]
    assert (report["donor"], report["adapted"]) == ("efficientnet_b0", [])
    np.testing.assert_array_equal(weights["m5_b2_se_reduce/bias"], donor["m5_b2_se_reduce/bias"])
    np.testing.assert_array_equal(weights["final_conv/kernel"][..., :3], donor["final_conv/kernel"])
    np.testing.assert_array_equal(
        weights["final_conv/kernel"][..., 3:], initial_weights(TARGET, 3)["final_conv/kernel"][..., 3:]
    )
    searched = own(tmp_path / "searched.safetensors", NARROW)
    network = Published("efficientnet_b0", *SIZE, 5)
    weights, report = pretrained.inherit_file(str(tmp_path / "searched.safetensors"), network, 3)
    assert report["donor"] == "a search network"
    assert report["blocks"]["m2_b2"] == "m2_b1"
    np.testing.assert_array_equal(
        weights["m2_b2_project_conv/kernel"][:, :, :48, :16], searched["m2_b1_project_conv/kernel"]
    )
    assert "top_conv/kernel" in report["initial"]
    same, report = pretrained.inherit_file(str(path), Published("efficientnet_b0", 96, 64, 3), 3)
    assert report["initial"] == report["unused"] == ["normalization/count"]
    assert report["inherited"] == report["parameters"] - 1
    assert all(np.array_equal(same[name], donor[name]) for name in donor if name != "normalization/count")


SMALL = Architecture([[1, 3, 1, 1], [1, 3, 1, 2], *([[1, 3, 1, 1]] * 5)], 32, 32, keypoints=17, expansion=(1,) * 7,
                     stem=8, head=8, head_layers=1)  # fmt: skip


def trained(path: Path, network: nets.layers.Network, names: tuple[str, ...] | None) -> Weights:
    """Weights of which none is equal to another, nor to a new one."""
    rng = np.random.default_rng(4)
    weights = {
        name: rng.normal(3, 1, value.shape).astype(np.float32) for name, value in initial_weights(network, 9).items()
    }
    files.save(path, network, weights, names)
    return weights


@pytest.mark.parametrize("network", [SMALL, Published("hrnet_w32", *SIZE), Published("cpn", *SIZE)], ids=str)
def test_heat_maps_that_show_something_else_are_new(tmp_path: Path, network: nets.layers.Network) -> None:
    """From COCO to PoseTrack: of each layer that gives heat maps, channels 1 and 2 are new, all else is inherited."""
    path = tmp_path / "coco.safetensors"
    donor = trained(path, network, COCO_KEYPOINTS.names)
    weights, report = pretrained.inherit_file(str(path), network, 3, POSETRACK_KEYPOINTS.names)
    initial = initial_weights(network, 3)
    maps = {name for name, values in donor.items() if "final" in name and values.shape[-1] == 17}
    assert "final_conv/kernel" in maps and len(maps) == (10 if network.to_json().count("cpn") else 2)
    new = 0
    for name, values in weights.items():
        if name not in maps:
            np.testing.assert_array_equal(values, donor[name], err_msg=name)
            continue
        np.testing.assert_array_equal(values[..., 1:3], initial[name][..., 1:3])
        np.testing.assert_array_equal(values[..., [0, *range(3, 17)]], donor[name][..., [0, *range(3, 17)]])
        new += values[..., 1:3].size
    scalars = sum(values.size for values in weights.values() if values.shape == ())
    parameters = sum(values.size for values in weights.values())
    assert report["parameters"] - report["inherited"] == new + scalars and report["initial"] == []
    assert report["fraction"] == report["inherited"] / parameters
    assert report["keypoints"] == {
        "inherited": ["nose", *POSETRACK_KEYPOINTS.names[3:]],
        "new": ["head_bottom", "head_top"],
        "unused": ["left_eye", "right_eye"],
    }
    assert pretrained.summary(report).endswith("; new heat maps: head_bottom, head_top")


def test_heat_maps_of_the_same_keypoints_are_inherited(tmp_path: Path) -> None:
    path = tmp_path / "coco.safetensors"
    donor = trained(path, SMALL, COCO_KEYPOINTS.names)
    weights, report = pretrained.inherit_file(str(path), SMALL, 3, COCO_KEYPOINTS.names)
    for name, values in donor.items():
        np.testing.assert_array_equal(weights[name], values, err_msg=name)
    assert report["fraction"] == 1 and report["keypoints"]["new"] == report["keypoints"]["unused"] == []
    assert "new heat maps" not in pretrained.summary(report)


@pytest.mark.parametrize("known", [True, False])
def test_without_names_heat_maps_inherit_by_their_place(tmp_path: Path, known: bool) -> None:
    path = tmp_path / "own.safetensors"
    donor = trained(path, SMALL, COCO_KEYPOINTS.names if known else None)
    weights, report = pretrained.inherit_file(str(path), SMALL, 3, None if known else POSETRACK_KEYPOINTS.names)
    np.testing.assert_array_equal(weights["final_conv/kernel"], donor["final_conv/kernel"])
    assert "keypoints" not in report and report["fraction"] == 1


@pytest.mark.parametrize("names", [("right_ankle", "tail", "nose"), (*"abcdefghijklmnopqrst", "nose")])
def test_other_numbers_and_orders_of_keypoints(tmp_path: Path, names: tuple[str, ...]) -> None:
    """And another width of the head: what overlaps is inherited."""
    path = tmp_path / "coco.safetensors"
    donor = trained(path, SMALL, COCO_KEYPOINTS.names)
    network = dataclasses.replace(SMALL, keypoints=len(names), head=12)
    weights, report = pretrained.inherit_file(str(path), network, 3, names)
    initial = initial_weights(network, 3)
    for place, name in enumerate(names):
        kernel, bias = weights["final_conv/kernel"][..., place], weights["final_conv/bias"][place]
        if name in COCO_KEYPOINTS.names:
            before = COCO_KEYPOINTS.names.index(name)
            np.testing.assert_array_equal(kernel[..., :8], donor["final_conv/kernel"][..., before])
            np.testing.assert_array_equal(kernel[..., 8:], initial["final_conv/kernel"][..., 8:, place])
            assert bias == donor["final_conv/bias"][before]
        else:
            np.testing.assert_array_equal(kernel, initial["final_conv/kernel"][..., place])
            assert bias == initial["final_conv/bias"][place]
    known = [name for name in names if name in COCO_KEYPOINTS.names]
    assert report["keypoints"]["inherited"] == known
    _, without = pretrained.inherit_file(str(path), network, 3)
    overlapping = min(17, len(names))
    assert without["inherited"] - report["inherited"] == 9 * (overlapping - len(known))


@pytest.mark.parametrize("name", registry.NAMES)
def test_what_depends_on_the_number_of_keypoints_are_layers_that_give_heat_maps(name: str) -> None:
    network = architecture(name, *SIZE, 17)
    supervised = {one.layer for one in network.supervised()}
    maps = pretrained._maps(network)
    assert {axis for tensor, axis in maps.items() if tensor.endswith("/kernel")} == {3}
    assert {axis for tensor, axis in maps.items() if tensor.endswith("/bias")} == {0}
    assert len(maps) == 2 * len(supervised)


def test_weights_of_our_own_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "searched.safetensors"
    own(path, NARROW)
    with pytest.raises(ArtifactError, match=r"weights of hrnet_w32 are expected, these are of a search network"):
        pretrained.inherit_file(str(path), Published("hrnet_w32", *SIZE), 3)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtifactError, match=r"searched\.safetensors: not readable as safetensors"):
        pretrained.inherit_file(str(path), TARGET, 3)


def test_new_weights(tmp_path: Path) -> None:
    weights, report = pretrained.from_scratch(NARROW, 4)
    expected = initial_weights(NARROW, 4)
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)
    assert (report["inherited"], report["fraction"], report["initial"]) == (0, 0, list(expected))


def test_files_of_a_bucket_are_copied_and_deleted_again(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/models/b0.weights.h5", b"content")
    with remote.local_copy("memory://bucket/models/b0.weights.h5") as copy:
        assert (copy.name, copy.read_bytes()) == ("b0.weights.h5", b"content")
    assert not copy.parent.exists()
    (tmp_path / "here.h5").write_bytes(b"here")
    with remote.local_copy(f"file://{tmp_path}/here.h5") as copy:
        assert copy.read_bytes() == b"here" and copy != tmp_path / "here.h5"
    assert (tmp_path / "here.h5").exists() and not copy.exists()
    with remote.local_copy(str(tmp_path / "here.h5")) as copy:
        assert copy == tmp_path / "here.h5"
    assert copy.exists()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("memory://bucket/none.h5", "memory://bucket/none.h5: no such file"),
        ("nowhere://bucket/b0.h5", r"nowhere://bucket/b0.h5: cannot be opened \(ValueError: .*nowhere.*address right"),
        ("missing.h5", "missing.h5: no such file"),
    ],
)
def test_what_cannot_be_copied_is_named(path: str, message: str) -> None:
    with pytest.raises(EvoPoseError, match=message), remote.local_copy(path):
        pass


def test_weights_of_a_bucket(tmp_path: Path) -> None:
    own(tmp_path / "own.safetensors", NARROW)
    content = (tmp_path / "own.safetensors").read_bytes()
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/bucket/own.safetensors", content)
    memory.pipe_file("/bucket/half.safetensors", content[:999])
    _, report = pretrained.inherit_file("memory://bucket/own.safetensors", NARROW, 3)
    assert (report["source"], report["fraction"]) == ("memory://bucket/own.safetensors", 1)
    with pytest.raises(ArtifactError, match=r"^memory://bucket/half\.safetensors: not readable"):
        pretrained.inherit_file("memory://bucket/half.safetensors", NARROW, 3)
