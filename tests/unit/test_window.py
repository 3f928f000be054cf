"""Which part of a search a run makes, where it ends, and what is said when something given is missing."""

import logging
import re
import shutil

import pytest

from pipeline_lib import config, plan, window
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.search import population
from tests import made_search
from tests.unit.test_plan import RAW, raw

SEARCH = {**RAW["search"], "generations": 6, "children": 4, "parents": 2, "gamma": -0.1}


def load(search=SEARCH, **changes):
    return config.load(raw(search=search, **changes))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searched")
    made_search.make(folder / "results/demo/search", SEARCH)
    return folder


@pytest.fixture
def place(searched, tmp_path):
    shutil.copytree(searched, tmp_path, dirs_exist_ok=True)
    return tmp_path


def gen(place, generation, name="", folder="demo"):
    return place / f"results/{folder}/search/gen_{generation:03d}/{name}"


@pytest.mark.parametrize("first", [0, 1, 7, 9, 10, 12, 99, 100, 109, 190, 999, 1000, 1899])
def test_numbers_from_one_on(first):
    pattern = window.at_least(first)
    # Snakemake knows braces only as {3} and {3,4}, and takes others for the end of a wildcard.
    assert not set("{}()") & set(pattern)
    for number in [*range(2000), 9998, 9999, 10000, 12345]:
        assert bool(re.fullmatch(pattern, plan.number(number))) == (number >= first), number
    for name in ("", "0", "12", "1a3", "0012", "-01"):
        assert not re.fullmatch(pattern, name)


def made_by(cfg):
    """(generations, later ones, those with all of their children) that a run makes, of those up to 9."""
    patterns = (window.generations(cfg), window.generations(cfg, 1), window.whole_generations(cfg, 1))
    return tuple([g for g in range(10) if re.fullmatch(pattern, f"{g:03d}")] for pattern in patterns)


def test_what_is_made():
    everything = [*range(10)]
    assert made_by(load()) == (everything, everything[1:], everything[1:])
    assert made_by(load(resume_from=4)) == (everything[4:],) * 3
    assert made_by(load(only=4)) == ([4], [4], [4])
    assert made_by(load(only=0)) == ([0], [], [])
    assert made_by(load(only={"generation": 4, "children": [1]})) == ([4], [4], [])
    assert made_by(load(resume_from=2, only=4, branch="b")) == ([4], [4], [4])
    for cfg, made in ((load(), range(7)), (load(resume_from=3), range(3, 7)), (load(only=2), [2])):
        assert [g for g in range(9) if window.makes(cfg, g)] == [*made]
        assert window.is_narrowed(cfg) == (len(made) < 7)
    assert window.is_narrowed(load(only=0))


def test_members_that_are_made():
    child, first = r"child_\d+", r"child_00|scratch_\d+"
    assert window.members(load(only=4), child) == child
    some = load(only={"generation": 4, "children": [3, 0]})
    assert window.members(some, child) == "child_03|child_00"
    assert window.members(some, first) == "child_00"
    assert not re.match(window.members(load(only={"generation": 4, "children": [1]}), first), "child_00")


def test_a_search_without_convergence_ends_with_its_last_generation(place):
    for changes in ({}, {"only": 3}, {"resume_from": 3}):
        assert window.end(load(**changes), place) == (6, False)


def converging(patience, min_gain=0.0, **search):
    return {**SEARCH, "convergence": {"patience": patience, "min_gain": min_gain}, **search}


def standing(generation, child):
    """No child is better than the best of generation 2."""
    return made_search.falling(min(generation, 2), child) + (generation > 2)


def test_where_a_search_ends_is_read_from_its_populations(tmp_path):
    assert window.end(load(converging(3)), tmp_path) == (3, True)  # nothing there: no earlier than that
    made_search.make(tmp_path / "results/demo/search", SEARCH, loss=standing)
    for patience, expected in ((1, 3), (2, 4), (4, 6), (5, 6)):
        assert window.end(load(converging(patience)), tmp_path) == (expected, False)
    # Another patience with more room: the next generations are certain up to its earliest end.
    assert window.end(load(converging(4, generations=30)), tmp_path) == (6, False)
    assert window.end(load(converging(9, generations=30)), tmp_path) == (11, True)
    assert window.end(load(converging(9, generations=11)), tmp_path) == (11, False)
    # 5 % are not enough; with them generation 0 is the best.
    assert window.end(load(converging(2, 0.2)), tmp_path) == (2, False)
    # The run that makes one generation makes no other, whatever is undecided.
    assert window.end(load(converging(1), only=2), tmp_path) == (3, False)
    assert window.end(load(converging(1), only=5), tmp_path) == (3, False)
    assert window.end(load(converging(9, generations=30), only=5), tmp_path) == (11, False)


def test_what_is_given_is_part_of_the_search(tmp_path):
    made_search.make(tmp_path / "results/demo/search", SEARCH, loss=standing)
    for first, expected in ((1, 3), (4, 3), (5, 4), (6, 5), (7, 6)):
        assert window.end(load(converging(1), resume_from=first), tmp_path) == (expected, False)


def test_a_generation_that_was_looked_at_is_looked_at_again(tmp_path):
    made_search.make(tmp_path / "results/demo/search", SEARCH, loss=standing)
    gen(tmp_path, 4, "decided").touch()
    assert window.end(load(converging(2)), tmp_path) == (4, True)
    assert window.end(load(converging(1)), tmp_path) == (3, False)
    assert window.end(load(converging(1), resume_from=5), tmp_path) == (4, False)  # it is given


def test_convergence_is_decided_by_the_own_gamma(tmp_path):
    """Whatever J a population was written with: here the first child of generation 1 is smaller but no better."""
    made_search.make(
        tmp_path / "results/demo/search",
        {**SEARCH, "gamma": 0.0},
        loss=lambda generation, child: 100.0 + generation + child,
        parameters=lambda child: 1000 + child,
    )
    for gamma, expected in ((0.0, 1), (0.5, 1)):
        assert window.end(load(converging(1, gamma=gamma)), tmp_path).generation == expected
    rows = gen(tmp_path, 1, "population.csv").read_text().replace("101.0,1000,", "101.0,10,")
    gen(tmp_path, 1, "population.csv").write_text(rows)
    for gamma, expected in ((0.0, 1), (-0.5, 2)):
        assert window.end(load(converging(1, gamma=gamma)), tmp_path).generation == expected


def test_a_branch_decides_from_the_search_that_it_leaves(tmp_path):
    made_search.make(tmp_path / "results/demo/search", SEARCH, loss=standing)
    branch = {"branch": "b", "resume_from": 3}
    assert window.end(load(converging(2), **branch), tmp_path) == (4, True)
    made_search.make(tmp_path / "results/demo@b/search", {**SEARCH, "generations": 4}, loss=standing)
    assert window.end(load(converging(2), **branch), tmp_path) == (4, False)
    assert window.end(load(converging(3), **branch), tmp_path) == (5, True)


def test_curves_that_can_be_drawn(place):
    assert window.curves(load(), 6, place) == [0, 1, 6]
    assert window.curves(load(), 1, place) == [0, 1]
    assert window.curves(load(resume_from=5), 6, place) == [0, 1, 6]
    gen(place, 1, "child_03/history.csv").unlink()
    assert window.curves(load(resume_from=5), 6, place) == [0, 6]
    assert window.curves(load(resume_from=1), 6, place) == [0, 1, 6]
    assert window.curves(load(resume_from=5, branch="b"), 6, place) == [6]


def test_the_comparison_needs_a_first_generation(tmp_path):
    assert window.compares(load(), tmp_path)
    assert not window.compares(load({**SEARCH, "compare_scratch": False}), tmp_path)
    assert not window.compares(load({**SEARCH, "generations": 0, "parents": 1}), tmp_path)
    assert not window.compares(load(resume_from=2), tmp_path)
    gen(tmp_path, 1).mkdir(parents=True)
    gen(tmp_path, 1, "comparison.csv").touch()
    assert window.compares(load(resume_from=2), tmp_path)


def refused(cfg, place):
    with pytest.raises((ConfigError, ArtifactError)) as caught:
        window.check(cfg, folder=place)
    return str(caught.value)


def test_what_is_given_is_enough(place, caplog):
    made_search.lose_weights(place / "results/demo/search", 4)
    for changes in ({}, {"resume_from": 4}, {"only": 4}, {"resume_from": 7}, {"only": 0}):
        window.check(load(**changes), folder=place)
    assert caplog.text == ""
    assert refused(load(resume_from=3), place) == (
        f"resume_from: what is given is not there: {gen(place, 2, 'parents/0.safetensors')}, "
        f"{gen(place, 2, 'parents/1.safetensors')}; put it there, or leave the key out and have it made"
    )


@pytest.mark.parametrize(
    ("changes", "lost", "needed"),
    [
        ({"only": 4}, (3, "parents.json"), True),
        ({"only": 4}, (3, "genotypes.csv"), True),
        ({"only": 4}, (4, "children.json"), False),
        ({"only": {"generation": 4, "children": [1]}}, (3, "genotypes.csv"), False),
        ({"only": {"generation": 4, "children": [1]}}, (4, "children.json"), True),
        ({"resume_from": 4}, (0, "parents/0.safetensors"), False),
        ({"resume_from": 4}, (2, "population.csv"), False),
    ],
)
def test_what_is_missing_of_it_is_named(place, changes, lost, needed):
    gen(place, *lost).unlink()
    if not needed:
        return window.check(load(**changes), folder=place)
    text = refused(load(**changes), place)
    assert text.startswith(f"{next(iter(changes))}: what is given is not there: {gen(place, *lost)};")
    return None


def test_the_ancestor_that_is_kept_has_to_be_there(place):
    keeping = {**SEARCH, "keep_ancestor": True}
    window.check(load(keeping, resume_from=4), folder=place)
    gen(place, 0, "parents/0.safetensors").unlink()
    assert "gen_000/parents/0.safetensors" in refused(load(keeping, resume_from=4), place)


def test_convergence_needs_the_populations_that_are_given(place):
    gen(place, 2, "population.csv").unlink()
    text = refused(load(converging(2), resume_from=4), place)
    assert text.startswith(f"search.convergence: what is given is not there: {gen(place, 2, 'population.csv')};")
    window.check(load(converging(2), only=4), folder=place)


def test_another_mu_is_refused_in_place(place):
    assert refused(load({**SEARCH, "parents": 3}, resume_from=4), place) == (
        f"search.parents: 3, but {gen(place, 3, 'parents.json')} has 2; set it to that, choose parents anew in a branch "
        "(branch, resume_from: 4), or resume from 3"
    )
    assert "search.parents: 1, but" in refused(load({**SEARCH, "parents": 1}, resume_from=4), place)
    window.check(load({**SEARCH, "parents": 3}, resume_from=1), folder=place)  # the ancestor is alone anyway


def test_another_gamma_is_warned_of_in_place(place, caplog):
    with caplog.at_level(logging.WARNING):
        window.check(load({**SEARCH, "gamma": -0.2}, resume_from=4), folder=place)
    assert "gen_003/parents.json: chosen with another search.gamma or search.target_parameters" in caplog.text


def test_children_that_are_given_have_to_be_there(place):
    some = load(only={"generation": 4, "children": [1, 3]})
    gen(place, 4, "child_01/score.json").unlink()
    window.check(some, folder=place)
    gen(place, 4, "child_02/score.json").unlink()
    with pytest.raises(
        ConfigError, match=r"only\.children: what is given is not there: .*gen_004/child_02/score\.json;"
    ):
        window.check(some, ["-n", "--config"], place)
    window.check(some, ["results/demo/search/gen_004/child_03/score.json"], place)
    window.check(load(only=4), folder=place)
    gen(place, 4, "child_02/weights.safetensors").unlink()
    text = refused(some, place)
    assert "child_02/score.json" in text and "child_02/weights.safetensors; put" in text and "child_00" not in text


def handed_on(place, generation, **search):
    """(generation, child) of those whose weights a branch begins with, and the files."""
    cfg = load({**SEARCH, **search}, branch="b", resume_from=generation + 1)
    found = window.adopted_weights(cfg, generation, place)
    return [str(path.relative_to(place / "results/demo/search")) for path in found]


def expected(place, generation, mu, gamma, target):
    """Restated from the population's columns: J of Eq. 3, the lowest first."""
    pool = population.read_pool(gen(place, generation, "population.csv"))
    value = {(one.origin.generation, one.origin.child): one.loss * (target / one.parameters) ** gamma for one in pool}
    return sorted(value, key=value.__getitem__)[:mu]


def test_a_branch_begins_with_the_parents_of_its_own_gamma_and_mu(place):
    target = SEARCH["target_parameters"]
    assert handed_on(place, 3) == ["gen_003/parents/0.safetensors", "gen_003/parents/1.safetensors"]
    # Losses of generation 3 are 85.7 + child, of 2 at least 90.25, parameters 1000 to 4000.
    assert expected(place, 3, 3, -0.1, target) == [(3, 0), (2, 0), (3, 1)]
    assert expected(place, 3, 3, -1.0, target) == [(3, 0), (2, 0), (1, 0)]
    assert expected(place, 3, 3, 0.5, target) == [(3, 3), (3, 2), (3, 1)]
    for gamma, mu in ((0.5, 3), (0.0, 2), (-0.1, 3), (-1.0, 3)):
        names = handed_on(place, 3, gamma=gamma, parents=mu)
        stored = population.read(population.Parents, gen(place, 3, "parents.json")).parents
        kept = {(one.origin.generation, one.origin.child): one.rank for one in stored}
        before = population.read(population.Parents, gen(place, 2, "parents.json")).parents
        kept_before = {(one.origin.generation, one.origin.child): one.rank for one in before}
        wanted = []
        for origin in expected(place, 3, mu, gamma, target):
            if origin in kept:
                wanted.append(f"gen_003/parents/{kept[origin]}.safetensors")
            elif origin in kept_before:
                wanted.append(f"gen_002/parents/{kept_before[origin]}.safetensors")
            else:
                wanted.append(f"gen_{origin[0]:03d}/child_{origin[1]:02d}/weights.safetensors")
        assert names == wanted


def test_weights_are_looked_for_wherever_they_may_lie(place):
    """Of the network that was born first and survived to the end."""
    found = []
    while True:
        try:
            name = handed_on(place, 3, parents=3, gamma=-1.0)[2]
        except ArtifactError as error:
            assert "generation 3 of demo hands on networks whose weights are gone: generation 1, child 0 (" in str(
                error
            )
            assert "gen_001/child_00/weights.safetensors)" in str(error) and "search.parents: 3, gamma: -1 and" in str(
                error
            )
            break
        found.append(name)
        (place / "results/demo/search" / name).unlink()
    assert found == [
        *("gen_002/parents/1.safetensors", "gen_001/parents/0.safetensors", "gen_001/child_00/weights.safetensors"),
    ]


def test_a_branch_cannot_have_more_parents_than_there_were_candidates(place):
    with pytest.raises(ArtifactError, match=r"search\.parents: 8, but the pool in .*gen_003/population\.csv has 6"):
        handed_on(place, 3, parents=8, children=16)


def test_what_a_branch_needs_is_checked_before_it_begins(place):
    branch = {"branch": "b", "resume_from": 4}
    window.check(load(**branch), folder=place)
    window.check(load(**branch | {"resume_from": 7}), folder=place)
    gen(place, 1, "population.csv").unlink()
    text = refused(load(**branch), place)
    assert text.startswith(f"branch b of demo: what is given is not there: {gen(place, 1, 'population.csv')};")


def test_a_branch_that_has_begun_needs_the_other_search_no_longer(place):
    keeping = {**SEARCH, "keep_ancestor": True}
    cfg = load(keeping, branch="b", resume_from=4)
    made_search.make(place / "results/demo@b/search", {**SEARCH, "generations": 3})
    (place / "results/demo").rename(place / "results/gone")
    window.check(cfg, folder=place)
    gen(place, 0, "parents/0.safetensors", "demo@b").unlink()
    assert "branch b of demo" in refused(cfg, place)
    window.check(load(branch="b", resume_from=4), folder=place)  # which does not keep the ancestor


def test_later_generations_of_a_branch_are_its_own(place):
    cfg = load(branch="b", resume_from=3, only=5)
    assert "demo@b/search/gen_004/parents.json" in refused(cfg, place)
    made_search.make(place / "results/demo@b/search", SEARCH)
    window.check(cfg, folder=place)
