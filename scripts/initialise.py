"""Write the initial weights of a network that inherits nothing: the ancestor, or a child trained from scratch."""

import argparse

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib.config import SearchSpace
    from pipeline_lib.nets import files
    from pipeline_lib.nets.spec import Architecture, initial_weights
    from pipeline_lib.search import population

    child = population.read(population.Children, arguments.children).member(arguments.member)
    space = cli.settings(SearchSpace, arguments.space, "--space")
    architecture = Architecture.from_space(
        child.genotype, space, arguments.height, arguments.width, arguments.keypoints
    )
    files.save(arguments.weights, architecture, initial_weights(architecture, child.seed))


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--children", required=True, help="children.json of the generation")
    options.add_argument("--member", required=True, help="which child, such as child_03 (or scratch_03)")
    options.add_argument("--height", type=int, required=True, help="input height in pixels")
    options.add_argument("--width", type=int, required=True, help="input width in pixels")
    options.add_argument("--keypoints", type=int, required=True, help="number of keypoints")
    options.add_argument("--space", required=True, help="search.space of the configuration as JSON")
    options.add_argument("--weights", required=True, help="output: initial.safetensors")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
