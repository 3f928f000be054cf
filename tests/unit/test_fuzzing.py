"""Whatever is in an input, a reader takes it or says in words of its own what is wrong: no other exception, no wrong value.

Hypothesis looks for counterexamples; `derandomize` has every run look at the same ones. HYPOTHESIS_PROFILE=long looks longer.
"""

import argparse
import contextlib
import copy
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline_lib import artifacts, cli, config
from pipeline_lib.config import COCO_KEYPOINTS, PAPER_ANCESTOR, PAPER_SPACE, SearchSpace, ValidationConfig
from pipeline_lib.config.validation import allowed
from pipeline_lib.data import coco, verdict
from pipeline_lib.data.records import Reader, read_manifest
from pipeline_lib.data.tfrecord import decode_example, encode_example
from pipeline_lib.data.validation import validate, validate_detections
from pipeline_lib.errors import ArtifactError, ConfigError, DataError, EvoPoseError
from pipeline_lib.nets import files
from pipeline_lib.nets.inherit import check_weights, inherit
from pipeline_lib.nets.spec import Architecture, initial_weights
from pipeline_lib.search import genotype, population
from pipeline_lib.search.mutation import NeighbourhoodExhausted, describe, mutate, neighbours
from pipeline_lib.search.transfer import transfer_array
from tests.unit import made_faults
from tests.unit.conftest import TINY

settings.register_profile(
    "short", max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
settings.register_profile("long", settings.get_profile("short"), max_examples=1000, derandomize=False)
settings.load_profile("long" if os.environ.get("HYPOTHESIS_PROFILE") == "long" else "short")

ROOT = Path(__file__).parents[2]
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 2**63, 2**64, 1e300, True])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SPACES = st.builds(
    lambda blocks, kernels, free, limit: SearchSpace(
        max_blocks=tuple(blocks),
        kernels=tuple(sorted(kernels)),
        free_stride_modules=tuple(sorted(free)),
        stride_limit=limit,
    ),
    st.lists(st.integers(1, 4), min_size=7, max_size=7),
    st.sets(st.sampled_from([1, 3, 5, 7]), min_size=1),
    st.sets(st.integers(1, 7)),
    st.sampled_from([8, 16, 32, 64]),
)
GENES = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from([1, 3, 5, 7]), st.integers(1, 3), st.sampled_from([1, 2])),
    min_size=7,
    max_size=7,
)


def edited(content: Any, data: st.DataObject) -> Any:
    """A copy of JSON content in which a value somewhere is another one, gone, or there once more."""
    result = copy.deepcopy(content)
    inner = result
    while True:
        keys = list(inner) if isinstance(inner, dict) else list(range(len(inner)))
        if not keys:
            return data.draw(VALUES)
        key = data.draw(st.sampled_from(keys))
        if not isinstance(inner[key], dict | list) or not inner[key] or data.draw(st.integers(0, 3)) == 0:
            break
        inner = inner[key]
    what = data.draw(st.sampled_from(["value", "value", "gone", "more"]))
    if what == "gone":
        del inner[key]
    elif what == "more" and isinstance(inner, list):
        inner.append(copy.deepcopy(inner[key]))
    else:
        inner[key] = data.draw(VALUES)
    return result


# Genotypes, mutation, transfer


@given(GENES)
def test_genotypes_come_back_from_their_text(genes: list[Any]) -> None:
    assert genotype.key(genotype.decode_text(genotype.encode(genes))) == tuple(genes)
    assert cli.genotype(json.dumps(genes)) == tuple(genes)


@given(st.text() | st.from_regex(r"[0-9.\-]{1,40}", fullmatch=True) | VALUES.map(str))
def test_any_text_is_a_genotype_or_is_refused(text: str) -> None:
    try:
        found = genotype.decode_text(text)
    except ConfigError as error:
        assert "is expected" in str(error) or "are expected" in str(error)
    else:
        assert found.shape == (7, 4)
    try:
        assert genotype.as_array(cli.genotype(text)).min() >= 1
    except argparse.ArgumentTypeError as error:
        assert "7 x 4 integers" in str(error)


@given(VALUES)
def test_any_value_is_a_genotype_or_is_refused(value: Any) -> None:
    try:
        genotype.key(value if hasattr(value, "__iter__") else [value])
    except ConfigError:
        return
    raise AssertionError(value)  # such small values are none


@given(SPACES, GENES, st.integers(0, 2**32), st.data())
def test_a_mutation_is_new_one_gene_away_and_in_its_space(
    space: SearchSpace, genes: list[Any], seed: int, data: st.DataObject
) -> None:
    kernels = space.kernels
    ancestor = [(1, kernels[0], channels, 1) for _, _, channels, _ in genes]
    parent = [
        (min(blocks, most), kernels[kernel % len(kernels)], channels, 1)
        for (blocks, kernel, channels, _), most in zip(genes, space.max_blocks, strict=True)
    ]
    genotype.validate(parent, space, ancestor)
    every = neighbours(parent, ancestor, space)
    cache = data.draw(st.lists(st.sampled_from(every), max_size=len(every))) if every else []
    known = {genotype.key(one) for one in cache}
    before = [genotype.key(one) for one in cache]
    try:
        child = mutate(parent, ancestor, cache, np.random.default_rng(seed), space)
    except NeighbourhoodExhausted:
        assert {genotype.key(one) for one in every} <= known
        return
    assert len(describe(parent, child)) == 1
    assert genotype.key(child) not in known
    genotype.validate(child, space, ancestor)
    assert [genotype.key(one) for one in cache] == before


@given(st.sampled_from(["conv", "depthwise", "tconv", "dense", "bias", "bn"]), st.data())
def test_a_transfer_takes_the_overlap_and_nothing_else(kind: str, data: st.DataObject) -> None:
    axes = {"conv": 4, "depthwise": 4, "tconv": 4, "dense": 2, "bias": 1, "bn": 1}[kind]
    sides = st.tuples(*[st.integers(1, 5)] * axes)
    parent_shape, child_shape = data.draw(sides), data.draw(sides)
    parent = np.arange(1, 1 + np.prod(parent_shape), dtype=np.float32).reshape(parent_shape)
    child = -np.arange(1, 1 + np.prod(child_shape), dtype=np.float64).reshape(child_shape)
    before = child.copy()
    found = transfer_array(parent, child, kind)
    np.testing.assert_array_equal(child, before)
    assert found.shape == child.shape and found.dtype == child.dtype
    if kind == "bn":  # of which the rest takes the parent's mean
        common = min(parent.size, child.size)
        np.testing.assert_array_equal(found[:common], parent[:common])
        np.testing.assert_allclose(found[common:], parent.mean())
        return
    inherited = found > 0
    assert inherited.sum() == np.prod([min(pair) for pair in zip(parent_shape, child_shape, strict=True)])
    np.testing.assert_array_equal(found[~inherited], child[~inherited])
    assert len(np.unique(found[inherited])) == inherited.sum() and np.isin(found[inherited], parent).all()


@settings(max_examples=settings.default.max_examples // 4)
@given(GENES, GENES, st.integers(0, 5))
def test_any_network_inherits_from_any_other(first: list[Any], second: list[Any], seed: int) -> None:
    parent, child = (
        Architecture(
            genotype=[(blocks, kernel, channels, 1) for blocks, kernel, channels, _ in genes],
            height=32, width=32, expansion=(1,) * 7, stem=8, head=8, head_layers=0,
        )
        for genes in (first, second)
    )  # fmt: skip
    weights = initial_weights(parent, seed)
    found, report = inherit(parent, weights, child, seed + 1)
    check_weights(child, found)
    assert 0 < report["fraction"] <= 1
    if first == second:
        assert report["fraction"] == 1


# Records


FEATURES = st.dictionaries(
    st.text(min_size=1, max_size=8),
    st.binary(min_size=1, max_size=20)
    | hnp.arrays(np.float32, st.integers(1, 5), elements=st.floats(width=32))
    | hnp.arrays(np.int64, st.integers(1, 5)),
)


@given(FEATURES)
def test_features_come_back_from_their_record(features: dict[str, Any]) -> None:
    found = decode_example(encode_example(features))
    assert found.keys() == features.keys()
    for name, value in features.items():
        expected = np.frombuffer(value, np.uint8) if isinstance(value, bytes) else value
        np.testing.assert_array_equal(found[name], expected)


@given(st.binary(max_size=60) | FEATURES.map(encode_example), st.data())
def test_any_bytes_are_a_record_or_are_refused(content: bytes, data: st.DataObject) -> None:
    if content:
        place = data.draw(st.integers(0, len(content) - 1))
        content = content[:place] + data.draw(st.binary(max_size=3)) + content[place + 1 :]
    with contextlib.suppress(ValueError, LookupError):
        decode_example(content)


@cache
def _shard(manifest: Path) -> tuple[bytes, tuple[bytes, ...]]:
    reader = Reader(read_manifest(manifest))
    shard = reader.manifest.shards[0]
    images = tuple(found["image"].tobytes() for found in reader.features(range(shard.examples)))
    return shard.path.read_bytes(), images


@given(st.data())
def test_a_changed_byte_of_a_shard_is_found(
    manifest: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A record is what it was, or is named."""
    content, images = _shard(manifest)
    place = data.draw(st.integers(0, len(content) - 1))
    changed = content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :]
    folder = tmp_path_factory.mktemp("shard")
    written = json.loads(manifest.read_text())
    written |= {"shards": written["shards"][:1], "examples": len(images)}
    artifacts.write_json(folder / "manifest.json", written)
    (folder / written["shards"][0]["file"]).write_bytes(changed)
    reader = Reader(read_manifest(folder / "manifest.json"))
    named = 0
    for record, image in enumerate(images):
        try:
            (found,) = reader.features([record])
            assert found["image"].tobytes() == image
        except ArtifactError as error:
            named += 1
            assert ".tfrecord, record" in str(error) and "run the conversion again" in str(error)
    assert named


# Weights and documents


@given(st.data())
def test_a_changed_byte_of_weights_is_found(
    initial: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = initial.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    place = data.draw(st.integers(0, header - 1) | st.integers(header, len(content) - 1))
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.write_bytes(content[:place] + bytes([content[place] ^ data.draw(st.integers(1, 255))]) + content[place + 1 :])
    with pytest.raises(ArtifactError, match=r"^.*changed\.safetensors: .*; "):
        files.load(path)


@given(st.data())
def test_any_header_of_weights_is_read_or_named(
    initial: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = initial.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    del header["__metadata__"]["sha256"]
    described = json.loads(header["__metadata__"]["architecture"])
    if data.draw(st.booleans()):
        header["__metadata__"]["architecture"] = json.dumps(edited(described, data))
    else:
        header = edited(header, data)
    text = json.dumps(header).encode()
    path = tmp_path_factory.getbasetemp() / "header.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    try:
        network, weights = files.load(path)
    except ArtifactError as error:
        assert "header.safetensors: " in str(error)
    else:
        check_weights(network, weights)


MADE = population.Children(
    generation=1,
    children=tuple(
        population.Child(
            index=index,
            genotype=PAPER_ANCESTOR,
            seed=index,
            parent_rank=0,
            parent_origin={"generation": 0, "child": 0},
            mutations=({"kind": "blocks", "module": 1, "before": 1, "after": 2},),
        )
        for index in range(2)
    ),
)
SCORE = population.Score(genotype=PAPER_ANCESTOR, loss=1.0, epoch=1, parameters=9, multiply_adds=9, status="ok")
RANKED = population.rank(MADE, [SCORE, SCORE], [], 9.0, -0.1)
DOCUMENTS = [MADE, SCORE, population.Parents(generation=1, parents=tuple(RANKED))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: type(one).__name__)
@given(data=st.data())
def test_any_document_is_read_or_named(
    document: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "document.json"
    path.write_text(json.dumps(edited(document.model_dump(mode="json"), data)))
    try:
        found = population.read(type(document), path)
    except ArtifactError as error:
        assert "document.json: " in str(error) and ("delete it" in str(error) or "update" in str(error))
    else:
        population.write(path, found)
        assert population.read(type(document), path) == found


@given(st.text(max_size=80) | st.binary(max_size=80))
def test_any_file_is_a_pool_or_is_named(tmp_path_factory: pytest.TempPathFactory, content: str | bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "population.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="replace"))
    for read in (population.read_pool, population.read_history, population.read_genotypes):
        try:
            read(path)
        except ArtifactError as error:
            assert "population.csv" in str(error) and "again" in str(error)
        else:
            assert read is population.read_genotypes  # which may be empty


# Configurations and annotations


@cache
def _demo() -> dict[str, Any]:
    import yaml

    demo = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    demo["dataset"] = yaml.safe_load((ROOT / demo["dataset"]).read_text())
    return demo


@settings(max_examples=2 * settings.default.max_examples)
@given(st.data())
def test_any_configuration_is_valid_or_explained(data: st.DataObject) -> None:
    try:
        raw = edited(_demo(), data)
        assume(isinstance(raw, dict))
        found = config.load(raw, ROOT)
    except ConfigError as error:
        assert str(error) and "\n" not in str(error)
    else:
        json.loads(found.model_dump_json())


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> made_faults.Data:
    made = made_faults.data(tmp_path_factory.mktemp("annotations"))
    made.write()
    return made


@settings(max_examples=2 * settings.default.max_examples)
@given(st.data())
def test_any_annotations_are_validated_and_read_or_named(good: made_faults.Data, data: st.DataObject) -> None:
    """What passes the validation stops nothing that comes after it; the policy may be any."""
    good.annotations.write_text(json.dumps(edited(good.content, data)))
    policies = ValidationConfig(
        **{
            kind: data.draw(st.sampled_from(allowed(kind)))
            for kind in data.draw(st.sets(st.sampled_from(list(REMEDIED))))
        }
    )
    try:
        found = validate(good.annotations, made_faults.POINTS, policies, images=good.folder)
    except DataError as error:
        assert "annotations.json" in str(error) or ".jpg" in str(error)
        assert ";" in str(error)
        return
    path = good.folder / "verdict.json"
    verdict.write(path, found)
    assert verdict.read(path) == found
    for training in (True, False):
        people = coco.ground_truth(good.annotations, made_faults.POINTS, training=training, verdict=found).people
        assert all(np.isfinite([*person.box, *person.keypoints]).all() for person in people)
    evaluated = found.evaluated(json.loads(good.annotations.read_text()), len(made_faults.POINTS.names))
    from pipeline_lib.evaluate.coco import truth

    truth(evaluated, len(made_faults.POINTS.names))


REMEDIED = [kind for kind in ValidationConfig.model_fields if len(allowed(kind)) > 1]


@given(st.data())
def test_any_detections_are_validated_and_read_or_named(good: made_faults.Data, data: st.DataObject) -> None:
    good.annotations.write_text(json.dumps(good.content))
    good.detected.write_text(json.dumps(edited(good.detections, data)))
    try:
        found = validate_detections(good.detected, good.annotations, ValidationConfig(malformed_detection="drop"))
        coco.detections(good.detected, good.annotations, made_faults.POINTS, of_detections=found)
    except EvoPoseError as error:
        assert "detections.json" in str(error)


@given(st.text(max_size=60) | VALUES.map(json.dumps))
def test_any_text_of_an_option_is_taken_or_refused(text: str) -> None:
    from pipeline_lib.config import EvaluationConfig, KeypointSchema, Simulation, TrainSettings

    for model in (TrainSettings, EvaluationConfig, KeypointSchema, SearchSpace, Simulation):
        try:
            cli.settings(model, text)
        except ConfigError as error:
            assert str(error).startswith("--settings: ")
    for kind in (
        cli.positive,
        cli.non_negative,
        cli.finite,
        cli.positive_number,
        cli.fraction,
        cli.share,
        cli.json_value,
    ):
        try:
            kind(text)
        except argparse.ArgumentTypeError as error:
            assert "expected" in str(error)


def test_the_world_is_good(good: made_faults.Data) -> None:
    """Else all of the above would pass for another reason."""
    good.write()
    assert not validate(good.annotations, made_faults.POINTS, ValidationConfig(), images=good.folder).found
    assert config.load(_demo(), ROOT).experiment == "demo"
    assert TINY.keypoints == len(COCO_KEYPOINTS.names) and PAPER_SPACE.kernels
