"""The programs of the search, run as programs: generation 0 to the champion, with training replaced by its files."""

import dataclasses
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline_lib.artifacts import read_csv, read_document, read_json, sha256, write_csv
from pipeline_lib.config import SearchSpace
from pipeline_lib.nets import files
from pipeline_lib.nets.inherit import inherit
from pipeline_lib.nets.layers import count_network
from pipeline_lib.nets.spec import Architecture, initial_weights
from pipeline_lib.search.breed import breed
from pipeline_lib.search.genotype import decode_text, encode, key
from pipeline_lib.search.mutation import describe, neighbours
from pipeline_lib.search.population import child_seed

ROOT = Path(__file__).parents[2]
SEED, HEIGHT, WIDTH, KEYPOINTS = 11, 32, 16, 3
LAMBDA, MU, GAMMA, TARGET = 3, 2, -0.5, 2e4
ANCESTOR = [[1, 3, 1, 1], [1, 3, 2, 2], [1, 3, 2, 2], [1, 3, 2, 1], [1, 3, 2, 1], [1, 3, 3, 1], [1, 3, 3, 1]]
SPACE = {"max_blocks": 2, "stride_limit": 8, "stem": 8, "head": 8, "head_layers": 1, "expansion": 2}
COMMON = ["--seed", SEED, "--ancestor", json.dumps(ANCESTOR), "--space", json.dumps(SPACE)]


def program(folder, name, *arguments, code=0):
    """Run a program in `folder`; it never imports TensorFlow or Keras. Returns its messages."""
    command = [sys.executable, "-X", "importtime", str(ROOT / f"scripts/{name}.py"), *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EVOPOSE")}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, check=False)
    timed = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    messages = "\n".join(line for line in done.stderr.splitlines() if not line.startswith("import time:"))
    assert done.returncode == code, messages
    assert done.stdout == "" and "Traceback" not in messages, messages
    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in timed}
    assert "pipeline_lib" in loaded and not loaded & {"tensorflow", "keras"}
    return messages


def history(path, *losses):
    """A history.csv of which scoring reads epoch and val_loss; the first loss is of epoch 0."""
    rows = [{"epoch": epoch, "step": 10 * epoch, "val_loss": loss} for epoch, loss in enumerate(losses)]
    write_csv(path, rows, ("epoch", "step", "val_loss"))


def train(folder, place, *losses):
    """What a training writes: other weights than the initial ones, and its history."""
    architecture, weights = files.load(folder / place / "initial.safetensors")
    files.save(folder / place / "weights.safetensors", architecture, {k: v + np.float32(1) for k, v in weights.items()})
    history(folder / place / "history.csv", *losses)


def score(folder, place):
    weights, rows = f"{place}/weights.safetensors", f"{place}/history.csv"
    program(folder, "score", "--weights", weights, "--history", rows, "--score", f"{place}/score.json")


def select(folder, generation, children, survivors, before=(), parents=(), **options):
    gen = f"gen_{generation}"
    of = [f"{gen}/child_{index:02d}" for index in range(children)]
    arguments = ["--children", f"{gen}/children.json", "--scores", *(f"{place}/score.json" for place in of)]
    arguments += ["--weights", *(f"{place}/weights.safetensors" for place in of)]
    arguments += ["--before", *before, "--parents", *parents, "--gamma", GAMMA, "--target-parameters", TARGET]
    arguments += ["--population", f"{gen}/population.csv", "--survivors", f"{gen}/parents.json"]
    arguments += ["--survivor-weights", *(f"{gen}/parents/{rank}.safetensors" for rank in range(survivors))]
    return program(folder, "select_parents", *arguments, **options)


def transfer(folder, generation, member, parents, place=None, **options):
    gen = f"gen_{generation}"
    place = place or f"{gen}/{member}"
    arguments = ["--children", f"{gen}/children.json", "--member", member, "--parents", *parents]
    arguments += ["--weights", f"{place}/initial.safetensors", "--report", f"{place}/inheritance.json"]
    return program(folder, "transfer", *arguments, **options)


def mutate(folder, generation, number):
    before, gen = f"gen_{generation - 1}", f"gen_{generation}"
    arguments = ["--parents", f"{before}/parents.json", "--known", f"{before}/genotypes.csv", "--number", number]
    arguments += [*COMMON, "--children", f"{gen}/children.json", "--genotypes", f"{gen}/genotypes.csv"]
    return program(folder, "mutate", *arguments)


def initialise(folder, generation, member, *more, place=None, **options):
    gen = f"gen_{generation}"
    arguments = ["--children", f"{gen}/children.json", "--member", member, "--height", HEIGHT, "--width", WIDTH]
    arguments += ["--keypoints", KEYPOINTS, "--space", json.dumps(SPACE)]
    weights = f"{place or f'{gen}/{member}'}/initial.safetensors"
    return program(folder, "initialise", *arguments, *more, "--weights", weights, **options)


def ancestor(folder):
    arguments = ["--genotype", json.dumps(ANCESTOR), "--seed", SEED]
    program(folder, "ancestor", *arguments, "--children", "gen_0/children.json", "--genotypes", "gen_0/genotypes.csv")


def weights_of(gen, parents):
    return [f"{gen}/parents/{rank}.safetensors" for rank in range(parents)]


def search(folder):
    """Generation 0, generation 1 of three children (the second fails), generation 2 of two."""
    ancestor(folder)
    initialise(folder, 0, "child_00")
    train(folder, "gen_0/child_00", 0.01, 0.6, 0.5, 0.5, 0.55)
    score(folder, "gen_0/child_00")
    select(folder, 0, 1, 1)
    mutate(folder, 1, LAMBDA)
    for member, losses in (("child_00", (0.1, 0.7)), ("child_01", (0.1, "nan")), ("child_02", (9.0, 0.3, 0.2))):
        transfer(folder, 1, member, weights_of("gen_0", 1))
        train(folder, f"gen_1/{member}", *losses)
        score(folder, f"gen_1/{member}")
    select(folder, 1, LAMBDA, MU, ["gen_0/parents.json"], weights_of("gen_0", 1))
    mutate(folder, 2, 2)
    for member in ("child_00", "child_01"):
        transfer(folder, 2, member, weights_of("gen_1", MU))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    search(folder)
    return folder


def tree(folder):
    return {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_same_seed_writes_the_same_bytes(run, tmp_path):
    before = tree(run)
    other = tmp_path / "another"
    other.mkdir()
    search(other)
    assert tree(other) == before and len(before) > 25


def network(genotype):
    return Architecture.from_space(genotype, SearchSpace(**SPACE), HEIGHT, WIDTH, KEYPOINTS)


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_generation_0(run):
    document = read_json(run / "gen_0/children.json")
    assert document["generation"] == 0 and len(document["children"]) == 1
    child = document["children"][0]
    assert child["genotype"] == ANCESTOR and child["seed"] == child_seed(SEED, 0, 0)
    assert read_csv(run / "gen_0/genotypes.csv") == [{"generation": "0", "child": "0", "genotype": encode(ANCESTOR)}]
    architecture, weights = files.load(run / "gen_0/child_00/initial.safetensors")
    assert architecture == network(ANCESTOR)
    same(weights, initial_weights(architecture, child["seed"]))


def test_score(run):
    found = read_json(run / "gen_0/child_00/score.json")
    counted = count_network(network(ANCESTOR))
    assert found == {
        "schema_version": 1,
        "genotype": ANCESTOR,
        "loss": 0.5,
        "epoch": 2,  # neither epoch 0, which is smaller, nor epoch 3, which is equal
        "parameters": counted["parameters"],
        "multiply_adds": counted["multiply_adds"],
        "status": "ok",
        "reason": "",
    }
    failed = read_json(run / "gen_1/child_01/score.json")
    assert (failed["loss"], failed["epoch"], failed["status"]) == (None, None, "failed")


@pytest.mark.parametrize(("generation", "number", "parents"), [(1, LAMBDA, 1), (2, 2, MU)])
def test_children(run, generation, number, parents):
    document = read_json(run / f"gen_{generation}/children.json")
    before = read_json(run / f"gen_{generation - 1}/parents.json")["parents"]
    assert document["generation"] == generation
    assert [child["index"] for child in document["children"]] == list(range(number))
    assert [child["parent_rank"] for child in document["children"]] == [index % parents for index in range(number)]
    # Drawn at the address (seed, generation, child), from all that was known before.
    cache = [decode_text(row["genotype"]) for row in read_csv(run / f"gen_{generation - 1}/genotypes.csv")]
    genotypes = [parent["genotype"] for parent in before]
    drawn = breed(genotypes, ANCESTOR, cache, number, SEED, generation, SearchSpace(**SPACE))
    assert [key(child["genotype"]) for child in document["children"]] == [key(born.genotype) for born in drawn]
    for child in document["children"]:
        parent = before[child["parent_rank"]]
        assert child["seed"] == child_seed(SEED, generation, child["index"])
        assert child["parent_origin"] == parent["origin"]
        assert child["mutations"] == describe(parent["genotype"], child["genotype"]) != []


def test_genotypes_are_cumulative_and_never_repeated(run):
    known = []
    for generation in range(3):
        rows = read_csv(run / f"gen_{generation}/genotypes.csv")
        children = read_json(run / f"gen_{generation}/children.json")["children"]
        new = rows[len(known) :]
        assert rows[: len(known)] == known
        assert [(row["generation"], row["child"]) for row in new] == [
            (str(generation), str(child["index"])) for child in children
        ]
        assert [key(decode_text(row["genotype"])) for row in new] == [key(child["genotype"]) for child in children]
        known = rows
    assert len({row["genotype"] for row in known}) == len(known) == 1 + LAMBDA + 2


def test_mutation_makes_what_is_neither_known_nor_beyond_the_ancestor(run, tmp_path):
    """All neighbours of the parent but two are known; one of these has more channels than the parent itself."""
    parent = [*ANCESTOR[:6], [1, 3, 1, 1]]
    left = {key([*ANCESTOR[:6], [1, 3, 2, 1]]), key([*ANCESTOR[:6], [2, 3, 1, 1]])}
    around = {key(genotype) for genotype in neighbours(parent, ANCESTOR, SearchSpace(**SPACE))}
    assert left < around and key(ANCESTOR) in around

    def replace(document):
        document["parents"][0]["genotype"] = parent

    (tmp_path / "gen_0").mkdir()
    shutil.copy(run / "gen_0/parents.json", tmp_path / "gen_0/parents.json")
    edit(tmp_path / "gen_0/parents.json", replace)
    rows = [
        {"generation": 0, "child": index, "genotype": encode(one)} for index, one in enumerate(sorted(around - left))
    ]
    write_csv(tmp_path / "gen_0/genotypes.csv", rows, ("generation", "child", "genotype"))
    mutate(tmp_path, 1, 2)
    children = read_json(tmp_path / "gen_1/children.json")["children"]
    assert {key(child["genotype"]) for child in children} == left
    assert [child["fallback"] for child in children] == [None, None]


def test_children_inherit_from_the_parent_of_their_rank(run):
    children = read_json(run / "gen_2/children.json")["children"]
    assert [child["parent_rank"] for child in children] == [0, 1]
    for child in children:
        place = run / f"gen_2/child_{child['index']:02d}"
        parent, donor = files.load(run / f"gen_1/parents/{child['parent_rank']}.safetensors")
        architecture, weights = files.load(place / "initial.safetensors")
        assert architecture == network(child["genotype"])
        expected, report = inherit(parent, donor, architecture, child["seed"])
        same(weights, expected)
        assert read_json(place / "inheritance.json") == {"schema_version": 1, **json.loads(json.dumps(report))}
        assert weights["stem_conv/kernel"].tobytes() == donor["stem_conv/kernel"].tobytes()


def test_selection(run):
    scores = [read_json(run / f"gen_1/child_{index:02d}/score.json") for index in range(LAMBDA)]
    pool = {("1", str(index)): one for index, one in enumerate(scores)}
    pool["0", "0"] = read_json(run / "gen_0/child_00/score.json")
    fitness = {
        origin: one["loss"] * (TARGET / one["parameters"]) ** GAMMA
        for origin, one in pool.items()
        if one["loss"] is not None
    }
    order = [*sorted(fitness, key=fitness.__getitem__), ("1", "1")]
    rows = read_csv(run / "gen_1/population.csv")
    assert [(row["generation"], row["child"]) for row in rows] == order
    assert [row["survivor"] for row in rows] == ["1"] * MU + ["0"] * (LAMBDA + 1 - MU)
    assert [float(row["fitness"]) for row in rows[:-1]] == pytest.approx(sorted(fitness.values()))
    assert (rows[-1]["fitness"], rows[-1]["status"]) == ("", "failed")
    survivors = read_json(run / "gen_1/parents.json")
    assert survivors["generation"] == 1
    assert [(str(o["generation"]), str(o["child"])) for o in (p["origin"] for p in survivors["parents"])] == order[:MU]
    # The weights are the survivor's own, at its rank; the ancestor lives on as its copy in gen_0/parents.
    assert order[:MU] == [("1", "2"), ("0", "0")]
    for rank, source in enumerate(("gen_1/child_02/weights", "gen_0/parents/0")):
        path = run / f"gen_1/parents/{rank}.safetensors"
        assert path.read_bytes() == (run / f"{source}.safetensors").read_bytes() and not path.is_symlink()
    assert sorted(path.name for path in (run / "gen_1/parents").iterdir()) == ["0.safetensors", "1.safetensors"]


@pytest.fixture
def copy(run, tmp_path):
    return Path(shutil.copytree(run, tmp_path / "copy"))


def edit(path, change):
    document = read_json(path)
    change(document)
    path.write_text(json.dumps(document))


def test_selection_trusts_no_stored_fitness(run, copy):
    def flatter(document):
        document["parents"][0]["fitness"] = 1e-9

    edit(copy / "gen_0/parents.json", flatter)
    select(copy, 1, LAMBDA, MU, ["gen_0/parents.json"], weights_of("gen_0", 1))
    for name in ("population.csv", "parents.json", "parents/0.safetensors", "parents/1.safetensors"):
        assert (copy / "gen_1" / name).read_bytes() == (run / "gen_1" / name).read_bytes()


def second_generation(folder, before, parents):
    """Select generation 2, whose children are bad, from the pools of `before`; its ranked (generation, child)."""
    for member in ("child_00", "child_01"):
        train(folder, f"gen_2/{member}", 1e3, 1e3)
        score(folder, f"gen_2/{member}")
    select(folder, 2, 2, MU, before, parents)
    return [(row["generation"], row["child"]) for row in read_csv(folder / "gen_2/population.csv")]


def test_an_ancestor_that_is_kept_competes_again(copy):
    def replace_the_ancestor(document):
        document["parents"][1] |= {"origin": {"generation": 1, "child": 0}, "loss": 900.0}

    edit(copy / "gen_1/parents.json", replace_the_ancestor)
    weights = [*weights_of("gen_1", MU), *weights_of("gen_0", 1)]
    ranked = second_generation(copy, ["gen_1/parents.json", "gen_0/parents.json"], weights)
    assert len(ranked) == 2 + MU + 1 and ranked[:2] == [("1", "2"), ("0", "0")]
    kept = copy / "gen_2/parents/1.safetensors"
    assert kept.read_bytes() == (copy / "gen_0/parents/0.safetensors").read_bytes()


def test_an_ancestor_that_survived_is_in_the_pool_once(copy):
    """It is a survivor of generation 1 (`test_selection`), and kept."""
    weights = weights_of("gen_1", MU)
    alone = second_generation(copy, ["gen_1/parents.json"], weights)
    pair = ["gen_1/parents.json", "gen_0/parents.json"]
    assert second_generation(copy, pair, [*weights, *weights_of("gen_0", 1)]) == alone
    assert len(alone) == 2 + MU


def test_transfer_of_the_published_program(run, tmp_path):
    """Its options reach the transfer of the whole network."""
    parents = weights_of("gen_1", MU)
    arguments = ["--children", "gen_2/children.json", "--member", "child_00", "--parents", *parents]
    outputs = ["--weights", tmp_path / "initial.safetensors", "--report", tmp_path / "inheritance.json"]
    program(run, "transfer", *arguments, "--donor", "network", "--new-kernels", *outputs)
    child = read_json(run / "gen_2/children.json")["children"][0]
    parent, weights = files.load(run / parents[child["parent_rank"]])
    network = dataclasses.replace(parent, genotype=key(child["genotype"]))
    expected, report = inherit(parent, weights, network, child["seed"], donor="network", kernels=False)
    same(files.load(tmp_path / "initial.safetensors")[1], expected)
    assert read_json(tmp_path / "inheritance.json") == {"schema_version": 1, **report}


def test_small_networks_survive_better_ones(copy):
    """J = loss (n / T)^0.5: 0.07 for child 0, about 0.5 for the ancestor, 6.4 for child 2, whose loss is lower."""
    for index, loss, parameters in ((0, 1.0, 100), (2, 0.9, 1_000_000)):
        edit(
            copy / f"gen_1/child_{index:02d}/score.json",
            lambda document, new=(loss, parameters): document.update(loss=new[0], parameters=new[1]),
        )
    select(copy, 1, LAMBDA, MU, ["gen_0/parents.json"], weights_of("gen_0", 1))
    survivors = read_json(copy / "gen_1/parents.json")["parents"]
    assert [(one["rank"], *one["origin"].values()) for one in survivors] == [(0, 1, 0), (1, 0, 0)]
    assert survivors[0]["fitness"] == pytest.approx((100 / 2e4) ** 0.5)
    for rank, source in enumerate(("gen_1/child_00/weights", "gen_0/parents/0")):
        path = copy / f"gen_1/parents/{rank}.safetensors"
        assert path.read_bytes() == (copy / f"{source}.safetensors").read_bytes()
        assert path.stat().st_nlink == 1  # a link would keep the time of a file that is generations old


def test_who_reads_a_survivor_reads_it_to_its_end(copy):
    """Although the same rank is written anew, by another survivor."""
    path = copy / "gen_1/parents/0.safetensors"
    old = path.read_bytes()
    edit(copy / "gen_1/child_00/score.json", lambda document: document.update(loss=1e-9))
    with path.open("rb", buffering=0) as reader:
        select(copy, 1, LAMBDA, MU, ["gen_0/parents.json"], weights_of("gen_0", 1))
        assert reader.read() == old != path.read_bytes()


def test_selection_refuses_what_does_not_fit(copy):
    shutil.copy(copy / "gen_1/child_00/score.json", copy / "gen_1/child_02/score.json")
    before = (copy / "gen_1/parents.json").read_bytes()
    parents = ["gen_0/parents.json"], weights_of("gen_0", 1)
    assert "generation 1, child 2 belongs to another genotype" in select(copy, 1, LAMBDA, MU, *parents, code=2)
    assert "3 scores and 1 parents need as many weights, 3 and 0" in select(copy, 1, LAMBDA, MU, parents[0], code=2)
    arguments = ["--children", "gen_1/children.json", "--gamma", GAMMA, "--target-parameters", TARGET]
    arguments += ["--scores", *(f"gen_1/child_{index:02d}/score.json" for index in range(LAMBDA))]
    arguments += ["--weights", "gen_1/child_00/weights.safetensors", "gen_1/child_01/weights.safetensors"]
    arguments += ["--population", "population.csv", "--survivors", "gen_1/parents.json", "--survivor-weights", "one"]
    message = program(copy, "select_parents", *arguments, code=2)
    assert "3 scores and 0 parents need as many weights, 2 and 0" in message
    assert (copy / "gen_1/parents.json").read_bytes() == before


def test_transfer_needs_the_parent(run, tmp_path):
    message = transfer(run, 2, "child_01", weights_of("gen_1", 1), place=tmp_path, code=2)
    assert "child_01 comes from parent 1, 1 parents are given" in message
    message = transfer(run, 0, "child_00", weights_of("gen_1", 1), place=tmp_path, code=2)
    assert "child_00 comes from parent None" in message
    assert list(tmp_path.iterdir()) == []


def test_twins_and_comparison(copy):
    for index in range(LAMBDA):
        initialise(copy, 1, f"scratch_{index:02d}")
        child = read_json(copy / "gen_1/children.json")["children"][index]
        architecture, weights = files.load(copy / f"gen_1/scratch_{index:02d}/initial.safetensors")
        assert architecture == network(child["genotype"])
        same(weights, initial_weights(architecture, child["seed"]))
        history(copy / f"gen_1/child_{index:02d}/history.csv", 0.5 + index, 0.25 + index)
        history(copy / f"gen_1/scratch_{index:02d}/history.csv", 5.5 + index, 5.25 + index)
    history(copy / "control.csv", 0.75, 0.125)
    members = [f"gen_1/child_{index:02d}" for index in range(LAMBDA)]
    arguments = ["--children", "gen_1/children.json", "--control", "control.csv", "--table", "comparison.csv"]
    arguments += ["--inheritance", *(f"{member}/inheritance.json" for member in members)]
    arguments += ["--transferred", *(f"{member}/history.csv" for member in members)]
    arguments += ["--scratch", *(f"{member}/history.csv".replace("child", "scratch") for member in members)]
    program(copy, "compare", *arguments)
    rows = read_csv(copy / "comparison.csv")
    assert len(rows) == LAMBDA
    for index, (row, member) in enumerate(zip(rows, members, strict=True)):
        assert float(row["inherited"]) == read_json(copy / member / "inheritance.json")["fraction"]
        found = [
            float(row[f"{who}_{when}"])
            for who in ("transferred", "scratch", "control")
            for when in ("initial", "final")
        ]
        assert found == [0.5 + index, 0.25 + index, 5.5 + index, 5.25 + index, 0.75, 0.125]


def test_champion(run, tmp_path):
    arguments = ["--parents", run / "gen_1/parents.json", "--parent-weights", run / "gen_1/parents/0.safetensors"]
    program(tmp_path, "champion", *arguments, "--champion", "champion.json", "--weights", "champion.safetensors")
    best = read_json(run / "gen_1/parents.json")["parents"][0]
    assert read_json(tmp_path / "champion.json") == {"schema_version": 1, **best}
    old = (run / "gen_1/parents/0.safetensors").read_bytes()
    assert (tmp_path / "champion.safetensors").read_bytes() == old
    arguments = ["--parents", run / "gen_1/parents.json", "--parent-weights", run / "gen_1/parents/1.safetensors"]
    arguments += ["--champion", "champion.json", "--weights", "champion.safetensors"]
    said = program(tmp_path, "champion", *arguments, code=2)
    assert f"1.safetensors: weights of {encode(ANCESTOR)}, but the best parent in" in said
    assert (tmp_path / "champion.safetensors").read_bytes() == old
    # Whoever reads the old champion while a new one is written reads it to its end.
    architecture, weights = files.load(run / "gen_1/parents/0.safetensors")
    files.save(tmp_path / "new.safetensors", architecture, {k: v + np.float32(1) for k, v in weights.items()})
    arguments = ["--parents", run / "gen_1/parents.json", "--parent-weights", tmp_path / "new.safetensors"]
    with (tmp_path / "champion.safetensors").open("rb", buffering=0) as reader:
        program(tmp_path, "champion", *arguments, "--champion", "champion.json", "--weights", "champion.safetensors")
        assert reader.read() == old != (tmp_path / "champion.safetensors").read_bytes()


def scale(run, folder, **settings):
    """The written model.json, architecture and weights, beside the champion's."""
    source = run / "gen_1/parents/0.safetensors"
    arguments = ["--champion", source, "--name", "large", "--settings", json.dumps(settings), "--seed", 4]
    arguments += ["--report", "inheritance.json"]
    program(folder, "scale", *arguments, "--model", "model.json", "--weights", "initial.safetensors")
    made, weights = files.load(folder / "initial.safetensors")
    champion, donor = files.load(source)
    return SimpleNamespace(
        model=read_json(folder / "model.json"),
        report=read_document(folder / "inheritance.json"),
        made=made,
        weights=weights,
        champion=champion,
        donor=donor,
    )


@pytest.mark.parametrize("initial", ["champion", "scratch"])
def test_scale(run, tmp_path, initial):
    found = scale(run, tmp_path, height=64, width=40, initial=initial)
    phi = np.log((64 + 40) / (HEIGHT + WIDTH)) / np.log(1.15)
    depth, width = 1.2**phi, 1.1**phi
    expected = dataclasses.replace(found.champion, height=64, width=40, scale=(depth, width))
    assert dataclasses.replace(found.made, scale=(0.5, 0.5)) == dataclasses.replace(expected, scale=(0.5, 0.5))
    assert found.made.scale == pytest.approx((depth, width), rel=1e-12)
    if initial == "champion":
        inherited, report = inherit(found.champion, found.donor, found.made, 4)
        same(found.weights, inherited)
        assert found.report == {"schema_version": 1, **json.loads(json.dumps(report))}
    else:
        same(found.weights, initial_weights(found.made, 4))
        parameters = count_network(found.made)["parameters"]
        nothing = {"parameters": parameters, "inherited": 0, "fraction": 0, "initial": list(found.weights), "part": {}}
        assert found.report == {"schema_version": 1, **nothing, "initial": found.report["initial"]}
        assert set(found.report["initial"]) == found.weights.keys()
    assert found.model == {
        "schema_version": 1,
        "name": "large",
        "network": None,
        "genotype": [list(row) for row in found.champion.genotype],
        "height": 64,
        "width": 40,
        "phi": pytest.approx(phi),
        "depth_coefficient": pytest.approx(depth),
        "width_coefficient": pytest.approx(width),
        "initial": initial,
        **count_network(found.made),
    }


def test_scale_with_given_coefficients(run, tmp_path):
    found = scale(run, tmp_path, height=64, width=32, coefficients=[2.0, 1.5])
    assert found.made.scale == (2.0, 1.5) and found.model["phi"] is None
    assert (found.model["depth_coefficient"], found.model["width_coefficient"]) == (2.0, 1.5)
    assert found.model["initial"] == "scratch"
    blocks = found.made.blocks()
    assert list(blocks) == [2 * row[0] for row in found.champion.genotype]


def test_the_ancestor_can_start_from_trained_weights(run, tmp_path):
    """Of a search: no backend is loaded for them."""
    for name in ("gen_0/parents", "gen_1/parents"):
        shutil.copytree(run / name, tmp_path / name)
    shutil.copy(run / "gen_0/children.json", tmp_path / "gen_0/children.json")
    source = "gen_1/parents/0.safetensors"
    arguments = ["--pretrained", source, "--report", "made/inheritance.json"]
    message = initialise(tmp_path, 0, "child_00", *arguments, place="made")
    parent, donor = files.load(tmp_path / source)
    architecture, weights = files.load(tmp_path / "made/initial.safetensors")
    assert architecture == network(ANCESTOR) != parent
    expected, report = inherit(parent, donor, architecture, child_seed(SEED, 0, 0))
    same(weights, expected)
    found = read_document(tmp_path / "made/inheritance.json")
    assert found == json.loads(
        json.dumps({"schema_version": 1, "source": source, "donor": "a search network", "adapted": [], **report})
    )
    assert f"child_00: {100 * report['fraction']:.1f} % of the parameters come from a search network of" in message
    message = initialise(tmp_path, 0, "child_00", "--pretrained", "none.safetensors", place="other", code=2)
    assert "none.safetensors: no such file" in message
    assert not (tmp_path / "other").exists()


def test_a_final_network_can_start_from_trained_weights(run, tmp_path):
    source = str(run / "gen_0/parents/0.safetensors")
    found = scale(run, tmp_path, height=64, width=32, coefficients=[2.0, 1.5], pretrained=source)
    parent, donor = files.load(source)
    same(found.weights, inherit(parent, donor, found.made, 4)[0])
    assert found.model["initial"] == "pretrained"
    assert found.report["source"] == source and 0 < found.report["fraction"] < 1


def test_conda_environment(tmp_path):
    program(tmp_path, "conda_environment", "--lock", ROOT / "envs/lock.txt", "--output", "made.yaml")
    assert (tmp_path / "made.yaml").read_bytes() == (ROOT / "envs/evopose.yaml").read_bytes()


WRONG = [
    ("ancestor", ["--genotype", "nonsense"], "--genotype: 7 x 4 integers as JSON are expected"),
    ("ancestor", ["--genotype", "[[0,0,0,0]]"], "--genotype: 7 x 4 integers as JSON are expected"),
    ("ancestor", ["--seed", "-4"], "--seed: an integer from 0 to"),
    ("mutate", ["--number", "0"], "--number: an integer above 0 is expected, not 0"),
    ("mutate", ["--ancestor", "{}"], "--ancestor: 7 x 4 integers as JSON are expected"),
    ("mutate", ["--seed", "one"], "--seed: an integer is expected, not one"),
    ("initialise", ["--height", "-32"], "--height: an integer above 0 is expected"),
    ("select_parents", ["--target-parameters", "-1"], "--target-parameters: a number above 0 is expected, not -1"),
    ("select_parents", ["--gamma", "nan"], "--gamma: a finite number is expected, not nan"),
    ("scale", ["--seed", "-1"], "--seed: an integer from 0 to"),
    ("synthesize", ["--seed", "-1"], "--seed: an integer from 0 to"),
    ("synthesize", ["--workers", "0"], "--workers: an integer above 0 is expected"),
    ("convert", ["--workers", "0"], "--workers: an integer above 0 is expected"),
    ("convert", ["--holdout", "1.5"], "--holdout: a number between 0 and 1 is expected"),
    ("download", ["--pause", "-1"], "--pause: a number from 0 on is expected"),
    ("train", ["--seed", "-1"], "--seed: an integer from 0 to"),
    ("predict", ["--height", "0"], "--height: an integer above 0 is expected"),
    ("summary", ["--settings", "{"], "--settings: JSON is expected"),
    ("summary", ["--place", "nowhere"], "--place: WHAT=WHERE is expected, not nowhere"),
    ("plot", ["overlays", "--number", "0"], "--number: an integer above 0 is expected"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), WRONG)
def test_wrong_values_are_named(name, arguments, message, monkeypatch, capsys):
    parser = importlib.import_module(f"scripts.{name}").parser()
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(arguments)
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_what_is_not_there_or_cannot_be_written_is_one_line(run, tmp_path):
    seeded = ["--genotype", json.dumps(ANCESTOR), "--seed", SEED]
    said = program(tmp_path, "ancestor", *seeded, "--children", "c.json", "--genotypes", "/proc/no/g.csv", code=2)
    assert said.endswith("/proc/no/g.csv: cannot be written (No such file or directory); make room, or write elsewhere")
    said = program(tmp_path, "ancestor", *seeded, "--children", "/dev/full/c.json", "--genotypes", "g.csv", code=2)
    assert "/dev/full/c.json: cannot be written" in said
    said = program(tmp_path, "conda_environment", "--lock", "/nope", "--output", "environment.yaml", code=2)
    assert said.endswith("ERROR /nope: No such file or directory; check the path, and who may read and write there")
    said = program(tmp_path, "draw_dag", "--output", "/proc/foo", code=2)
    assert "ERROR /proc/foo: No such file or directory; check the path" in said


def test_a_member_that_is_none(run, tmp_path):
    arguments = ["--children", run / "gen_1/children.json", "--height", HEIGHT, "--width", WIDTH]
    arguments += ["--keypoints", KEYPOINTS, "--space", json.dumps(SPACE), "--weights", "w.safetensors", "--member"]
    for member in ("foo", "child_", "child_-1", "child_03"):
        assert f"{member}: generation 1 has 3 children" in program(tmp_path, "initialise", *arguments, member, code=2)


def test_a_training_without_records_ends_before_tensorflow_is_loaded(run, tmp_path):
    arguments = [
        "--initial",
        run / "gen_0/child_00/initial.safetensors",
        "--val-manifest",
        "/nope",
        "--history",
        "h.csv",
    ]
    arguments += ["--train-manifest", "/nope", "--weights", "w.safetensors"]
    assert "/nope: no such file" in program(tmp_path, "train", *arguments, code=2)


def test_huge_networks_are_refused_at_once(run, tmp_path):
    source = run / "gen_1/parents/0.safetensors"
    arguments = ["--champion", source, "--name", "huge", "--seed", 4, "--model", "m.json", "--weights", "w.safetensors"]
    arguments += ["--report", "r.json"]
    said = program(tmp_path, "scale", *arguments, "--settings", '{"height": 8192000, "width": 64}', code=2)
    assert "--settings: height: Input should be less than or equal to 8192" in said
    said = program(tmp_path, "scale", *arguments, "--settings", '{"height": 8192, "width": 8192}', code=2)
    assert "8192x8192 is scaled from a search at 32x16" in said


def test_numbers_on_the_console_are_rounded(copy):
    said = select(copy, 1, LAMBDA, MU, ["gen_0/parents.json"], weights_of("gen_0", 1))
    assert re.search(r"loss 0\.20, \d+ parameters, fitness \d+\.\d\d \(", said)


def adopt(folder, generation, output, *more, gamma=GAMMA, **options):
    arguments = ["--pool", f"gen_{generation}/population.csv", "--gamma", gamma, "--target-parameters", TARGET]
    return program(folder, "adopt", *arguments, "--population", f"{output}/population.csv", *more, **options)


def handing_on(generation, output, *weights):
    options = ["--known", f"gen_{generation}/genotypes.csv", "--genotypes", f"{output}/genotypes.csv"]
    options += ["--weights", *weights, "--survivors", f"{output}/parents.json"]
    return [*options, "--survivor-weights", *(f"{output}/parents/{rank}.safetensors" for rank in range(len(weights)))]


def test_a_generation_that_is_taken_over_as_it_was_is_the_same(run, tmp_path):
    adopt(run, 1, tmp_path, *handing_on(1, tmp_path, *weights_of("gen_1", MU)))
    for name in ("population.csv", "parents.json", "genotypes.csv", "parents/0.safetensors", "parents/1.safetensors"):
        assert (tmp_path / name).read_bytes() == (run / "gen_1" / name).read_bytes(), name
    adopt(run, 1, tmp_path / "history")
    assert sorted(tmp_path.joinpath("history").iterdir()) == [tmp_path / "history/population.csv"]
    assert (tmp_path / "history/population.csv").read_bytes() == (run / "gen_1/population.csv").read_bytes()


def test_another_gamma_chooses_others_and_leaves_history_alone(run, tmp_path):
    """By Eq. 3 with a large negative Gamma small networks are the best, whatever their loss."""
    old = read_csv(run / "gen_1/population.csv")
    by_size = sorted((row for row in old if row["status"] == "ok"), key=lambda row: int(row["parameters"]))
    assert [row["child"] for row in by_size] != [row["child"] for row in old if row["status"] == "ok"]
    best = by_size[0]
    born = f"gen_{best['generation']}/child_{int(best['child']):02d}/weights.safetensors"
    adopt(run, 1, tmp_path, *handing_on(1, tmp_path, born), gamma=-50.0)
    new = read_csv(tmp_path / "population.csv")
    assert [row["genotype"] for row in new] == [row["genotype"] for row in [*by_size, *old[len(by_size) :]]]
    assert [row["survivor"] for row in new] == ["1"] + ["0"] * (len(new) - 1)
    (parent,) = read_json(tmp_path / "parents.json")["parents"]
    assert encode(parent["genotype"]) == best["genotype"] and parent["rank"] == 0
    expected = float(best["loss"]) * (TARGET / int(best["parameters"])) ** -50.0
    assert float(new[0]["fitness"]) == parent["fitness"] == pytest.approx(expected)
    assert (tmp_path / "parents/0.safetensors").read_bytes() == (run / born).read_bytes()
    # Of an earlier generation J is new, who survived is not.
    adopt(run, 1, tmp_path / "history", gamma=-50.0)
    history = {row["genotype"]: row for row in read_csv(tmp_path / "history/population.csv")}
    assert {genotype: row["survivor"] for genotype, row in history.items()} == {
        row["genotype"]: row["survivor"] for row in old
    }
    assert {genotype: row["fitness"] for genotype, row in history.items()} == {
        row["genotype"]: row["fitness"] for row in new
    }


def test_weights_of_another_network_are_not_handed_on(run, tmp_path):
    weights = weights_of("gen_1", MU)[::-1]
    message = adopt(run, 1, tmp_path, *handing_on(1, tmp_path, *weights), code=2)
    assert re.search(r"parents/1\.safetensors: weights of .*, but survivor 0 is ", message)
    assert not (tmp_path / "parents.json").exists()
    message = adopt(run, 1, tmp_path, "--survivor-weights", tmp_path / "0.safetensors", code=2)
    assert "1 survivors need as many weights, 0 are given" in message
