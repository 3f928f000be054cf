"""Every malformed input of the corpus is an error of its own: file, item, remedy; exit code 2, no traceback.

All in one process, one after the other: the group.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import yaml

from pipeline_lib import changed, cli, config
from pipeline_lib.errors import ArtifactError
from pipeline_lib.nets import files
from pipeline_lib.nets.spec import initial_weights
from pipeline_lib.train import state
from tests.benchmarks import memory
from tests.corpus import cases, changes, harness, world

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("corpus")]

CASES = cases.every()
KINDS = list(dict.fromkeys(case.kind for case in CASES))
MOST = 10
"""Cases that one error may be for."""


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world.make(tmp_path_factory.mktemp("corpus") / "good")


@pytest.fixture(scope="session")
def said(good: Path) -> Callable[[harness.Case], harness.Said]:
    """What a program says of a case, which happens once."""

    by_name = {case.name: case for case in CASES}

    @cache
    def apply(name: str) -> harness.Said:
        return harness.applied(by_name[name], world.copied(good, good.parent / "case"))

    return lambda case: apply(case.name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_case_is_named(kind: str, said: Callable[[harness.Case], harness.Said]) -> None:
    found = {}
    for case in CASES:
        if case.kind == kind and (wrong := harness.problems(case, said(case))):
            found[case.name] = (wrong, said(case).stderr[-1500:])
    assert not found


def test_the_corpus_is_large_and_its_errors_differ(said: Callable[[harness.Case], harness.Said]) -> None:
    assert len(CASES) >= 200 and len({case.name for case in CASES}) == len(CASES)
    errors = Counter(said(case).template for case in CASES)
    assert len(errors) >= 40
    assert {error: number for error, number in errors.items() if number > MOST} == {}


def test_the_good_world_is_accepted(good: Path, tmp_path: Path) -> None:
    """Else its errors would say nothing about the changes."""
    commands = {
        tuple(case.command)
        for case in CASES
        if case.kind not in ("arguments", "environment", "HDF5", "keras", "inheritances")
    }
    failed = {}
    for command in commands:
        world.copied(good, tmp_path / "case")
        with contextlib.chdir(tmp_path / "case"):
            done = harness.run(command)
        if done.code != 0:
            failed[command[0], command[-1]] = done.message
    expected = {"enter_server_metrics", "submission", "validate"}  # no answer, a name, a folder that is not there
    assert {name for name, _ in failed} <= expected, failed


# Of each of these the real program says the same, and leaves what there was.
PROGRAMS = (
    *(
        "annotations: cut",
        "pictures: JPEG of 30000 x 30000",
        "parents: a genotype of another space",
        "children: other mutations",
    ),
    *(
        "scores: of another child",
        "weights: a flipped bit of its data",
        "results: numbers",
        "arguments: a genotype of brackets",
    ),
    *("environment: a console", "deliveries: a path that leads out"),
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_real_programs_say_the_same(
    name: str, good: Path, tmp_path: Path, said: Callable[[harness.Case], harness.Said]
) -> None:
    case = next(case for case in CASES if case.name == name)
    here = world.copied(good, tmp_path / "case")
    before = dict(os.environ)
    try:
        case.change(here, harness.seed(case.name))
        done = _run([f"scripts/{case.command[0]}.py", *case.command[1:]], here)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert done.returncode == cli.USER_ERROR
    assert "Traceback" not in done.stderr
    assert harness.last_message(done.stderr) == said(case).message
    kept = {path for path in here.rglob("*") if path.is_file()}
    assert kept >= {here / path.relative_to(good) for path in good.rglob("*") if path.is_file()}


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "EVOPOSE_ACCELERATORS"}
    environment["PYTHONPATH"] = str(harness.ROOT)
    program = [sys.executable, str(harness.ROOT / command[0]), *command[1:]]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, env=environment, check=False)


# Snakemake would make anew what is made from these, and deletes that before; the damage is said before any job begins.
PLANNED = (
    *("parents: a rank", "parents: of the future", "genotypes: a cell more", "scores: no loss"),
    *("weights of a child: cut", "weights: of another genotype", "weights of a parent: a flipped bit"),
    *("given generations: converged on nonsense", "configurations: a data set that runs code"),
)


@pytest.mark.parametrize("name", PLANNED)
def test_snakemake_says_it_before_anything_is_deleted(name: str, good: Path, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    here = world.copied(good, tmp_path / "case")
    (here / "scripts").symlink_to(harness.ROOT / "scripts")
    case.change(here, harness.seed(case.name))
    config = yaml.safe_load((here / "config.yaml").read_text())
    (here / "config.yaml").write_text(yaml.safe_dump(config | {"dataset": str(here / "dataset.yaml")}))
    there = {path for path in here.rglob("*") if path.is_file()}
    command = ["-m", "snakemake", "--snakefile", "workflow/Snakefile", "--profile", "profiles/local", "--configfile"]
    command[3], command[5] = (str(harness.ROOT / command[place]) for place in (3, 5))
    environment = os.environ | {"PYTHONPATH": str(harness.ROOT)}
    done = subprocess.run(
        [sys.executable, *command, "config.yaml", "--cores", "1", "search"],
        cwd=here, capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    message = next((line for line in said.splitlines() if line.startswith("Configuration: ")), said)
    assert done.returncode != 0
    assert case.file in message and harness.REMEDY.search(message), said
    assert "Traceback" not in said
    assert there <= {path for path in here.rglob("*") if path.is_file()}
    assert not (here / "owned").exists()


def test_a_changed_good_document_is_no_damage(good: Path, tmp_path: Path) -> None:
    """Times alone say nothing: what is newer than what was made from it is read, and is as it should be."""
    here = world.copied(good, tmp_path / "case")
    cfg = config.load(yaml.safe_load((here / "config.yaml").read_text()), here)
    for path in sorted(here.rglob("results/**/*"), reverse=True):
        if path.is_file():
            path.touch()
            changed.check(cfg, folder=here)
    (here / world.G1 / "child_01/score.json").unlink()
    changed.check(cfg, folder=here)
    weights = here / world.G0 / "parents/0.safetensors"
    weights.write_bytes((here / world.G1 / "child_00/weights.safetensors").read_bytes())
    with pytest.raises(ArtifactError, match=r"parents/0\.safetensors: weights of .*, but rank 0 in .*parents\.json is"):
        changed.check(cfg, folder=here)
    changed.check(cfg, ("--cores", "2", "-R", "transfer"), here)  # is to be made again


def test_weights_of_final_networks_are_read_before_any_job(good: Path, tmp_path: Path) -> None:
    """Snakemake would delete what was predicted by them, or begin another training from them."""
    here = world.copied(good, tmp_path / "case")
    cfg = config.load(yaml.safe_load((here / "config.yaml").read_text()), here)
    results = here / f"results/{cfg.folder}"
    place = results / "models/big"
    place.mkdir(parents=True)
    for name in ("weights.safetensors", "predictions_ground_truth.json", "initial.safetensors"):
        (place / name).write_bytes((here / world.G1 / "child_00/weights.safetensors").read_bytes())
    times = {"initial.safetensors": 1, "weights.safetensors": 2, "predictions_ground_truth.json": 3}
    for name, time in times.items():
        os.utime(place / name, (time, time))
    changed.check(cfg, folder=here)
    for name, later in (("initial.safetensors", 9), ("weights.safetensors", 9)):
        whole = (place / name).read_bytes()
        (place / name).write_bytes(whole[:-4] + b"abcd")
        with pytest.raises(ArtifactError, match=f"models/big/{name}: damaged"):
            changed.check(cfg, folder=here)
        (place / name).write_bytes(whole)
        os.utime(place / name, (later, later))
        changed.check(cfg, folder=here)
    # The same genotype for another input size.
    network, weights = files.load_searched(place / "weights.safetensors")
    files.save(place / "weights.safetensors", replace(network, height=2 * network.height), weights)
    with pytest.raises(ArtifactError, match=r"models/big/weights\.safetensors: weights of another network than"):
        changed.check(cfg, folder=here)
    # Its initial weights were made anew with other settings: it will be trained again.
    (place / "initial.safetensors").touch()
    changed.check(cfg, folder=here)


def test_initial_weights_of_a_final_network_are_those_that_were_scaled(good: Path, tmp_path: Path) -> None:
    """With others a network would be trained that nobody asked for, and the trained one deleted."""
    here = world.copied(good, tmp_path / "case")
    cfg = config.load(yaml.safe_load((here / "config.yaml").read_text()), here)
    place = here / f"results/{cfg.folder}/models/big"
    place.mkdir(parents=True)
    weights = (here / world.G1 / "child_00/weights.safetensors").read_bytes()
    (place / "initial.safetensors").write_bytes(weights)
    (place / "weights.safetensors").write_bytes(weights)
    network, _ = files.load_searched(place / "initial.safetensors")
    described = {"schema_version": 1, "network": None, "height": network.height, "width": network.width, "genotype": network.genotype,
                 "phi": 0, "depth_coefficient": network.scale[0], "width_coefficient": network.scale[1]}  # fmt: skip
    (place / "model.json").write_text(json.dumps(described))
    for name, time in {"initial.safetensors": 1, "model.json": 2, "weights.safetensors": 3}.items():
        os.utime(place / name, (time, time))
    (place / "initial.safetensors").touch()
    changed.check(cfg, folder=here)
    others = (
        replace(network, width=2 * network.width),
        replace(network, scale=(1.1, 1.0)),
        replace(network, scale=(1.0, 1.1)),
    )
    for other in others:
        files.save(place / "initial.safetensors", other, initial_weights(other, 1))
        with pytest.raises(
            ArtifactError, match=r"models/big/initial\.safetensors: weights of another network than .*model\.json"
        ):
            changed.check(cfg, folder=here)
    (place / "model.json").touch()  # made with them, by another configuration
    changed.check(cfg, folder=here)
    (place / "model.json").unlink()
    changed.check(cfg, folder=here)


def test_weights_of_another_network_are_no_champion(good: Path, tmp_path: Path) -> None:
    here = world.copied(good, tmp_path / "case")
    cfg = config.load(yaml.safe_load((here / "config.yaml").read_text()), here)
    results = here / f"results/{cfg.folder}"
    champion = json.loads((here / world.G1 / "parents.json").read_text())["parents"][0]
    (results / "champion.json").write_text(json.dumps(champion))
    scaled = results / "models/big/initial.safetensors"
    scaled.parent.mkdir(parents=True, exist_ok=True)
    own = here / world.G1 / "parents/0.safetensors"
    scaled.write_bytes(own.read_bytes())
    os.utime(scaled, (1, 1))
    (results / "champion.safetensors").write_bytes(own.read_bytes())
    changed.check(cfg, folder=here)
    other = next(
        path
        for path in sorted((here / world.G1).glob("child_*/weights.safetensors"))
        if files.load_searched(path)[0].genotype != files.load_searched(own)[0].genotype
    )
    (results / "champion.safetensors").write_bytes(other.read_bytes())
    with pytest.raises(
        ArtifactError, match=r"champion\.safetensors: weights of .*, but the champion in .*champion\.json is"
    ):
        changed.check(cfg, folder=here)


@pytest.mark.parametrize("name", ["state.json", "variables.safetensors", "best.safetensors"])
@pytest.mark.parametrize("change", [changes.cut, changes.flipped, changes.gone, changes.noise])
def test_a_damaged_state_is_left_out(
    name: str, change: Callable[[str], harness.Change], good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A training begins anew, or from the state before."""
    here = world.copied(good, tmp_path / "case")
    with state.opened(here / "training/weights.safetensors", "key") as store:
        assert store.load() is not None
        change(f"training/.training/key/000001_000000/{name}")(here, harness.seed(name))
        assert store.load() is None
    assert "a damaged state of the training is left out" in caplog.text


@pytest.mark.parametrize("program", ["train", "predict"])
def test_real_trainings_and_predictions_end_with_the_error(program: str, tmp_path: Path) -> None:
    """Not with an abort of threads that read ahead; what there was is still there."""
    here = tmp_path / "records"
    memory.records(here, 120)
    files.save(here / "initial.safetensors", memory.NETWORK, initial_weights(memory.NETWORK, 1))
    shard = here / "00000-of-00002.tfrecord"
    changes.flipped(shard.name, 0.5, 0.51)(here, harness.seed(program))
    there = {path.name for path in here.iterdir()}
    commands = {
        "train": ["--initial", "initial.safetensors", "--train-manifest", "manifest.json", "--val-manifest", "manifest.json",
                  "--settings", '{"epochs": 1, "batch": 16, "warmup_epochs": 0}', "--weights", "o/w.safetensors", "--history", "o/h.csv"],
        "predict": ["--weights", "initial.safetensors", "--manifest", "manifest.json", "--results", "r.json"],
    }  # fmt: skip
    done = _run([f"scripts/{program}.py", *commands[program], "--device", "cpu"], here)
    assert done.returncode == cli.USER_ERROR, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    message = harness.last_message(done.stderr)
    assert message.startswith(
        f"{shard.name}, record 50: not a record of this workflow (its checksum is another one); run the con"
    )
    assert there <= {path.name for path in here.iterdir()} <= {*there, "o"}
