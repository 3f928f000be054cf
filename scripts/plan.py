"""What a run would take, before it starts: evaluations, device-hours, storage and cost, from a minute's measurement on this device.

The estimate is kept as results/<experiment>/plan.json, and the run's report then shows it beside what was spent. Nothing else is
written, and no other job is run.
"""

import argparse
import logging
import time
from pathlib import Path
from typing import Any

from pipeline_lib import cli, devices, startup
from pipeline_lib.errors import ConfigError

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = ROOT / "config" / "config.yaml"


def main(arguments: argparse.Namespace) -> None:
    from pipeline_lib import artifacts, plan
    from pipeline_lib.plots.pages import as_markdown
    from pipeline_lib.price import estimate, persons, storage, text, work
    from pipeline_lib.search import population

    cfg = plan.load(*_config(arguments), words=["--dry-run"])
    if plan.simulates(cfg):
        raise ConfigError("search.simulation: trainings that are simulated cost nothing; leave it out")
    device = arguments.device or cfg.device
    devices.check(device)
    people = persons.persons(cfg, dict(arguments.persons))
    champion = Path("results") / cfg.folder / "champion.json"
    genotype = population.read(population.Champion, champion).genotype if champion.is_file() else None
    trainings = work.trainings(cfg, people, genotype)
    if not trainings:
        raise ConfigError("there is nothing to train in this configuration: no search, and no final network")
    stores = storage.storage(cfg, trainings, people, arguments.devices)

    devices.lease(device, None, "calibration")  # may wait for others: no part of what a training takes
    begun = time.perf_counter()
    startup.load_keras("calibration")
    from pipeline_lib.price import calibration

    launch = time.perf_counter() - begun
    speeds = calibration.measure(trainings, device, arguments.seconds, _manifests(cfg, trainings))
    found = estimate.Estimate(
        experiment=cfg.folder,
        device=calibration.name(device),
        speeds=tuple(speeds),
        launch=launch,
        rows=estimate.rows(trainings, speeds, launch),
        storage=estimate.storage(stores),
        at_once=arguments.devices,
        price=arguments.price,
    )
    output = arguments.output or plan.estimate(cfg)
    print(as_markdown(f"What {cfg.folder} would take", text.estimate(found)))
    artifacts.write_json(output, found.to_json())
    log.info("written to %s", output)


def _config(arguments: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """What Snakemake makes of the same options."""
    from snakemake.cli import parse_config
    from snakemake.common.configfile import load_configfile
    from snakemake.exceptions import WorkflowError
    from snakemake.utils import update_config

    from pipeline_lib import plan

    merged: dict[str, Any] = {}
    for path in arguments.configfile or [DEFAULT]:
        try:
            update_config(merged, load_configfile(str(path)))
        except (WorkflowError, OSError, ValueError) as error:
            raise ConfigError(f"--configfile {path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        given = parse_config(arguments.config)
    except (WorkflowError, ValueError) as error:
        raise ConfigError(f"--config: {error}") from None
    update_config(merged, given)
    return plan.typed(merged, given), ROOT


def _manifests(cfg: Any, trainings: Any) -> dict[str, Path]:
    """The training records that there are, by the name of the training."""
    from pipeline_lib import plan
    from pipeline_lib.price.work import REFINER, SEARCH

    found = {}
    for one in trainings:
        if one.part == SEARCH:
            folder = plan.search_records(cfg, plan.search_splits(cfg)[0])
        elif one.part != REFINER:
            folder = plan.final_records(cfg, one.name, plan.TRAIN)
        else:
            continue
        if (path := plan.manifest(cfg, folder)).is_file():
            found[one.name] = path
    return found


def _persons(given: str) -> tuple[str, int]:
    split, _, number = given.partition("=")
    if split not in ("train", "val"):
        raise argparse.ArgumentTypeError(f"train=NUMBER or val=NUMBER is expected, not {given}")
    return split, cli.positive(number)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument(
        "--configfile", nargs="+", type=Path, help="as of snakemake (default: config/config.yaml); later ones override"
    )
    options.add_argument(
        "--config", nargs="+", metavar="KEY=VALUE", help="as of snakemake: keys that override the files"
    )
    options.add_argument(
        "--seconds", type=cli.positive_number, default=60.0, help="of measuring, compilation included (default: 60)"
    )
    options.add_argument(
        "--device", choices=devices.CHOICES, help="what is measured (default: `device` of the configuration)"
    )
    options.add_argument(
        "--devices", type=cli.positive, default=1, help="how many of them work at the same time (default: 1)"
    )
    options.add_argument("--price", type=cli.non_negative_number, help="of one device for an hour, in any currency")
    options.add_argument(
        "--persons",
        nargs="+",
        type=_persons,
        default=[],
        metavar="SPLIT=NUMBER",
        help="people in train and val, where annotations are not there to be counted",
    )
    options.add_argument("--output", type=Path, help="the estimate (default: results/<experiment>/plan.json)")
    return options


if __name__ == "__main__":
    cli.run(main, parser())
