"""The trainings of a run, and how many images each of them sees."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline_lib import facts, plan, window
from pipeline_lib.config import Config, TrainSettings
from pipeline_lib.errors import EvoPoseError
from pipeline_lib.nets import registry
from pipeline_lib.nets.layers import Network, count_network
from pipeline_lib.nets.spec import Architecture
from pipeline_lib.search.breed import breed
from pipeline_lib.search.genotype import Nesting, key
from pipeline_lib.search.scaling import coefficients

SEARCH, FINAL, REFINER = "search", "final networks", "refiner"
"""The parts of a run that train."""

SAMPLED = 64
"""Children of a generation that are counted: the mean of more is the same."""

_PARENTS_STREAM = 2**31


@dataclass(frozen=True)
class Training:
    """Trainings that are alike: a generation's, or that of one network.

    Attributes:
        part: of the run.
        name: for people: "generation 3", or the network's.
        number: how many there are.
        network: one of them, or what stands for it as long as it has not been found.
        multiply_adds, parameters: the mean over all of them.
        settings: of each training.
        persons, val_persons: that an epoch trains and is validated on.
    """

    part: str
    name: str
    number: int
    network: Network
    multiply_adds: float
    parameters: float
    settings: TrainSettings
    persons: int
    val_persons: int

    @property
    def steps(self) -> int:
        """Of one training; the rest of an epoch that is less than a batch is left out, as in training."""
        return self.settings.epochs * (self.persons // self.settings.batch)

    @property
    def images(self) -> int:
        """That one training sees."""
        return self.steps * self.settings.batch

    @property
    def val_images(self) -> int:
        """That the validations of one training see."""
        return (self.settings.epochs + self.settings.evaluate_initial) * self.val_persons


def trainings(cfg: Config, persons: Mapping[str, int], champion: Nesting | None = None) -> list[Training]:
    """All trainings of a run, in their order.

    `persons` are those of the record sets by name (`plan.splits`). Children of later generations have not been born: their size is
    the mean of a search that selects by chance. Final networks are scaled from the `champion`, or from the ancestor.
    """
    found = [] if not cfg.search.enabled else _search(cfg, persons)
    keypoints = len(cfg.dataset.keypoints.names)
    for name, model in cfg.final.models.items():
        network: Network
        if model.network is not None:
            network = registry.architecture(model.network, model.height, model.width, keypoints)
        else:
            searched = _architecture(cfg, champion if champion is not None else cfg.search.ancestor)
            scale = model.coefficients or coefficients(model.height, model.width, cfg.input.height, cfg.input.width)[1:]
            network = replace(searched, height=model.height, width=model.width, scale=scale)
        found.append(_alone(FINAL, name, network, facts.final_train(cfg, name), persons))
    if cfg.refine.enabled:
        network = registry.refiner(cfg.refine.network, cfg.refine.height, cfg.refine.width, keypoints)
        found.append(_alone(REFINER, cfg.refine.network, network, cfg.refine.train, persons))
    return found


def _alone(part: str, name: str, network: Network, settings: TrainSettings, persons: Mapping[str, int]) -> Training:
    counted = count_network(network)
    of_data = persons[plan.TRAIN], persons[plan.VAL]
    return Training(part, name, 1, network, counted["multiply_adds"], counted["parameters"], settings, *of_data)


def _search(cfg: Config, persons: Mapping[str, int]) -> list[Training]:
    search = cfg.search
    trained, validated = (persons[split] for split in plan.search_splits(cfg))
    found = []
    for generation, genotypes in enumerate(_born(cfg)):
        if not window.makes(cfg, generation):
            continue
        networks = [_architecture(cfg, genotype) for genotype in genotypes]
        counts = [count_network(network) for network in networks]
        number = search.children_of(generation)
        if cfg.only is not None and cfg.only.children is not None:
            number = len(cfg.only.children)
        elif generation == 1 and search.compare_scratch:
            number = 2 * number + 1  # twins from scratch, and the ancestor trained on
        multiply_adds, parameters = (
            float(np.mean([counted[what] for counted in counts])) for what in ("multiply_adds", "parameters")
        )
        typical = networks[int(np.argmin([abs(counted["multiply_adds"] - multiply_adds) for counted in counts]))]
        found.append(
            Training(
                part=SEARCH,
                name=f"generation {generation}",
                number=number,
                network=typical,
                multiply_adds=multiply_adds,
                parameters=parameters,
                settings=search.train_of(generation),
                persons=trained,
                val_persons=validated,
            )
        )
    return found


def _born(cfg: Config) -> list[list[Nesting]]:
    """Genotypes of every generation up to the last, if chance selects the parents; at most `SAMPLED` of each."""
    search = cfg.search
    known = {key(search.ancestor)}
    generations: list[list[Nesting]] = [[search.ancestor]]
    last = search.generations if cfg.only is None else cfg.only.generation
    for generation in range(1, last + 1):
        rng = np.random.default_rng([cfg.seed, _PARENTS_STREAM, generation])
        pool = generations[-1]
        drawn = rng.permutation(len(pool))[: search.parents]
        parents = [pool[place] for place in drawn]
        number = min(SAMPLED, search.children_of(generation))
        try:
            children = breed(parents, search.ancestor, known, number, cfg.seed, generation, search.space)
            generations.append([child.genotype for child in children])
        except EvoPoseError:  # a small space is used up sooner by chance than by a search
            generations.append(pool)
        known |= {key(genotype) for genotype in generations[-1]}
    return generations


def _architecture(cfg: Config, genotype: Nesting) -> Architecture:
    keypoints = len(cfg.dataset.keypoints.names)
    return Architecture.from_space(genotype, cfg.search.space, cfg.input.height, cfg.input.width, keypoints)
