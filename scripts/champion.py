"""Write the champion of a search: the best survivor of its last generation."""

import argparse

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib.nets import files
    from pipeline_lib.search import population

    best = population.read(population.Parents, arguments.parents).parents[0]
    files.copy(arguments.parent_weights, arguments.weights, best.genotype, f"the best parent in {arguments.parents}")
    population.write(arguments.champion, population.Champion(**best.model_dump()))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--parents", required=True, help="parents.json of the last generation")
    options.add_argument("--parent-weights", required=True, help="weights of its best parent")
    options.add_argument("--champion", required=True, help="output: champion.json")
    options.add_argument("--weights", required=True, help="output: champion.safetensors")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
