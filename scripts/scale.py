"""Write the initial weights of a final network: the champion scaled to its input size (paper, section IV-E), or a published one."""

import argparse
import dataclasses
import logging
from typing import Any

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.config import ModelConfig
    from pipeline_lib.nets import files, pretrained, registry
    from pipeline_lib.nets.inherit import inherit
    from pipeline_lib.nets.layers import Network, count_network
    from pipeline_lib.nets.spec import Architecture
    from pipeline_lib.search.scaling import check, coefficients

    settings = cli.settings(ModelConfig, arguments.settings)
    network: Network
    phi = None
    if settings.network is not None:
        network = registry.architecture(settings.network, settings.height, settings.width, arguments.keypoints)
    else:
        champion, weights = files.load_searched(arguments.champion)
        if settings.coefficients is None:
            check(settings.height, settings.width, champion.height, champion.width)
        found, depth, width = coefficients(settings.height, settings.width, champion.height, champion.width)
        phi = found if settings.coefficients is None else None
        scale = settings.coefficients or (depth, width)
        network = dataclasses.replace(champion, height=settings.height, width=settings.width, scale=scale)
    if settings.pretrained is not None:
        initial, report = pretrained.inherit_file(
            settings.pretrained, network, arguments.seed, arguments.keypoint_names
        )
        log.info("%s: %s", arguments.name, pretrained.summary(report))
    elif settings.initial == "champion" and isinstance(network, Architecture):
        initial, report = inherit(champion, weights, network, arguments.seed)
    else:
        initial, report = pretrained.from_scratch(network, arguments.seed)
    counted = count_network(network)
    written: dict[str, Any] = {"network": settings.network, "height": settings.height, "width": settings.width}
    if isinstance(network, Architecture):
        written |= {
            "genotype": network.genotype,
            "phi": phi,
            "depth_coefficient": network.scale[0],
            "width_coefficient": network.scale[1],
        }
        log.info("%s: depth x %.2f, width x %.2f", arguments.name, *network.scale)
    log.info("%s: %d parameters", arguments.name, counted["parameters"])
    files.save(arguments.weights, network, initial)
    artifacts.write_document(arguments.report, report)
    artifacts.write_document(
        arguments.model,
        {
            "name": arguments.name,
            **written,
            "initial": settings.initial if settings.pretrained is None else "pretrained",
            **counted,
        },
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--champion", nargs="?", help="champion.safetensors, unless the network is a published one")
    options.add_argument("--name", required=True, help="name of the scaled network")
    options.add_argument("--settings", required=True, help="its entry of final.models as JSON")
    options.add_argument(
        "--keypoints", type=cli.positive, default=17, help="number of keypoints of a published network (17)"
    )
    options.add_argument(
        "--keypoint-names", nargs="+", help="their names: heat maps of pretrained weights inherit by name, not by place"
    )
    options.add_argument("--seed", type=cli.non_negative, required=True, help="seed of what is not inherited")
    options.add_argument("--model", required=True, help="output: model.json")
    options.add_argument("--weights", required=True, help="output: initial.safetensors")
    options.add_argument("--report", required=True, help="output: inheritance.json, what came from where")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
