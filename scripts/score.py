"""Score a trained child: its smallest validation loss, parameters and multiply-adds."""

import argparse

from pipeline_lib import cli


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib.nets import files
    from pipeline_lib.nets.layers import count_network
    from pipeline_lib.search import population

    architecture = files.load_architecture(arguments.weights)
    history = population.read_history(arguments.history)
    reason = files.load_failure(arguments.weights) or population.failure(history)
    loss, epoch = (None, None) if reason else population.best_epoch(history)
    counted = count_network(architecture)
    score = population.Score(
        genotype=architecture.genotype,
        loss=loss,
        epoch=epoch,
        parameters=counted["parameters"],
        multiply_adds=counted["multiply_adds"],
        status="failed" if reason else "ok",
        reason=reason or "",
    )
    population.write(arguments.score, score)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--weights", required=True, help="the trained weights.safetensors")
    options.add_argument("--history", required=True, help="history.csv of the training")
    options.add_argument("--score", required=True, help="output: score.json")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
