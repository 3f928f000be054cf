"""Write the champion of a search: the best survivor of its last generation."""

import argparse
import shutil

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.search import population

    parents = population.read(population.Parents, arguments.parents)
    with artifacts.atomic_path(arguments.weights) as temporary:
        shutil.copyfile(arguments.parent_weights, temporary)
    population.write(arguments.champion, parents.parents[0])


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--parents", required=True, help="parents.json of the last generation")
    options.add_argument("--parent-weights", required=True, help="weights of its best parent")
    options.add_argument("--champion", required=True, help="output: champion.json")
    options.add_argument("--weights", required=True, help="output: champion.safetensors")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
