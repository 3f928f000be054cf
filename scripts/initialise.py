"""Write the initial weights of a network without a parent: the ancestor, or a child trained from scratch.

They are new, or with --pretrained those of a trained network of the same kind where the two overlap.
"""

import argparse
import logging

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.config import SearchSpace
    from pipeline_lib.errors import about
    from pipeline_lib.nets import files, pretrained
    from pipeline_lib.nets.spec import Architecture
    from pipeline_lib.search import population

    child = population.read(population.Children, arguments.children).member(arguments.member)
    space = cli.settings(SearchSpace, arguments.space, "--space")
    with about(f"{arguments.children}, {arguments.member}"):
        architecture = Architecture.from_space(
            child.genotype, space, arguments.height, arguments.width, arguments.keypoints
        )
        weights, report = pretrained.from_scratch(architecture, child.seed)
    if arguments.pretrained is not None:
        weights, report = pretrained.inherit_file(
            arguments.pretrained, architecture, child.seed, arguments.keypoint_names
        )
        log.info("%s: %s", arguments.member, pretrained.summary(report))
    files.save(arguments.weights, architecture, weights)
    if arguments.report is not None:
        artifacts.write_document(arguments.report, report)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--children", required=True, help="children.json of the generation")
    options.add_argument("--member", required=True, help="which child, such as child_03 (or scratch_03)")
    options.add_argument("--height", type=cli.positive, required=True, help="input height in pixels")
    options.add_argument("--width", type=cli.positive, required=True, help="input width in pixels")
    options.add_argument("--keypoints", type=cli.positive, required=True, help="number of keypoints")
    options.add_argument("--space", required=True, help="search.space of the configuration as JSON")
    options.add_argument("--pretrained", help="weights to start from: .h5, .keras or .safetensors, a path or gs://")
    options.add_argument(
        "--keypoint-names", nargs="+", help="names of the keypoints: heat maps inherit by name, not by place"
    )
    options.add_argument("--report", help="output: inheritance.json, what came from where")
    options.add_argument("--weights", required=True, help="output: initial.safetensors")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
