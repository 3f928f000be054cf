"""Write generation 0: the ancestor as its one child, and the list of genotypes sampled so far."""

import argparse

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.search import population

    children = population.first_generation(arguments.genotype, arguments.seed)
    artifacts.write_csv(arguments.genotypes, population.genotype_rows(children), population.GENOTYPE_COLUMNS)
    population.write(arguments.children, children)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--genotype",
        type=cli.genotype,
        required=True,
        help="7 x 4 integers as JSON: blocks, kernel, channels / 8, stride",
    )
    options.add_argument("--seed", type=cli.non_negative, required=True, help="seed of the search")
    options.add_argument("--children", required=True, help="output: children.json")
    options.add_argument("--genotypes", required=True, help="output: genotypes.csv")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
