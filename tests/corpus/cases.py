"""The malformed inputs, by kind."""

import json
import struct
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from pipeline_lib.data.tfrecord import encode_example, masked_crc, write_record
from tests.corpus import world
from tests.corpus.changes import (
    GONE,
    architecture,
    become,
    cell,
    content,
    copied,
    cut,
    each,
    entry,
    flipped,
    gone,
    header,
    made,
    noise,
    nothing,
    png,
    replaced,
    resized_jpeg,
)  # fmt: skip
from tests.corpus.harness import Case, Change
from tests.corpus.world import G0, G1, KEYPOINTS, MANIFEST
from tests.unit.made_faults import FAULTS, Data

ANNOTATIONS, DETECTIONS, PICTURE = "images/annotations.json", "images/detections.json", "images/2.jpg"
VALIDATE = [
    "validate",
    "--annotations",
    ANNOTATIONS,
    "--images",
    "images",
    "--keypoints",
    KEYPOINTS,
    "--verdict",
    "v.json",
]
DETECTED = ["validate", "--annotations", ANNOTATIONS, "--detections", DETECTIONS, "--validation", "verdict.json"]
DETECTED += ["--verdict", "v.json"]
ALL_FATAL = ["--settings", json.dumps(dict.fromkeys(FAULTS, "fatal"))]
MUTATE = ["mutate", *world.MUTATE, "--children", "c.json", "--genotypes", "g.csv"]
SELECT = [
    "select_parents",
    *world.select(1),
    "--population",
    "p.csv",
    "--survivors",
    "s.json",
    "--survivor-weights",
    "0.safetensors",
]
CHAMPION = ["champion", *world.CHAMPION, "--champion", "c.json", "--weights", "c.safetensors"]
TRANSFER = [
    *(
        "transfer",
        "--children",
        f"{G1}/children.json",
        "--member",
        "child_01",
        "--parents",
        f"{G0}/parents/0.safetensors",
    ),
    *("--weights", "w.safetensors", "--report", "r.json"),
]
INITIALISE = [
    *("initialise", "--children", f"{G0}/children.json", "--member", "child_00", "--height", "32", "--width", "32"),
    *("--keypoints", "2", "--space", json.dumps(world.SPACE), "--weights", "w.safetensors"),
]
SCORE = [
    "score",
    "--weights",
    f"{G1}/child_00/weights.safetensors",
    "--history",
    f"{G1}/child_00/history.csv",
    "--score",
    "s.json",
]
ADOPT = [
    "adopt",
    "--pool",
    f"{G1}/population.csv",
    *world.FITNESS,
    "--known",
    f"{G1}/genotypes.csv",
    "--population",
    "p.csv",
]
ADOPT += [
    "--genotypes",
    "g.csv",
    "--survivors",
    "s.json",
    "--weights",
    f"{G1}/parents/0.safetensors",
    "--survivor-weights",
    "0.safetensors",
]
COMPARE = [
    "compare",
    "--children",
    f"{G1}/children.json",
    "--control",
    f"{G0}/child_00/history.csv",
    "--table",
    "t.csv",
]
for _option, _file in (("inheritance", "inheritance.json"), ("transferred", "history.csv"), ("scratch", "history.csv")):
    COMPARE += [f"--{_option}", *(f"{G1}/child_0{_child}/{_file}" for _child in range(2))]
SCALE = [
    "scale",
    "--champion",
    "champion.safetensors",
    "--name",
    "small",
    "--settings",
    '{"height": 32, "width": 32}',
    "--keypoints",
    "2",
]
SCALE += ["--seed", "1", "--model", "m.json", "--weights", "w.safetensors", "--report", "r.json"]
EVALUATE = [
    "evaluate",
    "--annotations",
    ANNOTATIONS,
    "--results",
    "results.json",
    "--keypoints",
    KEYPOINTS,
    "--metrics",
    "m.json",
]
SUBMIT = [
    "submission",
    "--results",
    "results.json",
    "--images",
    ANNOTATIONS,
    "--keypoints",
    "2",
    "--archive",
    "person_keypoints_val2017_x_results.zip",
]
OVERLAYS = [
    "plot",
    "overlays",
    "--annotations",
    ANNOTATIONS,
    "--predictions",
    "results.json",
    "--images",
    "images",
    "--keypoints",
    KEYPOINTS,
]
OVERLAYS += ["--output", "o.png"]
RECORDS = ["records", MANIFEST]
SHARD = "data/val/00000-of-00002.tfrecord"
CONFIGURATION = ["configuration", "config.yaml"]
METRICS = ["plot", "metrics", "--metrics", "models/small/metrics_ground_truth.json", "--output", "m.svg"]
JOIN = ["join_videos", "--videos", "videos", "--images", "images", "--keypoints", KEYPOINTS, "--annotations", "j.json"]
SIMULATE = [
    *("simulate_training", "--initial", f"{G1}/child_00/initial.safetensors", "--weights", "w/w.safetensors"),
    *("--history", "w/h.csv", "--train-manifest", MANIFEST, "--val-manifest", MANIFEST, "--seed", "1"),
    *("--simulation", '{"seconds": 0.001, "table": "table.csv"}', "--settings", '{"epochs": 2, "batch": 4}'),
]
RESTORE = ["restore_artifacts", "delivered"]
WEIGHTS = f"{G1}/parents/0.safetensors"
FUTURE = "newer version"


def every() -> list[Case]:
    """All of the corpus."""
    return [
        *annotations(), *faults(), *pictures(), *detections(), *videos(), *populations(), *tables(), *weights(), *keras(), *records(),
        *results(), *configurations(), *arguments(), *environment(), *deliveries(), *parts(),
    ]  # fmt: skip


def _cases(
    kind: str, command: Sequence[str], file: str, given: dict[str, tuple[Change, str] | tuple[Change, str, str]]
) -> Iterator[Case]:
    for name, (change, item, *named) in given.items():
        yield Case(f"{kind}: {name}", kind, change, command, named[0] if named else file, item)


def annotations() -> Iterator[Case]:
    file = "annotations.json"
    yield from _cases("annotations", VALIDATE, file, {
        "cut": (cut(ANNOTATIONS), "not JSON"),
        "empty": (become(ANNOTATIONS, ""), "not JSON"),
        "noise": (noise(ANNOTATIONS), "not JSON"),
        "in UTF-16": (content(ANNOTATIONS, lambda data, _: data.decode().encode("utf-16")), "not JSON"),
        "brackets": (become(ANNOTATIONS, "[" * 100_000), "not JSON"),
        "a number of digits": (become(ANNOTATIONS, "1" * 10_000), "not JSON"),
        "a list": (become(ANNOTATIONS, "[]"), "`images` and `annotations`"),
        "null": (become(ANNOTATIONS, "null"), "`images` and `annotations`"),
        "no images": (entry(ANNOTATIONS, "images", GONE), "`images` and `annotations`"),
        "images by id": (entry(ANNOTATIONS, "images", {}), "`images` must be a list"),
        "captions": (entry(ANNOTATIONS, "annotations", GONE), "`annotations` must be a list"),
        "annotations by id": (entry(ANNOTATIONS, "annotations", "x"), "`annotations` must be a list"),
        "an image that is null": (entry(ANNOTATIONS, "images", 1, None), r"images\[1\]"),
        "a name that leads out": (entry(ANNOTATIONS, "images", 1, "file_name", "../images/2.jpg"), r"images\[1\]: .*below"),
        "an absolute name": (entry(ANNOTATIONS, "images", 1, "file_name", "/etc/passwd"), r"images\[1\]: .*below"),
        "a huge image": (entry(ANNOTATIONS, "images", 1, "height", 2**70), r"images\[1\]: image 2"),
        "an id beyond 64 bits": (entry(ANNOTATIONS, "images", 1, "id", 1e300), r"images\[1\]: id"),
        "keypoints of COCO": (entry(ANNOTATIONS, "annotations", 2, "keypoints", [0] * 51), r"annotations\[2\]: annotation 20"),
        "keypoints that are nested": (entry(ANNOTATIONS, "annotations", 2, "keypoints", [[5, 6, 2], [7, 8, 1]]), r"annotations\[2\]"),
        "not there": (gone(ANNOTATIONS), "no such file"),
    })  # fmt: skip
    missing = [*VALIDATE[:4], "pictures", *VALIDATE[5:]]
    yield Case("annotations: no folder of images", "annotations", nothing, missing, "pictures", "no such folder")


def faults() -> Iterator[Case]:
    """What the validation's own tests know, all of it fatal."""
    for kind, found in FAULTS.items():
        for what, fault in found.items():

            def change(folder: Path, _: Any, make: Any = fault.make) -> None:
                data = Data(
                    folder / "images",
                    json.loads((folder / ANNOTATIONS).read_text()),
                    json.loads((folder / DETECTIONS).read_text()),
                )
                make(data)
                data.write()

            detected = "detections.json" in fault.said
            command = DETECTED if detected else VALIDATE
            file = "detections.json" if detected else "2.jpg" if fault.said.startswith("2.jpg") else "annotations.json"
            yield Case(
                f"faults: {kind}, {what}", "faults", change, [*command, *ALL_FATAL], file, f"dataset.validation.{kind}"
            )


def pictures() -> Iterator[Case]:
    yield from _cases("pictures", VALIDATE, "2.jpg", {
        "cut": (cut(PICTURE), "image 2"),
        "cut at its end": (content(PICTURE, lambda data, _: data[:-40]), "image 2"),
        "noise": (noise(PICTURE), "image 2"),
        "a page": (become(PICTURE, "<!DOCTYPE html><html>404</html>"), "image 2"),
        "an archive": (copied("files.zip", PICTURE), "image 2"),
        "JPEG of 60000 x 60000": (resized_jpeg(PICTURE, 60000, 60000), "image 2"),
        "JPEG of 30000 x 30000": (resized_jpeg(PICTURE, 30000, 30000), "image 2"),
        "JPEG of 0 x 0": (resized_jpeg(PICTURE, 0, 0), "image 2"),
        "PNG of 60000 x 60000": (become(PICTURE, png(60000, 60000)), "image 2"),
        "PNG of 12000 x 12000": (become(PICTURE, png(12000, 12000)), "image 2"),
        "PNG with a wrong checksum": (content(PICTURE, lambda _, rng: png(30, 40)[:20] + b"x" + png(30, 40)[21:]), "image 2"),
        "GIF alone": (become(PICTURE, b"GIF89a" + bytes(20)), "image 2"),
        "BMP of a negative size": (become(PICTURE, b"BM" + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, -5, -5, 1, 24, 0, 0, 0, 0, 0, 0)), "image 2"),
        "TIFF without directory": (become(PICTURE, b"II*\0" + struct.pack("<I", 2**31)), "image 2"),
        "another picture's": (content(PICTURE, lambda _, rng: png(3, 4)), "image 2"),
    })  # fmt: skip


def detections() -> Iterator[Case]:
    yield from _cases("detections", [*DETECTED, *ALL_FATAL], "detections.json", {
        "cut": (cut(DETECTIONS), "not JSON"),
        "an object": (become(DETECTIONS, "{}"), "a JSON list"),
        "text": (become(DETECTIONS, '"x"'), "a JSON list"),
        "a score of text": (entry(DETECTIONS, 1, "score", "0.5"), r"\[1\]: score"),
        "a box of three": (entry(DETECTIONS, 1, "bbox", [1, 2, 3]), r"\[1\]: bbox"),
        "null": (entry(DETECTIONS, 1, None), r"\[1\]: category_id"),
        "no image": (entry(DETECTIONS, 1, "image_id", GONE), r"\[1\]: image_id"),
    })  # fmt: skip
    yield from _cases("verdicts", DETECTED, "verdict.json", {
        "cut": (cut("verdict.json"), "JSON"),
        "a list": (become("verdict.json", "[]"), "object"),
        "of the future": (entry("verdict.json", "schema_version", 2), FUTURE),
        "of no version": (entry("verdict.json", "schema_version", "1"), "schema_version"),
        "another key": (entry("verdict.json", "remarks", 1), "remarks"),
        "places beyond": (entry("verdict.json", "dropped", {"images": {"x": [[99, 1]]}}), "images: places beyond"),
        "of other annotations": (entry(ANNOTATIONS, "info", {}), "not the file that was validated", "annotations.json"),
    })  # fmt: skip
    yield Case("detections: changed", "detections", entry(DETECTIONS, 1, "score", 0.25),
               ["convert", "--annotations", ANNOTATIONS, "--images", "images", "--validation", "verdict.json", "--keypoints", KEYPOINTS,
                "--purpose", "detections", "--detections", DETECTIONS, "--detections-validation", "detected.json", "--output", "o/manifest.json"],
               "detections.json", "not the file that was validated")  # fmt: skip


def videos() -> Iterator[Case]:
    video = "videos/one.json"
    yield from _cases("videos", JOIN, "one.json", {
        "cut": (cut(video), "not JSON"),
        "a list": (become(video, "[]"), "an object with images"),
        "no categories": (entry(video, "categories", GONE), "`categories` must be a list"),
        "other keypoints": (entry(video, "categories", 0, "keypoints", ["nose"]), r"categories\[0\]"),
        "an id of text": (entry(video, "images", 1, "id", "x"), r"images\[1\]: id"),
        "an id twice": (entry(video, "images", 1, "id", 11), r"images\[1\]: id 11 occurs twice"),
        "no name": (entry(video, "images", 1, "file_name", GONE), r"images\[1\]: file_name"),
        "a name that leads out": (entry(video, "images", 1, "file_name", "../../x.jpg"), r"images\[1\]: file_name"),
        "labelled perhaps": (entry(video, "images", 1, "is_labeled", "yes"), r"images\[1\]: is_labeled"),
        "a person in no image": (entry(video, "annotations", 1, "image_id", 99), r"annotations\[1\]: image_id 99"),
        "nobody": (entry(video, "annotations", []), "no labelled frame has a person", "videos"),
        "no file": (gone(video), "no videos' files", "videos"),
    })  # fmt: skip


def populations() -> Iterator[Case]:
    parents, children, score = f"{G0}/parents.json", f"{G1}/children.json", f"{G1}/child_01/score.json"
    wide = [[1, 3, 50, 1], *world.ANCESTOR[1:]]
    yield from _cases("parents", MUTATE, "parents.json", {
        "cut": (cut(parents), "not readable as JSON"),
        "empty": (become(parents, ""), "not readable as JSON"),
        "NaN": (entry(parents, "parents", 0, "loss", float("nan")), "parents.0.loss"),
        "a list": (become(parents, "[]"), "object"),
        "of the future": (entry(parents, "schema_version", 7), FUTURE),
        "of version true": (entry(parents, "schema_version", True), "schema_version is True"),
        "nobody": (entry(parents, "parents", []), "parents"),
        "another key": (entry(parents, "parents", 0, "age", 3), "parents.0.age"),
        "no genotype": (entry(parents, "parents", 0, "genotype", GONE), "parents.0.genotype"),
        "a genotype of six modules": (entry(parents, "parents", 0, "genotype", world.ANCESTOR[:6]), "parents.0.genotype"),
        "a genotype of text": (entry(parents, "parents", 0, "genotype", 2, 1, "3"), "parents.0.genotype.2.1"),
        "a genotype of fractions": (entry(parents, "parents", 0, "genotype", 2, 1, 3.5), "parents.0.genotype.2.1"),
        "a genotype of another space": (entry(parents, "parents", 0, "genotype", wide), "another search space"),
        "a genotype of even kernels": (entry(parents, "parents", 0, "genotype", 1, 1, 4), "module 2 has kernel 4"),
        "a rank": (entry(parents, "parents", 0, "rank", 5), "ranks"),
        "a negative loss": (entry(parents, "parents", 0, "loss", -1.0), "parents.0.loss"),
        "a loss that is not there": (entry(parents, "parents", 0, "loss", None), "parents.0: loss"),
        "born later": (entry(parents, "parents", 0, "origin", "generation", 9), "born after"),
        "no parameters": (entry(parents, "parents", 0, "parameters", 0), "parents.0.parameters"),
        "a status": (entry(parents, "parents", 0, "status", "good"), "parents.0.status"),
        "not there": (gone(parents), "no such file"),
        "an origin of text": (entry(parents, "parents", 0, "origin", "x"), "parents.0.origin"),
    })  # fmt: skip
    later = f"{G1}/parents.json"
    yield from _cases("parents of a champion", CHAMPION, "parents.json", {
        "twice the same": (entry(later, "parents", 1, "origin", lambda _: json.loads(Path(later).read_text())["parents"][0]["origin"]), "twice"),
        "not sorted": (entry(later, "parents", 0, "fitness", 1e9), "fitness"),
        "an endless fitness": (entry(later, "parents", 0, "fitness", float("inf")), "parents.0.fitness"),
    })  # fmt: skip
    yield from _cases("children", TRANSFER, "children.json", {
        "cut": (cut(children), "not readable as JSON"),
        "of the future": (entry(children, "schema_version", 2), FUTURE),
        "nobody": (entry(children, "children", []), "children"),
        "numbers": (entry(children, "children", 0, "index", 1), "indices"),
        "a seed": (entry(children, "children", 1, "seed", -4), "children.1.seed"),
        "no parent": (entry(children, "children", 1, "parent_rank", None), "child_01"),
        "a parent that is none": (entry(children, "children", 1, "parent_rank", 3), "child_01"),
        "mutations of text": (entry(children, "children", 1, "mutations", ["x"]), "children.1.mutations"),
        "a mutation without kind": (entry(children, "children", 1, "mutations", [{"module": 1}]), "children.1.mutations"),
        "other mutations": (entry(children, "children", 1, "mutations", []), "no mutation as described"),
        "another genotype": (entry(children, "children", 1, "genotype", wide), "no mutation as described"),
        "a giant": (entry(children, "children", 1, "genotype", [[99, 99, 4096, 64]] * 7), "no mutation as described"),
        "beyond all limits": (entry(children, "children", 1, "genotype", [[10**9, 3, 1, 1]] * 7), "children.1.genotype.0.0"),
        "a fallback": (entry(children, "children", 1, "fallback", "x"), "children.1.fallback"),
    })  # fmt: skip
    first = f"{G0}/children.json"
    yield from _cases("children of a first generation", INITIALISE, "children.json", {
        "a giant": (entry(first, "children", 0, "genotype", [[1, 3, 4096, 1]] * 6 + [[1, 99, 4096, 1]]), "parameters", "network"),
        "strides": (entry(first, "children", 0, "genotype", [[1, 3, 1, 2]] * 7), "32x32", "stride"),
        "null": (become(first, "null"), "object"),
    })  # fmt: skip
    yield from _cases("scores", SELECT, "score.json", {
        "cut": (cut(score), "not readable as JSON"),
        "noise": (noise(score), "not readable as JSON"),
        "of the future": (entry(score, "schema_version", 99), FUTURE),
        "of another child": (entry(score, "genotype", world.ANCESTOR), "child 1", "children.json"),
        "endless": (entry(score, "loss", float("inf")), "loss"),
        "text": (entry(score, "loss", "12"), "loss", "score.json"),
        "no loss": (entry(score, "loss", None), "loss"),
        "an epoch": (entry(score, "epoch", -1), "epoch"),
        "a list of losses": (entry(score, "loss", [1]), "loss"),
    })  # fmt: skip
    yield Case("scores: both failed", "scores",
               each(*(each(entry(f"{G1}/child_0{child}/score.json", "status", "failed"),
                           entry(f"{G1}/child_0{child}/score.json", "reason", "x")) for child in range(2))),
               [*SELECT, "--max-failed", "0.1"], "generation 1", "child_00")  # fmt: skip
    champion = [
        "plot",
        "pareto",
        "--populations",
        f"{G1}/population.csv",
        "--champion",
        "champion.json",
        "--output",
        "p.svg",
    ]
    yield from _cases("champions", champion, "champion.json", {
        "of the future": (entry("champion.json", "schema_version", 2), FUTURE),
        "an origin": (entry("champion.json", "origin", "child", "x"), "origin.child"),
    })  # fmt: skip


def tables() -> Iterator[Case]:
    known, history, pool = f"{G0}/genotypes.csv", f"{G1}/child_00/history.csv", f"{G1}/population.csv"
    yield from _cases("genotypes", MUTATE, "genotypes.csv", {
        "another column": (replaced(known, "genotype", "genome"), "columns"),
        "a genotype of text": (cell(known, 1, "genotype", "x"), "line 2"),
        "a genotype of six modules": (cell(known, 1, "genotype", "1.3.1.1-1.3.1.1"), "line 2"),
        "a cell more": (content(known, lambda data, _: data + b"1,2,3,4\n"), "line 3"),
        "a cell less": (content(known, lambda data, _: data + b"1\n"), "line 3"),
        "noise": (noise(known), "CSV"),
        "zeros": (content(known, lambda data, _: data + b"\0\0"), "line 3|CSV"),
        "a quotation mark": (content(known, lambda data, _: data + b'1,2,"x\n'), "CSV"),
        "not there": (gone(known), "no such file"),
        "a cell of megabytes": (content(known, lambda data, _: data + b"1,2," + b"1" * 300_000), "CSV"),
    })  # fmt: skip
    yield from _cases("histories", SCORE, "history.csv", {
        "a loss of text": (cell(history, 1, "val_loss", "x"), "line 2"),
        "an epoch of text": (cell(history, 2, "epoch", "two"), "line 3"),
        "no losses": (replaced(history, "val_loss", "loss_of_validation"), "no column val_loss"),
        "empty": (become(history, ""), "no rows"),
    })  # fmt: skip
    yield from _cases("inheritances", COMPARE, "inheritance.json", {
        "no fraction": (entry(f"{G1}/child_00/inheritance.json", "fraction", GONE), "fraction"),
        "more than all": (entry(f"{G1}/child_00/inheritance.json", "fraction", 7), "fraction"),
        "of the future": (entry(f"{G1}/child_00/inheritance.json", "schema_version", 3), FUTURE),
        "no loss before the first step": (nothing, "child 0", "children.json"),
    })  # fmt: skip
    yield from _cases("pools", ADOPT, "population.csv", {
        "cut in a row": (content(pool, lambda data, _: data[:-30]), "line|columns|header"),
        "no rows": (content(pool, lambda data, _: data.splitlines(keepends=True)[0]), "no rows"),
        "a column": (replaced(pool, "multiply_adds", "flops"), "no column multiply_adds"),
        "parameters of text": (cell(pool, 1, "parameters", "many"), "line 2"),
        "no number as loss": (cell(pool, 1, "loss", "nan"), "line 2"),
        "a status": (cell(pool, 1, "status", "fine"), "line 2"),
        "ranks": (cell(pool, 1, "rank", "4"), "ranks"),
        "a genotype": (cell(pool, 1, "genotype", "1-2-3"), "line 2"),
    })  # fmt: skip
    yield from _cases("simulated times", SIMULATE, "table.csv", {
        "no time": (cell("table.csv", 1, "seconds", "0"), "line 2"),
        "a loss": (cell("table.csv", 1, "loss", "inf"), "line 2"),
        "a column": (become("table.csv", "a,b\n1,2\n"), "line 2"),
    })  # fmt: skip


def weights() -> Iterator[Case]:
    file = "0.safetensors"
    yield from _cases("weights", CHAMPION, file, {
        "cut": (cut(WEIGHTS), "safetensors"),
        "empty": (become(WEIGHTS, b""), "safetensors"),
        "noise": (noise(WEIGHTS), "safetensors"),
        "a header of 2**60 bytes": (become(WEIGHTS, struct.pack("<Q", 2**60) + b"{}"), "safetensors"),
        "a tensor of 2**60 bytes": (header(WEIGHTS, lambda entries: entries["final_conv/bias"].update(shape=[2**58])), "safetensors"),
        "overlapping tensors": (header(WEIGHTS, lambda entries: entries["final_conv/bias"].update(data_offsets=[4, 12])), "safetensors"),
        "a flipped bit of its data": (flipped(WEIGHTS, 0.9, 1.0), "checksum"),
        "another flipped bit": (flipped(WEIGHTS, 0.6, 0.9), "checksum"),
        "another checksum": (content(WEIGHTS, lambda data, _: data.replace(b'"sha256":"', b'"sha256":"0', 1)[:-1]), "safetensors|checksum"),
        "no architecture": (header(WEIGHTS, lambda entries: entries["__metadata__"].pop("architecture")), "architecture"),
        "another entry": (header(WEIGHTS, lambda entries: entries["__metadata__"].update(sha257="0")), "sha257"),
        "an architecture of text": (header(WEIGHTS, lambda entries: entries["__metadata__"].update(architecture="x")), "architecture"),
        "brackets": (header(WEIGHTS, lambda entries: entries["__metadata__"].update(architecture="[" * 9999)), "architecture"),
        "an architecture that is a number": (header(WEIGHTS, lambda entries: entries["__metadata__"].update(architecture="1")), "architecture"),
        "blocks by the billion": (architecture(WEIGHTS, genotype=[[10**9, 3, 1, 1]] * 7), "genotype"),
        "a stem of text": (architecture(WEIGHTS, stem="8"), "stem"),
        "a height of 2**40": (architecture(WEIGHTS, height=2**40), "height"),
        "a height of 33": (architecture(WEIGHTS, height=33), "33x32"),
        "an unknown field": (architecture(WEIGHTS, depth=3), "depth"),
        "an unknown network": (architecture(WEIGHTS, network="x"), "architecture"),
        "a scale of text": (architecture(WEIGHTS, scale="xy"), "architecture"),
        "of another genotype": (copied(f"{G1}/parents/1.safetensors", WEIGHTS), "weights of"),
        "not there": (gone(WEIGHTS), "no such file"),
        "a folder": (each(gone(WEIGHTS), made(f"{WEIGHTS}/x", "")), "safetensors|directory"),
        "a pickle": (become(WEIGHTS, b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94."), "safetensors"),
    })  # fmt: skip
    parent = f"{G0}/parents/0.safetensors"
    yield from _cases("weights of a parent", TRANSFER, file, {
        "a flipped bit": (flipped(parent, 0.8, 1.0), "checksum"),
        "of a child": (copied(f"{G1}/child_00/weights.safetensors", parent), "no mutation as described"),
        "a tensor less": (header(parent, lambda entries: entries.update({"x": entries.pop("final_conv/bias")})), "final_conv/bias is missing"),
        "a tensor of another shape": (header(parent, lambda entries: entries["final_conv/bias"].update(shape=[2, 1])), "final_conv/bias has shape"),
        "of other keypoints": (architecture(parent, keypoints=3), "final_conv"),
        "of a wider head": (architecture(parent, head=16), "final_conv|head"),
        "an unknown type": (header(parent, lambda entries: entries["final_conv/bias"].update(dtype="F99")), "safetensors"),
    })  # fmt: skip
    yield from _cases("weights of a survivor", SELECT, "weights.safetensors", {
        "a flipped bit": (each(*(flipped(f"{G1}/child_0{child}/weights.safetensors", 0.8) for child in range(2)), flipped(parent, 0.8)), "checksum", ".safetensors"),
        "mixed up": (each(*(copied("champion.safetensors", f"{G1}/child_0{child}/weights.safetensors") for child in range(2)), copied(f"{G1}/child_00/initial.safetensors", parent)), "weights of", ".safetensors"),
    })  # fmt: skip
    yield from _cases("weights of a child", SCORE, "weights.safetensors", {
        "cut": (cut(f"{G1}/child_00/weights.safetensors"), "safetensors"),
        "of another program": (become(f"{G1}/child_00/weights.safetensors", struct.pack("<Q", 2) + b"{}"), "architecture"),
    })  # fmt: skip
    yield from _cases("weights of a champion", SCALE, "champion.safetensors", {
        "a flipped bit": (flipped("champion.safetensors", 0.7, 1.0), "checksum"),
        "of 99 keypoints": (architecture("champion.safetensors", keypoints=99), "final_conv"),
        "negative": (architecture("champion.safetensors", keypoints=-1), "keypoints"),
    })  # fmt: skip


def _hdf5(make: Any) -> Change:
    def apply(folder: Path, _: Any) -> None:
        with h5py.File(folder / "b0.weights.h5", "w") as stream:
            make(stream)

    return apply


def _bomb(stream: h5py.File) -> None:
    stream.create_dataset("layers/conv2d/vars/0", (2**20, 2**20), np.float32, chunks=(64, 64))


def _external(stream: h5py.File) -> None:
    stream["layers/conv2d/vars/0"] = h5py.ExternalLink("other.h5", "/x")


def _raw(stream: h5py.File) -> None:
    stream.create_dataset("x", (4,), np.float32, external=[("/etc/hostname", 0, 16)])


def _classes(stream: h5py.File) -> None:
    stream.create_dataset("layers/dense/vars/0", (10, 10**6), np.float32, chunks=(10, 10))


def _zip(**members: bytes) -> Change:
    def apply(folder: Path, _: Any) -> None:
        with zipfile.ZipFile(folder / "b0.keras", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members.items():
                archive.writestr(name.replace("__", "."), data)

    return apply


def keras() -> Iterator[Case]:
    h5, archive = "b0.weights.h5", "b0.keras"
    yield from _cases("HDF5", ["keras", h5], h5, {
        "cut": (cut(h5), "EfficientNetB0"),
        "noise": (noise(h5), "EfficientNetB0"),
        "empty": (become(h5, ""), "EfficientNetB0"),
        "a tensor of 4 TB": (_hdf5(_bomb), "layers/conv2d/vars/0 has the shape"),
        "a link to another file": (_hdf5(_external), "layers/conv2d/vars/0 leads to another file"),
        "data in another file": (_hdf5(_raw), "x lies in another file"),
        "a million classes": (_hdf5(_classes), "classes"),
    })  # fmt: skip
    yield from _cases("keras", ["keras", archive], archive, {
        "cut": (content(archive, lambda data, _: data[:500]), "EfficientNetB0"),
        "no weights": (_zip(config__json=b"{}"), "there is no model.weights.h5"),
        "weights of gigabytes": (_zip(model__weights__h5=bytes(400_000_000)), "at most"),
        "weights of text": (_zip(model__weights__h5=b"x"), "EfficientNetB0"),
    })  # fmt: skip


def _record(features: dict[str, Any] | bytes) -> Change:
    """The first record of the shard is another one, as a writer would write it; the manifest knows the size."""

    def apply(folder: Path, _: Any) -> None:
        data = (folder / SHARD).read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        with (folder / SHARD).open("wb") as stream:
            write_record(stream, features if isinstance(features, bytes) else encode_example(features))
            stream.write(data[16 + length :])
        _resize(folder)

    return apply


def _resize(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["shards"][0]["bytes"] = (folder / SHARD).stat().st_size
    (folder / MANIFEST).write_text(json.dumps(manifest))


def _known_size(change: Change) -> Change:
    return each(change, lambda folder, _: _resize(folder))


GOOD: dict[str, Any] = {
    "image": png(30, 40),
    **{key: np.array([1], np.int64) for key in ("image_id", "annotation_id", "height", "width")},
    "box": np.ones(4, np.float32),
    "keypoints": np.ones(6, np.float32),
    "score": np.ones(1, np.float32),
}


def records() -> Iterator[Case]:
    yield from _cases("manifests", RECORDS, "manifest.json", {
        "cut": (cut(MANIFEST), "JSON"),
        "a list": (become(MANIFEST, "[1]"), "object"),
        "of the future": (entry(MANIFEST, "schema_version", 2), FUTURE),
        "no shards": (entry(MANIFEST, "shards", GONE), "shards"),
        "shards of none": (each(entry(MANIFEST, "shards", []), entry(MANIFEST, "examples", 0)), "no records"),
        "a shard elsewhere": (entry(MANIFEST, "shards", 0, "file", "../../../etc/passwd"), "shards.0.file"),
        "an absolute shard": (entry(MANIFEST, "shards", 0, "file", "/etc/passwd"), "shards.0.file"),
        "examples": (entry(MANIFEST, "examples", 5), "5 examples"),
        "examples by the trillion": (each(entry(MANIFEST, "shards", 0, "examples", 10**15), entry(MANIFEST, "examples", 10**15 + 2)), "too short"),
        "negative examples": (entry(MANIFEST, "shards", 0, "examples", -4), "shards.0.examples"),
        "examples of text": (entry(MANIFEST, "shards", 0, "examples", "4"), "shards.0.examples"),
        "records": (entry(MANIFEST, "records", "videos"), "records"),
        "crops of nothing": (entry(MANIFEST, "records", "crops"), "crops"),
        "crops of a giant": (each(entry(MANIFEST, "records", "crops"), entry(MANIFEST, "crops", {"reach": {"height": 10**9, "width": 10**9}, "encoding": "raw", "quality": None})), "height"),
        "keypoints": (entry(MANIFEST, "keypoints", "names", []), "keypoints"),
        "sigmas": (entry(MANIFEST, "keypoints", "sigmas", [1]), "keypoints"),
        "not there": (gone(MANIFEST), "no such file"),
        "a shard is not there": (gone(SHARD), "00000-of-00002.tfrecord is missing"),
    })  # fmt: skip
    shard = Path(SHARD).name
    yield from _cases("shards", RECORDS, shard, {
        "cut": (cut(SHARD), "bytes"),
        "a byte more": (content(SHARD, lambda data, _: data + b"x"), "bytes"),
        "cut, and known": (_known_size(content(SHARD, lambda data, _: data[:-7])), "record 3"),
        "cut in a header": (_known_size(content(SHARD, lambda data, _: data + b"12345")), "record 4"),
        "a record less": (_known_size(copied("data/val/00001-of-00002.tfrecord", SHARD)), "2 records"),
        "a flipped bit in a picture": (flipped(SHARD, 0.1, 0.2), "record 0"),
        "a flipped bit in the third record": (flipped(SHARD, 0.6, 0.7), "record 2"),
        "a flipped bit of a length": (content(SHARD, lambda data, _: bytes([data[0] ^ 1]) + data[1:]), "record 0"),
        "a length of 2**60": (content(SHARD, lambda data, _: struct.pack("<Q", 2**60) + masked_crc(struct.pack("<Q", 2**60)) + data[12:]), "record 0"),
        "noise": (content(SHARD, lambda data, rng: rng.randbytes(len(data))), "record 0"),
        "a record of noise": (_record(b"noise"), "record 0"),
        "an empty record": (_record(b""), "record 0"),
        "no picture": (_record({key: value for key, value in GOOD.items() if key != "image"}), "record 0"),
        "no box": (_record({key: value for key, value in GOOD.items() if key != "box"}), "record 0"),
        "other keypoints": (_record(GOOD | {"keypoints": np.ones(51, np.float32)}), "record 0"),
        "a box of three": (_record(GOOD | {"box": np.ones(3, np.float32)}), "record 0"),
        "no id": (_record(GOOD | {"image_id": np.array([], np.int64)}), "record 0"),
        "a picture of text": (_record(GOOD | {"image": b"text"}), r"record 0 \(image 1\)"),
        "a picture of 20000 x 20000": (_record(GOOD | {"image": png(20000, 20000)}), r"record 0 \(image 1\)"),
        "a box that is no number": (_record(GOOD | {"box": np.array([0, 0, np.nan, 5], np.float32)}), "record 0"),
        "an endless box": (_record(GOOD | {"box": np.array([0, 0, np.inf, 5], np.float32)}), "record 0"),
    })  # fmt: skip


def results() -> Iterator[Case]:
    file = "results.json"
    keypoints = {"keypoints": [1.0, 2.0, 0.5]}
    yield from _cases("results", EVALUATE, file, {
        "cut": (cut(file), "JSON"),
        "an object": (become(file, "{}"), "a JSON list of results"),
        "numbers": (become(file, "[1]"), r"\[0\]: 1 is no result"),
        "no image": (entry(file, 1, "image_id", GONE), r"\[1\]: image_id"),
        "no keypoints": (entry(file, 1, "keypoints", None), r"\[1\]: keypoints"),
        "keypoints that are no numbers": (entry(file, 1, "keypoints", [1, 2, float("nan"), 3, 4, 1]), r"\[1\]: keypoints"),
        "a score of text": (entry(file, 1, "score", "1"), r"\[1\]: score"),
        "truth that is text": (entry(ANNOTATIONS, "annotations", 1, "x"), r"annotations\[1\]", "annotations.json"),
        "truth without place": (entry(ANNOTATIONS, "annotations", 1, "bbox", 7), "annotation 11: bbox", "annotations.json"),
        "truth of nan": (entry(ANNOTATIONS, "annotations", 1, "keypoints", [float("nan")] * 6), "annotation 11: keypoints", "annotations.json"),
        "truth of images by name": (entry(ANNOTATIONS, "images", 1, "id", "x"), r"images\[1\]: id", "annotations.json"),
        "of another image": (entry(file, 1, "image_id", 77), "result 1: image 77"),
        "of other keypoints": (entry(file, 1, {**keypoints, "image_id": 2, "category_id": 1, "score": 1}), "result 1: 3 keypoint"),
    })  # fmt: skip
    yield from _cases("results to submit", SUBMIT, file, {
        "none": (become(file, "[]"), "no results"),
        "of dogs": (entry(file, 1, "category_id", 18), "result 1: category 18"),
        "of another image": (entry(file, 1, "image_id", 77), "result 1: image 77"),
    })  # fmt: skip
    yield Case(
        "results: an archive of another name", "results", nothing, [*SUBMIT[:-1], "x.zip"], "x.zip", "person_keypoints_"
    )
    yield from _cases("results to draw", OVERLAYS, file, {
        "other keypoints": (entry(file, 1, {**keypoints, "image_id": 2, "category_id": 1, "score": 1}), "3 keypoint numbers"),
        "a picture that is none": (noise("images/1.jpg"), "1.jpg", "1.jpg"),
        "a picture elsewhere": (entry(ANNOTATIONS, "images", 0, "file_name", "../picture.png"), r"images\[0\]", "annotations.json"),
    })  # fmt: skip
    metrics = "models/small/metrics_ground_truth.json"
    yield from _cases("metrics", METRICS, "metrics_ground_truth.json", {
        "cut": (cut(metrics), "JSON"),
        "of the future": (entry(metrics, "schema_version", 2), FUTURE),
        "no AP": (entry(metrics, "metrics", "AP", GONE), "AP"),
        "an AP of text": (entry(metrics, "metrics", "AP", "high"), "high"),
    })  # fmt: skip
    enter = ["enter_server_metrics", "--stats", "stats.json", "--model", f"{G1}/child_00"]
    yield from _cases("answers of the server", enter, "stats.json", {
        "not there": (nothing, "no such file"),
        "percent": (made("stats.json", json.dumps(dict.fromkeys(("AP", "AP50", "AP75", "APM", "APL", "AR"), 70.0))), "AP is 70.0"),
        "a list of three": (made("stats.json", "[1, 2, 3]"), "an object of names"),
        "no AR": (made("stats.json", '{"AP": 0.5}'), "missing"),
    })  # fmt: skip


def configurations() -> Iterator[Case]:
    file = "config.yaml"
    good = {
        "an unknown key": (("learning_rate", 1), "learning_rate"),
        "no experiment": (("experiment", GONE), "experiment"),
        "an experiment elsewhere": (("experiment", "../x"), "experiment"),
        "an experiment that is reserved": (("experiment", "data"), "experiment"),
        "a negative seed": (("seed", -1), "seed"),
        "a seed of text": (("seed", "1"), "seed"),
        "an odd size": (("input", "height", 33), "input"),
        "a huge size": (("input", "height", 10**6), "input.height"),
        "generations by the million": (("search", "generations", 10**7), "search.generations"),
        "children that are none": (("search", "children", 0), "search.children"),
        "more parents than there are": (("search", "parents", 50), "parents"),
        "gamma that is no number": (("search", "gamma", float("nan")), "search.gamma"),
        "an ancestor outside": (("search", "ancestor", 0, [9, 3, 1, 1]), "module 1"),
        "an ancestor of text": (("search", "ancestor", "x"), "search.ancestor"),
        "an ancestor of six": (("search", "ancestor", 6, GONE), "search.ancestor"),
        "even kernels": (("search", "space", "kernels", [2]), "search.space.kernels"),
        "a stride limit": (("search", "space", "stride_limit", 7), "search.space.stride_limit"),
        "a batch of null": (("search", "train", "batch", 0), "search.train.batch"),
        "epochs by the billion": (("search", "train", "epochs", 10**9), "search.train.epochs"),
        "no models": (("final", "models", {}), "final"),
        "an unknown network": (("final", "models", "small", "network", "resnet"), "final.models.small"),
        "a section of text": (("train", "fast"), "train"),
        "a section that is a list": (("search", "train", [1]), "search.train"),
        "an unknown runner": (("conversion", {"runner": "Nobody"}), "conversion.runner"),
        "weights as a pickle": (
            ("final", "models", "small", "pretrained", "weights.pkl"),
            "final.models.small.pretrained",
        ),
        "only nobody": (("only", {"generation": 1, "children": [9]}), "only.children"),
        "a branch from nowhere": (("branch", "other"), "branch"),
        "resumed beyond": (("resume_from", 9), "resume_from"),
        "a data set that is not there": (("dataset", "data.yaml"), "dataset"),
        "a device": (("device", "abacus"), "device"),
    }
    for name, (place, item) in good.items():
        yield Case(
            f"configurations: {name}",
            "configurations",
            entry(file, *place),
            CONFIGURATION,
            item.replace("\\", ""),
            item,
        )
    dataset = {
        "a data set of text": (become("dataset.yaml", "x"), "dataset"),
        "a data set that runs code": (become("dataset.yaml", "!!python/object/apply:os.system ['touch owned']"), "dataset.yaml"),
        "a data set with tabs": (become("dataset.yaml", "a:\n\t- b"), "dataset.yaml"),
        "a data set of noise": (become("dataset.yaml", b"\xff\xfe\xfa\x80"), "dataset.yaml"),
        "no sigmas": (entry("dataset.yaml", "keypoints", "sigmas", GONE), "sigmas"),
        "a pair of unknown keypoints": (entry("dataset.yaml", "keypoints", "flip_pairs", [["a", "b"]]), "dataset.keypoints"),
        "no training split": (entry("dataset.yaml", "train", GONE), "dataset.train"),
        "a policy": (entry("dataset.yaml", "validation", {"cmyk_image": "ignore"}), "dataset.validation.cmyk_image"),
        "a policy without meaning": (entry("dataset.yaml", "validation", {"missing_image": "repair"}), "dataset.validation.missing_image"),
        "no annotations": (gone(ANNOTATIONS), "annotations.json"),
    }  # fmt: skip
    for name, (change, item) in dataset.items():
        yield Case(f"configurations: {name}", "configurations", change, CONFIGURATION, item, item)


def arguments() -> Iterator[Case]:
    def option(name: str, program: Sequence[str], option: str, value: str, item: str = "") -> Case:
        command = list(program)
        if option in command:
            command[command.index(option) + 1] = value
        else:
            command += [option, value]
        return Case(f"arguments: {name}", "arguments", nothing, command, option, item)

    ancestor = [
        "ancestor",
        "--genotype",
        json.dumps(world.ANCESTOR),
        "--seed",
        "1",
        "--children",
        "c.json",
        "--genotypes",
        "g.csv",
    ]
    yield option("a genotype of text", ancestor, "--genotype", "x", "7 x 4")
    yield option("a genotype of six", ancestor, "--genotype", json.dumps(world.ANCESTOR[:6]), "7 x 4")
    yield option("a genotype of zeros", ancestor, "--genotype", json.dumps([[0] * 4] * 7), "7 x 4")
    yield option("a genotype of brackets", ancestor, "--genotype", "[" * 5000, "7 x 4")
    yield Case("arguments: a negative seed", "arguments", nothing, [*ancestor, "--seed=-1"], "--seed", "from 0")
    yield option("a huge seed", ancestor, "--seed", str(2**70), "from 0")
    yield option("a seed of 5000 digits", ancestor, "--seed", "1" * 5000, "integer")
    yield option("a space of text", MUTATE, "--space", "x", "JSON")
    yield option("a space with another key", MUTATE, "--space", '{"width": 3}', "width")
    yield option("no children", MUTATE, "--number", "0", "above 0")
    yield option("gamma of text", SELECT, "--gamma", "small", "finite")
    yield option("an endless target", SELECT, "--target-parameters", "inf", "finite")
    yield option("a negative target", SELECT, "--target-parameters", "0", "above 0")
    yield option("a share", SELECT, "--max-failed", "3", "from 0 to 1")
    yield option("keypoints that are a list", VALIDATE, "--keypoints", "[]", "section")
    yield option("settings", VALIDATE, "--settings", '{"missing_image": "hide"}', "missing_image")
    yield option("no workers", VALIDATE, "--workers", "0", "above 0")
    yield option("a simulation", SIMULATE, "--simulation", '{"seconds": -1}', "seconds")
    yield option("settings of a training", SIMULATE, "--settings", '{"epochs": 0}', "epochs")
    yield option("an unknown option", SCORE, "--fast", "1", "unrecognized")
    yield Case(
        "arguments: a member", "arguments", nothing, [*TRANSFER, "--member", "child_99"], "child_99", "2 children"
    )
    yield Case("arguments: no weights", "arguments", nothing, SCORE[:-2], "--score", "required")
    yield Case(
        "arguments: parents without weights",
        "arguments",
        nothing,
        [*SELECT, "--parents"],
        "parents",
        "need as many weights",
    )
    yield Case("arguments: a place that is a file", "arguments", nothing,
               ["score", *SCORE[1:-1], "table.csv/s.json"], "table.csv", "cannot be written")  # fmt: skip
    yield Case(
        "arguments: a place that is a folder",
        "arguments",
        nothing,
        ["score", *SCORE[1:-1], "images"],
        "images",
        "cannot be written",
    )
    hidden = each(lambda folder, _: Path("images").rename("hidden"), made("images", ""))
    yield Case("arguments: images that are a file", "arguments", each(hidden, lambda f, r: Path("hidden/annotations.json").rename("a.json") and None),
               ["validate", "--annotations", "a.json", *VALIDATE[3:]], "images", "no such folder")  # fmt: skip
    yield Case("arguments: an unknown network", "arguments", nothing, ["networks", "resnet"], "resnet", "known")
    yield Case(
        "arguments: a size",
        "arguments",
        nothing,
        ["networks", "hrnet_w32", "--height", "100", "--width", "192"],
        "hrnet_w32",
        "100x192",
    )
    yield Case(
        "arguments: a scale",
        "arguments",
        nothing,
        [*SCALE, "--settings", '{"height": 48, "width": 36}'],
        "48x36",
        "stride|divisible",
    )


def _variable(name: str, value: str) -> Change:
    def apply(folder: Path, _: Any) -> None:
        import os

        os.environ[name] = value

    return apply


def environment() -> Iterator[Case]:
    predict = ["predict", "--weights", "champion.safetensors", "--manifest", MANIFEST, "--results", "r.json"]
    names = "EVOPOSE_ACCELERATORS"
    yield Case(
        "environment: an accelerator",
        "environment",
        _variable(names, "quantum:0"),
        [*predict, "--device", "gpu"],
        names,
        "quantum:0",
    )
    yield Case(
        "environment: a number", "environment", _variable(names, "0"), [*predict, "--device", "gpu"], names, "'0'"
    )
    yield Case(
        "environment: no accelerator",
        "environment",
        _variable(names, "tpu:0"),
        [*predict, "--device", "gpu"],
        "gpu",
        "",
    )
    yield Case("environment: a console", "environment", each(_variable("EVOPOSE_CONSOLE_FD", "x"), cut(f"{G0}/parents.json")), MUTATE,
               "parents.json", "JSON")  # fmt: skip


def deliveries() -> Iterator[Case]:
    listing = "delivered/artifacts.json"
    yield from _cases("deliveries", RESTORE, "artifacts.json", {
        "not there": (gone(listing), "no such file"),
        "cut": (cut(listing), "JSON"),
        "of the future": (entry(listing, "schema_version", 2), FUTURE),
        "no files": (entry(listing, "files", {}), "files"),
        "an absolute path": (entry(listing, "files", "/etc/passwd", {"sha256": "0" * 64, "bytes": 1}), "/etc/passwd"),
        "a path that leads out": (entry(listing, "files", "../table.csv", {"sha256": "0" * 64, "bytes": 1}), "../table.csv"),
        "a checksum": (entry(listing, "files", "a.txt", "sha256", "1"), "files.a.txt.sha256"),
        "a changed file": (become("delivered/a.txt", "Content"), "a.txt", "delivered"),
        "a cut file": (become("delivered/a.txt", ""), "a.txt", "delivered"),
        "a file that is not there": (gone("delivered/a.txt"), "a.txt", "delivered"),
    })  # fmt: skip

    def packed(name: str, **options: Any) -> Change:
        def apply(folder: Path, _: Any) -> None:
            with zipfile.ZipFile(folder / "files.zip", "w") as archive:
                entry = zipfile.ZipInfo(name)
                entry.external_attr = options.get("attributes", 0o644) << 16
                archive.writestr(entry, "content")

        return apply

    yield from _cases("archives", ["archive", "files.zip"], "files.zip", {
        "cut": (cut("files.zip"), "ZIP"),
        "noise": (noise("files.zip"), "ZIP"),
        "a changed byte": (content("files.zip", lambda data, _: data[:50] + bytes([data[50] ^ 255]) + data[51:]), "ZIP"),
        "a link": (packed("inside/a.txt", attributes=0o120777), "inside/a.txt"),
        "another file": (packed("inside/b.txt"), "inside/a.txt"),
    })  # fmt: skip


def parts() -> Iterator[Case]:
    """A part of a search, with what is given to it."""
    resume = entry("config.yaml", "resume_from", 1)
    branch = each(resume, entry("config.yaml", "branch", "other"))
    wide = [[1, 3, 50, 1], *world.ANCESTOR[1:]]
    yield from _cases("given generations", CONFIGURATION, "parents.json", {
        "not there": (each(resume, gone(f"{G0}/parents.json")), "resume_from"),
        "no weights": (each(resume, gone(f"{G0}/parents/0.safetensors")), "resume_from", "0.safetensors"),
        "no genotypes": (each(resume, gone(f"{G0}/genotypes.csv")), "resume_from", "genotypes.csv"),
        "of another space": (each(resume, entry(f"{G0}/parents.json", "parents", 0, "genotype", wide)), "another search space"),
        "nonsense": (each(resume, entry(f"{G0}/parents.json", "parents", 0, "rank", "first")), "parents.0.rank"),
        "a branch of nothing": (each(branch, gone(f"{G0}/population.csv")), "branch", "population.csv"),
        "a branch of a pool that is none": (each(branch, cell(f"{G0}/population.csv", 1, "loss", "x")), "line 2", "population.csv"),
        "a branch of lost weights": (each(branch, gone(f"{G0}/parents/0.safetensors"), gone(f"{G0}/child_00/weights.safetensors")), "generation 0, child 0", "branch"),
        "converged on nonsense": (each(entry("config.yaml", "search", "convergence", {"patience": 1}), become(f"{G0}/population.csv", "x")), "no rows|column", "population.csv"),
    })  # fmt: skip
