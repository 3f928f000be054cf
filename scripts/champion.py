"""Write the champion of a search: the best survivor of its last generation."""

import argparse
import shutil

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.errors import ArtifactError
    from pipeline_lib.nets import files
    from pipeline_lib.search import population
    from pipeline_lib.search.genotype import encode, key

    parents = population.read(population.Parents, arguments.parents)
    best, found = parents.parents[0].genotype, key(files.load_architecture(arguments.parent_weights).genotype)
    if found != best:
        raise ArtifactError(
            f"{arguments.parent_weights}: weights of {encode(found)}, but the best parent in {arguments.parents} is "
            f"{encode(best)}; give its weights (parents/0.safetensors)"
        )
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
