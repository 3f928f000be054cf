"""Make the children of the next generation: mutate the parents into genotypes that were never sampled before."""

import argparse
import logging

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.config import SearchSpace
    from pipeline_lib.search import population
    from pipeline_lib.search.breed import breed
    from pipeline_lib.search.mutation import text

    space = cli.settings(SearchSpace, arguments.space, "--space")
    parents = population.read(population.Parents, arguments.parents)
    population.check_space(parents.parents, space, arguments.ancestor, arguments.parents)
    known, cache = population.read_genotypes(arguments.known)
    offspring = breed(
        parents=[parent.genotype for parent in parents.parents],
        ancestor=arguments.ancestor,
        cache=cache,
        children=arguments.number,
        seed=arguments.seed,
        generation=parents.generation + 1,
        space=space,
    )
    children = population.next_generation(parents, offspring, arguments.seed)
    for child in children.children:
        changes = ", ".join(map(text, child.mutations))
        log.info("child %d of parent %d: %s%s", child.index, child.parent_rank, changes,
                 f" ({child.fallback})" if child.fallback else "")  # fmt: skip
    rows = [*known, *population.genotype_rows(children)]
    artifacts.write_csv(arguments.genotypes, rows, population.GENOTYPE_COLUMNS)
    population.write(arguments.children, children)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--parents", required=True, help="parents.json of the generation before")
    options.add_argument("--known", required=True, help="genotypes.csv of the generation before")
    options.add_argument("--number", type=cli.positive, required=True, help="number of children (lambda)")
    options.add_argument("--ancestor", type=cli.genotype, required=True, help="the ancestor's genotype as JSON")
    options.add_argument("--space", required=True, help="search.space of the configuration as JSON")
    options.add_argument("--seed", type=cli.non_negative, required=True, help="seed of the search")
    options.add_argument("--children", required=True, help="output: children.json")
    options.add_argument("--genotypes", required=True, help="output: genotypes.csv, with all genotypes up to here")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
