"""Write a child's initial weights: its parent's where the networks overlap, new ones elsewhere (paper, section III)."""

import argparse
import dataclasses
import logging

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.errors import ArtifactError
    from pipeline_lib.nets import files
    from pipeline_lib.nets.inherit import inherit
    from pipeline_lib.search import population
    from pipeline_lib.search.genotype import encode
    from pipeline_lib.search.mutation import describe

    child = population.read(population.Children, arguments.children).member(arguments.member)
    if child.parent_rank is None or child.parent_rank >= len(arguments.parents):
        raise ArtifactError(
            f"{arguments.children}: {arguments.member} comes from parent {child.parent_rank}, "
            f"{len(arguments.parents)} parents are given; give the weights of all in the order of their ranks"
        )
    parent, weights = files.load_searched(arguments.parents[child.parent_rank])
    if describe(parent.genotype, child.genotype) != list(child.mutations):
        raise ArtifactError(
            f"{arguments.parents[child.parent_rank]}: weights of {encode(parent.genotype)}, of which {arguments.member} of "
            f"{arguments.children} is no mutation as described there; give the weights of its parent, or delete both and run "
            "again"
        )
    architecture = dataclasses.replace(parent, genotype=child.genotype)
    inherited, report = inherit(
        parent, weights, architecture, child.seed, donor=arguments.donor, kernels=not arguments.new_kernels
    )
    log.info("%s inherits %.1f %% of its parameters", arguments.member, 100 * report["fraction"])
    files.save(arguments.weights, architecture, inherited)
    artifacts.write_document(arguments.report, report)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--children", required=True, help="children.json of the generation")
    options.add_argument("--member", required=True, help="which child, such as child_03")
    options.add_argument(
        "--parents", nargs="+", required=True, help="weights of all parents, in the order of their ranks"
    )
    options.add_argument(
        "--donor", choices=["module", "network"], default="module", help="whose last block a new block inherits from"
    )
    options.add_argument(
        "--new-kernels",
        action="store_true",
        help="depthwise kernels of another size inherit nothing (published program)",
    )
    options.add_argument("--weights", required=True, help="output: initial.safetensors")
    options.add_argument("--report", required=True, help="output: inheritance.json, what came from where")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
