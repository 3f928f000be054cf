"""A part of a search: what Snakemake plans when times are scrambled, nothing is recorded, and early weights are gone."""

import copy
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline_lib import artifacts, restore
from tests import made_search
from tests.workflow.conftest import ROOT, TINY, Workplace
from tests.workflow.test_planning import jobs

SEARCH = {**TINY["search"], "generations": 15, "children": 8, "parents": 4, "compare_scratch": False}
SEARCH |= {"gamma": -0.07, "target_parameters": 5e6}
CONFIG: dict[str, Any] = {**copy.deepcopy(TINY), "search": SEARCH}
CHILD = ("transfer", "train_child", "score")


def standing(generation: int, child: int) -> float:
    """No child is better than the best of generation 9."""
    return made_search.falling(min(generation, 9), child) + (generation > 9)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of 15 generations as it lies when it is finished, with its records, in order."""
    folder = tmp_path_factory.mktemp("searched")
    results = folder / "results/tiny"
    made_search.make(results / "search", SEARCH, standing)
    for name in ("champion.json", "champion.safetensors"):
        (results / name).touch()
    data = folder / "results/data/tiny"
    for split in ("train", "val", "val_detections"):
        (data / f"images/{split}").mkdir(parents=True)
        (data / f"images/{split}/manifest.json").touch()
        (data / "validation").mkdir(exist_ok=True)
        (data / f"validation/{split}.json").touch()
    (data / "source/annotations").mkdir(parents=True)
    for name in ("keypoints_train", "keypoints_val", "detections_val"):
        (data / f"source/annotations/person_{name}.json").touch()
    for split in ("train", "val"):
        (data / f"source/images/{split}").mkdir(parents=True)
    for place in (data, results):
        restore.make(place)
    restore.restore([data, results])
    return folder


@pytest.fixture
def place(searched: Path, tmp_path: Path) -> Workplace:
    """A copy of it with its times."""
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    found = Workplace(tmp_path)
    found.configure(CONFIG)
    return found


@pytest.fixture
def scrambled(place: Workplace) -> Workplace:
    made_search.scramble(place.folder / "results")
    made_search.lose_weights(place.folder / "results/tiny/search", 11)
    return place


def planned(place: Workplace, *options: str) -> dict[str, int]:
    done = place.snakemake(*options, "-n", "--quiet", "rules")
    assert done.returncode == 0, done.stderr[-3000:]
    if "Nothing to be done" in done.stdout + done.stderr:
        return {}
    found = jobs(done.stdout + done.stderr)
    return {rule: number for rule, number in found.items() if rule not in ("all", "search", "total")}


def refused(place: Workplace, *options: str) -> str:
    done = place.snakemake(*options, "-n")
    text = done.stdout + done.stderr  # a dry run tells its errors on stdout
    assert done.returncode != 0 and "Traceback" not in text
    return text


def of_readme(word: str) -> list[str]:
    """The options of the one command of the README that has `word`, without its own profile and configuration."""
    (line,) = re.findall(rf"^snakemake .*{re.escape(word)}.*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    words = shlex.split(line, comments=True)[1:]
    assert words[:4] == ["--profile", "tpu", "--configfile", "mine.yaml"]
    return words[4:]


def of_search(found: dict[str, int]) -> dict[str, int]:
    rules = (
        "adopt",
        "adopt_parents",
        "adopt_ancestor",
        "ancestor",
        "mutate",
        *CHILD,
        "select",
        "decide",
        "champion",
        "convert",
    )
    return {rule: number for rule, number in found.items() if rule in rules}


def generation(children: int = 8, generations: int = 1) -> dict[str, int]:
    number = children * generations
    return {"mutate": generations, "select": generations, **dict.fromkeys(CHILD, number)}


def test_generation_11_alone(scrambled: Workplace) -> None:
    options = of_readme("only=11")
    assert planned(scrambled, *options) == generation()
    done = scrambled.snakemake(*options, "-n")
    assert set(re.findall(r"results/tiny/search/gen_(\d+)", done.stdout)) <= {"010", "011"}
    # Without the window, everything would be made again.
    assert planned(scrambled)["train_child"] == 1 + 15 * 8


def test_children_3_and_7_of_generation_11(scrambled: Workplace) -> None:
    options = of_readme("children: [3, 7]")
    assert planned(scrambled, *options) == {**dict.fromkeys(CHILD, 2), "select": 1}
    done = scrambled.snakemake(*options, "-n", "-p")
    trained = re.findall(r"--weights (\S+)/weights\.safetensors --history", done.stdout)
    assert sorted(set(trained)) == [f"results/tiny/search/gen_011/child_0{child}" for child in (3, 7)]
    # The selection needs the others.
    (scrambled.folder / "results/tiny/search/gen_011/child_05/score.json").unlink()
    text = refused(scrambled, *options)
    assert "only.children: what is given is not there: results/tiny/search/gen_011/child_05/score.json; " in text
    target = "results/tiny/search/gen_011/child_03/score.json"
    assert planned(scrambled, target, *options) == dict.fromkeys(CHILD, 1)


@pytest.mark.parametrize(
    ("word", "children"), [("search={gamma: -0.1}", 8), ("search={parents: 6}", 8), ("search={children: 32}", 32)]
)
def test_on_from_generation_11_in_a_branch(scrambled: Workplace, word: str, children: int) -> None:
    made_search.lose_weights(scrambled.folder / "results/tiny/search", 11)
    options = of_readme(word)
    adopted = {"adopt": 11, "adopt_parents": 1}
    assert of_search(planned(scrambled, *options)) == {**adopted, **generation(children, 4), "champion": 1}
    if children == 32:
        return
    done = scrambled.snakemake(*options, "-n", "-p")
    branch = next(option for option in options if option.startswith("branch=")).removeprefix("branch=")
    written = set(re.findall(r"--(?:population|survivors|weights|children|genotypes) (results/\S+)", done.stdout))
    read = re.findall(r"--pool (\S+)", done.stdout)
    assert set(read) == {f"results/tiny/search/gen_{g:03d}/population.csv" for g in range(12)}
    assert f"results/tiny@{branch}/search/gen_012/children.json" in written


def test_weights_that_a_branch_would_need_are_named(scrambled: Workplace) -> None:
    """A Gamma by which the largest networks are the best: children of generation 11."""
    made_search.lose_weights(scrambled.folder / "results/tiny/search", 12)
    text = refused(scrambled, "--config", "resume_from=12", "branch=large", "search={gamma: 9.0}")
    assert "generation 11 of tiny hands on networks whose weights are gone: generation 11, child 7 " in text
    assert "(results/tiny/search/gen_011/child_07/weights.safetensors)" in text


def test_what_is_missing_before_the_window_is_one_message(scrambled: Workplace) -> None:
    text = refused(scrambled, "--config", "only=10")
    assert "only: what is given is not there: results/tiny/search/gen_009/parents/0.safetensors, " in text


def test_all_from_a_generation_on(scrambled: Workplace) -> None:
    found = planned(scrambled, "-R", "mutate", "--config", "resume_from=11")
    assert of_search(found) == {**generation(generations=5), "champion": 1}
    # The report's figures of the first generations are made of what is there.
    assert found["figure_generation"] == 3 and found["train_model"] == 1
    assert of_search(planned(scrambled, "--config", "resume_from=16")) in ({}, {"champion": 1})


def test_the_ancestor_alone(scrambled: Workplace) -> None:
    found = planned(scrambled, "-R", "ancestor", "--config", "only=0")
    assert found == {**dict.fromkeys(("ancestor", "initialise", "train_child", "score", "select_ancestor"), 1)}


def test_an_ancestor_that_is_given_is_not_selected_again(place: Workplace) -> None:
    made_search.scramble(place.folder / "results")
    found = planned(place, "search", "-R", "mutate", "--config", "resume_from=1")
    assert found == {**generation(generations=15), "champion": 1}


def test_the_kept_ancestor_is_taken_over(scrambled: Workplace) -> None:
    options = ("--config", "resume_from=12", "branch=kept", "search={keep_ancestor: true}")
    assert "generation 0 of tiny hands on networks whose weights are gone" in refused(scrambled, *options)
    (scrambled.folder / "results/tiny/search/gen_000/parents/0.safetensors").touch()
    found = of_search(planned(scrambled, *options))
    assert found == {"adopt": 10, "adopt_parents": 1, "adopt_ancestor": 1, **generation(generations=4), "champion": 1}


def test_restored_times_leave_nothing_to_do(place: Workplace) -> None:
    assert planned(place, "search") == {}
    results, data = place.folder / "results/tiny", place.folder / "results/data/tiny"
    made_search.scramble(place.folder / "results", seed=2)
    assert planned(place, "search")["train_child"] > 1
    restore.restore([data, results])
    assert planned(place, "search") == {}
    # Longer: only what is new.
    longer = "search={generations: 17}"
    assert planned(place, "search", "--config", longer) == {**generation(generations=2), "champion": 1}


def converging(**settings: float) -> tuple[str, str]:
    settings = {"min_gain": 0.01, "generations": 15} | settings
    convergence = f"convergence: {{patience: {settings['patience']}, min_gain: {settings['min_gain']}}}"
    return "--config", f"search={{generations: {settings['generations']}, {convergence}}}"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"patience": 6}, {}),  # the end, as it is
        ({"patience": 2}, {}),  # generation 11
        ({"patience": 6, "generations": 30}, {}),
        ({"patience": 9, "generations": 30}, {**generation(generations=3), "decide": 1, "champion": 1}),
        ({"patience": 9, "generations": 18}, {**generation(generations=3), "champion": 1}),
    ],
)
def test_another_patience_makes_a_search_longer_or_shorter_and_trains_nothing_again(
    place: Workplace, settings: dict[str, float], expected: dict[str, int]
) -> None:
    assert planned(place, "search", *converging(**settings)) == expected


@pytest.mark.slow
def test_a_search_ends_when_it_has_converged(workplace: Workplace) -> None:
    """For real, with simulated trainings."""
    search = {**SEARCH, "generations": 9, "children": 2, "parents": 1, "train": {"epochs": 1}}
    search |= {"simulation": {"seconds": 10.0}, "convergence": {"patience": 2, "min_gain": 0.02}}
    config = {**CONFIG, "search": search}
    workplace.configure(config)
    done = workplace.snakemake("search")
    assert done.returncode == 0, done.stderr[-6000:]
    folder = workplace.folder / "results/tiny/search"
    generations = sorted(path.name for path in folder.iterdir())
    best = [float(artifacts.read_csv(folder / name / "population.csv")[0]["fitness"]) for name in generations]
    # Restated: what the last generation that gained had, and how many have waited since.
    gained, waited, ends = best[0], 0, []
    for number, value in enumerate(best[1:], start=1):
        gained, waited = (value, 0) if value <= 0.98 * gained else (gained, waited + 1)
        ends += [number] if waited == 2 else []
    assert ends == [len(best) - 1] and len(best) > 3, best
    champion = artifacts.read_json(workplace.folder / "results/tiny/champion.json")
    best_parent = artifacts.read_json(folder / generations[-1] / "parents.json")["parents"][0]
    assert champion == {"schema_version": 1, **best_parent}
    assert planned(workplace, "search") == {}
    # The generation that it ended with is looked at again when it is made again, before there is a champion.
    again = planned(workplace, "search", "-R", "select")
    assert (again["select"], again["decide"], again["champion"]) == (len(best) - 1, 1, 1)
    # More patience: one more generation, and nothing again.
    before = {path: path.read_bytes() for path in folder.rglob("*.safetensors")}
    search["convergence"]["patience"] = 3
    workplace.configure(config)
    assert planned(workplace, "search") == {**generation(2), "decide": 1, "champion": 1}
    done = workplace.snakemake("search")
    assert done.returncode == 0, done.stderr[-6000:]
    assert (folder / f"gen_{len(best):03d}/population.csv").exists()
    assert {path: path.read_bytes() for path in before} == before
