"""Select the survivors of a generation from its children and parents, and copy their weights."""

import argparse
import logging

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.errors import ArtifactError, EvoPoseError, about
    from pipeline_lib.nets import files
    from pipeline_lib.search import population
    from pipeline_lib.search.genotype import encode

    children = population.read(population.Children, arguments.children)
    scores = [population.read(population.Score, path) for path in arguments.scores]
    before = [parent for path in arguments.before for parent in population.read(population.Parents, path).parents]
    if len(arguments.weights) != len(scores) or len(arguments.parents) != len(before):
        raise ArtifactError(
            f"{len(scores)} scores and {len(before)} parents need as many weights, "
            f"{len(arguments.weights)} and {len(arguments.parents)} are given; give those of each"
        )
    population.check_failures(children, scores, arguments.max_failed)
    places = {(p.origin.generation, p.origin.child): path for p, path in zip(before, arguments.parents, strict=True)}
    # The ancestor that is kept in every pool may be among the parents anyway.
    pool = {(parent.origin.generation, parent.origin.child): parent for parent in reversed(before)}
    with about(arguments.children):
        ranked = population.rank(
            children, scores, list(pool.values())[::-1], arguments.target_parameters, arguments.gamma
        )
    places |= {(children.generation, index): path for index, path in enumerate(arguments.weights)}
    survivors = ranked[: len(arguments.survivor_weights)]
    if survivors[0].fitness is None:
        raise EvoPoseError(
            f"generation {children.generation}: every training in its pool failed ({survivors[0].reason}); there is "
            "nothing to go on from. Change what is at fault in search.train, and run again"
        )
    # Copies, not links: a parent may have been born many generations ago, and a link would keep that file's time.
    for survivor, target in zip(survivors, arguments.survivor_weights, strict=True):
        source = places[survivor.origin.generation, survivor.origin.child]
        files.copy(source, target, survivor.genotype, f"survivor {survivor.rank} of generation {children.generation}")
    rows = population.population_rows(ranked, len(survivors))
    artifacts.write_csv(arguments.population, rows, population.POPULATION_COLUMNS)
    population.write(arguments.survivors, population.Parents(generation=children.generation, parents=tuple(survivors)))
    best = survivors[0]
    log.info(
        "generation %d: best of %d is generation %d, child %d: loss %s, %d parameters, fitness %s (%s)",
        children.generation, len(ranked), best.origin.generation, best.origin.child,
        _rounded(best.loss), best.parameters, _rounded(best.fitness), encode(best.genotype),
    )  # fmt: skip


def _rounded(value: float | None) -> str:
    return "of a failed training" if value is None else f"{value:.2f}"


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--children", required=True, help="children.json of the generation")
    options.add_argument("--scores", nargs="+", required=True, help="score.json of every child")
    options.add_argument("--weights", nargs="+", required=True, help="weights.safetensors of every child")
    options.add_argument(
        "--before",
        nargs="*",
        default=[],
        help="parents.json of the generation before, if there is one, and of the ancestor if it is kept",
    )
    options.add_argument("--parents", nargs="*", default=[], help="weights of their parents, in that order")
    options.add_argument("--gamma", type=cli.finite, required=True, help="Gamma of the fitness (Eq. 3)")
    options.add_argument(
        "--target-parameters", type=cli.positive_number, required=True, help="T of the fitness (Eq. 3)"
    )
    options.add_argument(
        "--max-failed", type=cli.share, default=1.0, help="share of the children whose trainings may have failed (all)"
    )
    options.add_argument("--population", required=True, help="output: population.csv, everybody in the pool")
    options.add_argument("--survivors", required=True, help="output: parents.json")
    options.add_argument("--survivor-weights", nargs="+", required=True, help="output: as many weights as survive")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
