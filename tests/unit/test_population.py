import json
import math

import numpy as np
import pytest

from pipeline_lib.artifacts import read_json, write_csv, write_json
from pipeline_lib.errors import ArtifactError
from pipeline_lib.search import population
from pipeline_lib.search.breed import Offspring
from pipeline_lib.search.genotype import ANCESTOR, EVOPOSE2D_S, EVOPOSE2D_XS, encode, key
from pipeline_lib.search.population import Child, Children, Individual, Origin, Parents, Score

TARGET, GAMMA = 5e6, -0.07
GENOTYPES = (key(EVOPOSE2D_S), key(EVOPOSE2D_XS))


def eq3(loss, parameters):
    return loss * (TARGET / parameters) ** GAMMA


def score(genotype, loss, parameters=1_000_000, **changes):
    status = "failed" if loss is None else "ok"
    fields = {"genotype": genotype, "loss": loss, "epoch": None if loss is None else 1, "parameters": parameters}
    return Score(**{**fields, "multiply_adds": 7 * parameters, "status": status, **changes})


def individual(loss, parameters=1_000_000, *, rank=0, fitness=None, origin=(0, 0), **changes):
    fields = {"rank": rank, "genotype": key(ANCESTOR), "loss": loss, "parameters": parameters, "multiply_adds": 3}
    origin = Origin(generation=origin[0], child=origin[1])
    return Individual(**{**fields, "status": "ok", "fitness": fitness, "origin": origin, **changes})


def children(generation=1, genotypes=GENOTYPES):
    return Children(
        generation=generation,
        children=tuple(Child(index=index, genotype=genotype, seed=0) for index, genotype in enumerate(genotypes)),
    )


def origins(ranked):
    return [(one.origin.generation, one.origin.child) for one in ranked]


def test_seeds_are_addressed():
    seeds = {(s, g, c): population.child_seed(s, g, c) for s in range(3) for g in range(3) for c in range(3)}
    assert len(set(seeds.values())) == 27
    assert seeds[2, 0, 1] == int(np.random.SeedSequence([2, 0, 1]).generate_state(1)[0])


def test_first_generation_is_the_ancestor():
    first = population.first_generation(ANCESTOR, 5)
    assert first.generation == 0 and len(first.children) == 1
    child = first.children[0]
    assert child == Child(index=0, genotype=key(ANCESTOR), seed=population.child_seed(5, 0, 0))
    assert child.parent_rank is None and child.parent_origin is None


def test_children_know_their_parent_and_have_their_own_seed():
    change = [{"module": 2, "kind": "blocks", "before": 2, "after": 3}]
    parents = Parents(generation=3, parents=(individual(0.1, origin=(2, 5)), individual(0.2, rank=1, origin=(3, 1))))
    offspring = [Offspring(EVOPOSE2D_S, 1, change, None), Offspring(EVOPOSE2D_XS, 0, [], "two_mutations")]
    made = population.next_generation(parents, offspring, seed=9)
    assert made.generation == 4
    first, second = made.children
    assert (first.index, first.genotype, first.parent_rank) == (0, key(EVOPOSE2D_S), 1)
    assert (second.index, second.genotype, second.parent_rank) == (1, key(EVOPOSE2D_XS), 0)
    assert first.parent_origin == Origin(generation=3, child=1)
    assert second.parent_origin == Origin(generation=2, child=5)
    assert [child.seed for child in made.children] == [population.child_seed(9, 4, index) for index in (0, 1)]
    assert first.mutations == tuple(change) and first.fallback is None and second.fallback == "two_mutations"
    assert population.genotype_rows(made) == [
        {"generation": 4, "child": 0, "genotype": encode(EVOPOSE2D_S)},
        {"generation": 4, "child": 1, "genotype": encode(EVOPOSE2D_XS)},
    ]


@pytest.mark.parametrize(("name", "index"), [("child_00", 0), ("child_01", 1), ("scratch_01", 1)])
def test_members_of_a_generation(name, index):
    assert children().member(name).index == index


@pytest.mark.parametrize("name", ["child_02", "child_-1"])
def test_a_member_that_is_not_there_is_refused(name):
    with pytest.raises(ArtifactError, match=f"{name}: generation 1 has 2 children"):
        children().member(name)


def history(*losses):
    return [{"epoch": str(epoch), "val_loss": loss} for epoch, loss in losses]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (history((0, "0.1"), (1, "0.5"), (2, "0.3"), (3, "0.4")), (0.3, 2)),
        (history((1, "0.5"), (2, "0.3"), (3, "0.3")), (0.3, 2)),
        (history((1, "nan"), (2, "0.7"), (3, "-inf"), (4, "inf")), (0.7, 2)),
        (history((0, "0.1"), (1, "nan")), (None, None)),
        (history((0, "0.1")), (None, None)),
        ([], (None, None)),
    ],
)
def test_best_epoch(rows, expected):
    assert population.best_epoch(rows) == expected


def test_rank_computes_fitness_anew_by_eq3():
    # By loss alone the order would be child 1, parent, child 0; the parent's stored fitness would put it first.
    scores = [score(GENOTYPES[0], 1.03, 1_000_000), score(GENOTYPES[1], 1.0, 4_000_000)]
    parent = individual(1.02, 2_000_000, rank=0, fitness=0.0001, origin=(0, 4))
    ranked = population.rank(children(), scores, [parent], TARGET, GAMMA)
    values = {(1, 0): eq3(1.03, 1e6), (1, 1): eq3(1.0, 4e6), (0, 4): eq3(1.02, 2e6)}
    assert origins(ranked) == sorted(values, key=values.__getitem__) == [(1, 0), (0, 4), (1, 1)]
    for place, one in enumerate(ranked):
        assert one.rank == place
        assert one.fitness == pytest.approx(values[one.origin.generation, one.origin.child], rel=1e-12)
    # The rest is the individual's own.
    assert ranked[0].genotype == GENOTYPES[0] and ranked[1].genotype == key(ANCESTOR)
    assert [one.multiply_adds for one in ranked] == [7_000_000, 3, 28_000_000]
    assert [one.loss for one in ranked] == [1.03, 1.02, 1.0]


def test_rank_follows_gamma_and_target():
    scores = [score(GENOTYPES[0], 1.03, 1_000_000), score(GENOTYPES[1], 1.0, 4_000_000)]
    by_loss = population.rank(children(), scores, [], TARGET, 0.0)
    assert origins(by_loss) == [(1, 1), (1, 0)] and [one.fitness for one in by_loss] == [1.0, 1.03]
    other = population.rank(children(), scores, [], 1e6, GAMMA)
    assert other[0].fitness == pytest.approx(1.03)


def test_failed_trainings_come_last():
    scores = [score(GENOTYPES[0], None), score(GENOTYPES[1], 0.9)]
    failed = individual(0.1, status="failed", origin=(0, 1))
    ranked = population.rank(children(), scores, [failed, individual(5.0)], TARGET, GAMMA)
    assert origins(ranked) == [(1, 1), (0, 0), (1, 0), (0, 1)]
    assert [one.fitness is None for one in ranked] == [False, False, True, True]
    assert [one.status for one in ranked] == ["ok", "ok", "failed", "failed"]
    json.dumps(ranked[2].model_dump(mode="json"), allow_nan=False)


def test_equal_fitness_children_first_in_order():
    scores = [score(genotype, 0.5) for genotype in GENOTYPES]
    parents = [individual(0.5, origin=(0, 3)), individual(0.5, rank=1, origin=(0, 1))]
    ranked = population.rank(children(), scores, parents, TARGET, GAMMA)
    assert origins(ranked) == [(1, 0), (1, 1), (0, 3), (0, 1)]


def test_scores_of_others_are_refused():
    scores = [score(GENOTYPES[1], 0.1), score(GENOTYPES[0], 0.2)]
    with pytest.raises(ArtifactError, match="generation 1, child 0 belongs to another genotype"):
        population.rank(children(), scores, [], TARGET, GAMMA)
    with pytest.raises(ArtifactError, match="1 scores for 2 children of generation 1"):
        population.rank(children(), scores[1:], [], TARGET, GAMMA)
    scores = [score(genotype, 0.1) for genotype in (*GENOTYPES, GENOTYPES[0])]
    with pytest.raises(ArtifactError, match="3 scores for 2 children of generation 1"):
        population.rank(children(), scores, [], TARGET, GAMMA)


def test_population_rows():
    scores = [score(GENOTYPES[0], 0.9), score(GENOTYPES[1], None)]
    ranked = population.rank(children(2), scores, [individual(0.5, origin=(1, 4))], TARGET, GAMMA)
    rows = population.population_rows(ranked, 2)
    assert [tuple(row) for row in rows] == [population.POPULATION_COLUMNS] * 3
    assert [(row["rank"], row["generation"], row["child"], row["survivor"]) for row in rows] == [
        (0, 1, 4, 1),
        (1, 2, 0, 1),
        (2, 2, 1, 0),
    ]
    assert rows[0]["genotype"] == encode(ANCESTOR) and rows[1]["genotype"] == encode(GENOTYPES[0])
    assert rows[2]["loss"] is None and rows[2]["fitness"] is None and rows[2]["status"] == "failed"
    assert math.isclose(rows[1]["fitness"], eq3(0.9, 1e6)) and rows[1]["multiply_adds"] == 7_000_000


def test_a_pool_comes_back_and_is_ranked_anew(tmp_path):
    scores = [score(GENOTYPES[0], 1.03, 1_000_000), score(GENOTYPES[1], None, 2_000_000)]
    ranked = population.rank(children(2), scores, [individual(1.0, 4_000_000, origin=(1, 4))], TARGET, GAMMA)
    write_csv(tmp_path / "p.csv", population.population_rows(ranked, 2), population.POPULATION_COLUMNS)
    pool = population.read_pool(tmp_path / "p.csv")
    assert pool == ranked == population.rank_again(pool, TARGET, GAMMA)
    assert origins(ranked) == [(2, 0), (1, 4), (2, 1)]
    by_loss = population.rank_again(pool, TARGET, 0.0)
    assert origins(by_loss) == [(1, 4), (2, 0), (2, 1)] and [one.rank for one in by_loss] == [0, 1, 2]
    assert [one.fitness for one in by_loss] == [1.0, 1.03, None] and by_loss[0].multiply_adds == 3
    assert origins(population.rank_again(pool, 1e5, -3.0)) == [(2, 0), (1, 4), (2, 1)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1.03", "much", r"p\.csv, line 2: could not convert .*much"),
        ("ok", "fine", r"p\.csv, line 2: status: .*fine"),
        ("failed", "lost", r"p\.csv, line 3: status: .*lost"),
        ("1.3.2.1-", "", r"p\.csv, line \d: genotype .*: 7 rows"),
        ("fitness", "J", r"p\.csv: there is no column fitness; delete it and run again"),
    ],
)
def test_damaged_pools_are_named(tmp_path, old, new, expected):
    scores = [score(key(ANCESTOR), 1.03), score(key(ANCESTOR), None)]
    ranked = population.rank(children(1, (key(ANCESTOR),) * 2), scores, [], TARGET, GAMMA)
    write_csv(tmp_path / "p.csv", population.population_rows(ranked, 1), population.POPULATION_COLUMNS)
    text = (tmp_path / "p.csv").read_text()
    (tmp_path / "p.csv").write_text(text.replace(old, new))
    with pytest.raises(ArtifactError, match=expected):
        population.read_pool(tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text(text.partition("\n")[0] + "\n")
    with pytest.raises(ArtifactError, match=r"p\.csv: has no rows"):
        population.read_pool(tmp_path / "p.csv")


def test_documents_survive_the_disk(tmp_path):
    path = tmp_path / "children.json"
    population.write(path, children())
    assert population.read(Children, path) == children()
    assert read_json(path)["schema_version"] == 1
    with pytest.raises(ArtifactError, match=r"children\.json: not a valid score document: .*loss"):
        population.read(Score, path)
    write_json(path, {**read_json(path), "schema_version": 2})
    with pytest.raises(ArtifactError, match="schema_version"):
        population.read(Children, path)


@pytest.mark.parametrize(("model", "key"), [(Children, "children"), (Parents, "parents")])
def test_a_generation_without_members_is_refused(tmp_path, model, key):
    write_json(tmp_path / "empty.json", {"schema_version": 1, "generation": 1, key: []})
    with pytest.raises(ArtifactError, match=rf"empty\.json: not a valid {key} document: {key}: .*at least 1"):
        population.read(model, tmp_path / "empty.json")


def test_a_score_does_not_hold_fitness():
    with pytest.raises(ValueError, match="fitness"):
        score(GENOTYPES[0], 0.5, fitness=1.0)
