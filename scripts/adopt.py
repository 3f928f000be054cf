"""Take over a generation of another search: rank its pool anew and, where the next one is bred from it, choose the parents."""

import argparse
import logging
import shutil

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.errors import ArtifactError
    from pipeline_lib.nets import files
    from pipeline_lib.search import population

    if len(arguments.weights) != len(arguments.survivor_weights):
        raise ArtifactError(
            f"{len(arguments.survivor_weights)} survivors need as many weights, {len(arguments.weights)} are given; give those of each"
        )
    pool = population.read_pool(arguments.pool)
    ranked = population.rank_again(pool, arguments.target_parameters, arguments.gamma)
    survivors = ranked[: len(arguments.survivor_weights)]
    for survivor, source, target in zip(survivors, arguments.weights, arguments.survivor_weights, strict=True):
        files.copy(source, target, survivor.genotype, f"survivor {survivor.rank}")
    rows = population.population_rows(ranked, len(survivors))
    if arguments.survivors is None:
        # Whom the generation handed on in its own search is history.
        survived = {(row["generation"], row["child"]): row["survivor"] for row in artifacts.read_csv(arguments.pool)}
        rows = [row | {"survivor": survived[str(row["generation"]), str(row["child"])]} for row in rows]
    else:
        generation = max(one.origin.generation for one in pool)
        population.write(arguments.survivors, population.Parents(generation=generation, parents=tuple(survivors)))
        shown = ", ".join(f"{one.origin.generation}.{one.origin.child}" for one in survivors)
        log.info("generation %d: parents (generation.child of their birth): %s", generation, shown)
    if arguments.genotypes is not None:
        with artifacts.atomic_path(arguments.genotypes) as temporary:
            shutil.copyfile(arguments.known, temporary)
    artifacts.write_csv(arguments.population, rows, population.POPULATION_COLUMNS)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pool", required=True, help="population.csv of the generation")
    options.add_argument("--gamma", type=cli.finite, required=True, help="Gamma of the fitness (Eq. 3)")
    options.add_argument(
        "--target-parameters", type=cli.positive_number, required=True, help="T of the fitness (Eq. 3)"
    )
    options.add_argument("--known", help="its genotypes.csv")
    options.add_argument("--weights", nargs="+", default=[], help="weights of the survivors with these, best first")
    options.add_argument("--population", required=True, help="output: population.csv, with J of these")
    options.add_argument("--genotypes", help="output: genotypes.csv, as it was")
    options.add_argument("--survivors", help="output: parents.json, as many survivors as there are weights")
    options.add_argument("--survivor-weights", nargs="+", default=[], help="output: their weights")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
