"""Scale the champion to another input size (paper, section IV-E) and write the initial weights of the larger network."""

import argparse
import dataclasses
import logging

from pipeline_lib import cli

log = logging.getLogger(__name__)


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts
    from pipeline_lib.config import ModelConfig
    from pipeline_lib.nets import files
    from pipeline_lib.nets.inherit import inherit
    from pipeline_lib.nets.layers import count_network, initial_weights
    from pipeline_lib.search.scaling import coefficients

    settings = cli.settings(ModelConfig, arguments.settings)
    champion, weights = files.load_searched(arguments.champion)
    phi, depth, width = coefficients(settings.height, settings.width, champion.height, champion.width)
    scale = settings.coefficients or (depth, width)
    scaled = dataclasses.replace(champion, height=settings.height, width=settings.width, scale=scale)
    if settings.initial == "champion":
        initial, _ = inherit(champion, weights, scaled, arguments.seed)
    else:
        initial = initial_weights(scaled, arguments.seed)
    counted = count_network(scaled)
    log.info("%s: depth x %.2f, width x %.2f: %d parameters", arguments.name, *scale, counted["parameters"])
    files.save(arguments.weights, scaled, initial)
    artifacts.write_json(
        arguments.model,
        {
            "schema_version": artifacts.SCHEMA_VERSION,
            "name": arguments.name,
            "genotype": scaled.genotype,
            "height": scaled.height,
            "width": scaled.width,
            "phi": phi if settings.coefficients is None else None,
            "depth_coefficient": scale[0],
            "width_coefficient": scale[1],
            "initial": settings.initial,
            **counted,
        },
    )


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--champion", required=True, help="champion.safetensors")
    options.add_argument("--name", required=True, help="name of the scaled network")
    options.add_argument("--settings", required=True, help="its entry of final.models as JSON")
    options.add_argument("--seed", type=int, required=True, help="seed of what is not inherited")
    options.add_argument("--model", required=True, help="output: model.json")
    options.add_argument("--weights", required=True, help="output: initial.safetensors")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
