"""Simulated trainings: their outcomes, their files and states, and how busy they keep devices."""

import itertools
import time

import numpy as np
import pytest

from pipeline_lib import artifacts, config, plan
from pipeline_lib.config import Simulation, TrainSettings
from pipeline_lib.errors import ArtifactError, ConfigError
from pipeline_lib.nets import files
from pipeline_lib.nets.layers import count_network
from pipeline_lib.nets.spec import initial_weights
from pipeline_lib.plots import utilisation
from pipeline_lib.search import simulation
from pipeline_lib.search.genotype import ANCESTOR, EVOPOSE2D_S, EVOPOSE2D_XS, encode
from pipeline_lib.search.simulation import Attempt, Outcome
from pipeline_lib.train import simulated
from tests.unit.conftest import TINY

S, XS = EVOPOSE2D_S, EVOPOSE2D_XS
HALF = Simulation(seconds=40.0, killed=0.5)


def test_time_is_in_proportion_to_multiply_adds_and_losses_are_drawn_from_genotype_and_seed() -> None:
    one, double = (simulation.outcome(S, size, HALF, 1) for size in (500_000_000, 10**9))
    assert (one.seconds, double.seconds) == (20.0, 40.0)
    assert double.loss < one.loss
    assert simulation.outcome(S, 10**9, HALF, 1) == double
    losses = {simulation.outcome(genotype, 10**9, HALF, seed).loss for genotype in (S, XS) for seed in (1, 2)}
    assert len(losses) == 4 and all(10 < loss < 20 for loss in losses)


def test_known_networks_are_taken_from_the_table(tmp_path) -> None:
    table = tmp_path / "known.csv"
    table.write_text(f"genotype,seconds,loss\n{encode(S)},12.5,30.25\n")
    known = simulation.read_table(table)
    assert simulation.outcome(S, 1, HALF, 1, known) == Outcome(12.5, 30.25)
    assert simulation.outcome(XS, 10**9, HALF, 1, known) == simulation.outcome(XS, 10**9, HALF, 1)
    for line in ("x,0,1", "x,nan,1", "x,1,inf", "x,a,1"):
        table.write_text(f"genotype,seconds,loss\n{encode(S)},1,1\n{line}\n")
        with pytest.raises(ArtifactError, match=r"known\.csv, line 3: genotype, seconds, loss are expected"):
            simulation.read_table(table)
    table.write_text("genotype,time\nx,1\n")
    with pytest.raises(ArtifactError, match=r"known\.csv, line 2"):
        simulation.read_table(table)


def test_half_of_the_attempts_are_killed_at_any_moment() -> None:
    drawn = [simulation.killed_at(ANCESTOR, HALF, seed, attempt) for seed in range(100) for attempt in range(1, 11)]
    moments = [moment for moment in drawn if moment is not None]
    assert 430 < len(moments) < 570
    assert np.histogram(moments, 4, (0, 1))[0].min() > 70
    assert drawn[:10] == [simulation.killed_at(ANCESTOR, HALF, 0, attempt) for attempt in range(1, 11)]
    never = HALF.model_copy(update={"killed": 0.0})
    assert {simulation.killed_at(ANCESTOR, never, 0, attempt) for attempt in range(99)} == {None}


class Killed(BaseException):
    pass


def die() -> None:
    raise Killed


@pytest.fixture
def initial(tmp_path):
    files.save(tmp_path / "initial.safetensors", TINY, initial_weights(TINY, 1))
    return tmp_path / "initial.safetensors"


def run(initial, folder, settings=HALF, seed=1, **options):
    slept: list[float] = []
    folder.mkdir(exist_ok=True)
    paths = {"weights": folder / "weights.safetensors", "history": folder / "history.csv"}
    given = {"settings": TrainSettings(epochs=4), "simulation": settings, "seed": seed}
    options = {"sleep": slept.append, "die": die, **options}
    try:
        simulated.train(initial=initial, **paths, **given, **options)
    except Killed:
        return slept, True
    return slept, False


def test_a_simulated_training_that_is_killed_goes_on_and_ends_as_one_that_is_not(initial, tmp_path) -> None:
    calm = HALF.model_copy(update={"killed": 0.0})
    whole, killed = run(initial, tmp_path / "calm", calm)
    assert not killed and len(whole) == 4
    network, weights = files.load(tmp_path / "calm/weights.safetensors")
    assert network.genotype == files.load(initial)[0].genotype
    np.testing.assert_equal(weights, files.load(initial)[1])
    rows = artifacts.read_csv(tmp_path / "calm/history.csv")
    losses = [float(row["val_loss"]) for row in rows]
    assert losses == sorted(losses, reverse=True) and [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["device"] for row in rows] == ["simulated"] * 4
    assert sum(whole) == pytest.approx(HALF.seconds * count_network(TINY)["multiply_adds"] / 1e9)

    # The first seed that is killed twice, once of it between two epochs.
    for seed in itertools.count(1):
        folder, parts = tmp_path / f"seed{seed}", []
        while not parts or parts[-1][1]:
            parts.append(run(initial, folder, seed=seed))
        if len(parts) > 2 and len(parts[1][0]) > 1:
            break
    run(initial, tmp_path / "same", calm, seed=seed)
    assert (folder / "history.csv").read_bytes() == (tmp_path / "same/history.csv").read_bytes()
    assert (folder / "weights.safetensors").read_bytes() == (tmp_path / "same/weights.safetensors").read_bytes()
    assert not (folder / ".training").exists()
    # Whole epochs are not slept through again.
    epoch = whole[0]
    assert [slept.count(pytest.approx(epoch)) for slept, _ in parts] == [len(slept) - died for slept, died in parts]
    assert sum(len(slept) - died for slept, died in parts) == 4
    timeline = artifacts.read_csv(folder / "timeline.csv")
    assert [row["attempt"] for row in timeline] == [str(number) for number in range(1, len(parts) + 1)]
    assert [row["killed"] for row in timeline] == ["1"] * (len(parts) - 1) + ["0"]
    # What was left of a former training is no attempt of this one.
    run(initial, folder, calm)
    assert len(artifacts.read_csv(folder / "timeline.csv")) == 1


def test_the_timeline_says_what_was_lost(initial, tmp_path) -> None:
    for seed in itertools.count(1):
        folder = tmp_path / f"gen_002/child_{seed:02d}"
        folder.parent.mkdir(exist_ok=True)
        _, killed = run(initial, folder, HALF.model_copy(update={"seconds": 1000.0}), seed, sleep=time.sleep)
        if killed:
            break
    (attempt,) = [one for one in simulation.attempts(tmp_path) if one.killed]
    assert (attempt.generation, attempt.member) == (2, folder.name)
    moment = simulation.killed_at(TINY.genotype, HALF, seed, 1)
    lost = (moment * 4 % 1) * attempt.needed / 4
    assert attempt.lost == pytest.approx(lost, abs=0.1)
    (folder / "timeline.csv").write_text("attempt,begun\n1,1\n")
    with pytest.raises(ArtifactError, match=r"child_\d+/timeline\.csv: not the timeline of a simulated training"):
        simulation.attempts(tmp_path)


def brute(durations, devices) -> float:
    ends = [0.0] * devices
    for duration in durations:
        ends[int(np.argmin(ends))] += duration
    return max(ends)


def test_the_next_training_begins_on_the_first_free_device() -> None:
    assert simulation.makespan([3, 2, 2, 2], 2) == 5
    assert simulation.makespan([5, 1, 1], 8) == 5
    rng = np.random.default_rng(0)
    for devices in range(1, 6):
        durations = rng.uniform(1, 9, 17)
        assert simulation.makespan(durations, devices) == pytest.approx(brute(durations, devices))


# Two devices. Generation 1: a (10 s), b (killed after 6 s, 2 s of them lost, goes on after 1 s for 6 s, needs 10). Generation 2: c.
ATTEMPTS = [
    Attempt(1, "child_00", 100, 110, 110, False, 10),
    Attempt(1, "child_01", 100, 104, 106, True, 10),
    Attempt(1, "child_01", 107, 113, 113, False, 10),
    Attempt(2, "child_00", 115, 125, 125, False, 10),
]


def test_utilisation_of_a_search_that_can_be_counted_by_hand() -> None:
    found = simulation.utilisation(ATTEMPTS, 2)
    assert (found.trainings, found.attempts, found.makespan, found.busy) == (3, 4, 25, 32)
    assert (found.useful, found.lost, found.ideal) == (30, 2, 20)
    assert found.share == pytest.approx(30 / 50) and found.ideal_share == pytest.approx(30 / 40)
    assert found.overhead == pytest.approx(0.2)
    assert simulation.utilisation(ATTEMPTS[:2], 2).trainings == 1
    with pytest.raises(ArtifactError, match="no simulated training came to its end"):
        simulation.utilisation(ATTEMPTS[1:2], 2)
    text = utilisation.as_text(found)
    assert "| utilisation of the devices" in text and "60.0%" in text and "20.0%" in text and "6.25%" in text


def test_the_figure_shows_busy_devices_and_kills() -> None:
    assert utilisation.busy(ATTEMPTS) == [
        (0, 1), (0, 2), (6, 1), (7, 2), (10, 1), (13, 0), (15, 1), (25, 0),
    ]  # fmt: skip
    axes = utilisation.draw(ATTEMPTS, 2).axes[0]
    (killed,) = [line for line in axes.lines if line.get_gid() == "killed"]
    assert list(killed.get_xdata()) == [0.1]
    assert axes.get_ylim()[1] > 2


CONFIG = {
    "experiment": "e",
    "dataset": {"name": "d", "train": {"images": "a", "annotations": "b"}, "val": {"images": "a", "annotations": "b"}},
    "final": {"models": {"m": {"height": 256, "width": 192}}},
}


def test_only_a_simulated_search_is_simulated_and_says_so() -> None:
    real = config.load(CONFIG)
    assert plan.trainer(real) == "scripts/train.py" and not plan.simulates(real)
    made_up = config.load({**CONFIG, "search": {"simulation": {"seconds": 2.0, "table": "my table.csv"}}})
    assert plan.trainer(made_up) == (
        """scripts/simulate_training.py --simulation '{"seconds":2.0,"table":"my table.csv"}'"""
    )
    assert "made up" in plan.fitness_note(made_up) and "made up" not in plan.fitness_note(real)
    with pytest.raises(ConfigError, match=r"search\.simulation\.killed"):
        config.load({**CONFIG, "search": {"simulation": {"killed": 1.0}}})
