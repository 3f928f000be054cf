"""The command, threads and resources of every job, as a dry run plans them."""

import copy
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from pipeline_lib.config import COCO_KEYPOINTS
from pipeline_lib.restore import place
from tests.workflow.conftest import ROOT, TINY, Workplace

RESULTS, DATA, SOURCE = "results/tiny", "results/data/tiny/images", "results/data/tiny/source"
SEARCH, MODELS = f"{RESULTS}/search", f"{RESULTS}/models"
ANNOTATIONS = {split: f"{SOURCE}/annotations/person_keypoints_{split}.json" for split in ("train", "val")}
DETECTIONS = f"{SOURCE}/annotations/person_detections_val.json"
VERDICTS = {split: f"results/data/tiny/validation/{split}.json" for split in ("train", "val", "val_detections")}

# Values that can be confused differ from each other and from the defaults.
CONFIG: dict[str, Any] = copy.deepcopy(TINY)
CONFIG["dataset"]["synthetic"]["seed"] = 8
CONFIG["dataset"]["validation"] = {"box_outside": "drop"}
CONFIG["input"] = {"height": 32, "width": 48}
CONFIG["conversion"] = {"shard_size": 6}
CONFIG["search"] |= {"generations": 3, "children": {1: 2, 3: 1}, "ancestor_epochs": 7, "gamma": -0.25}
CONFIG["search"] |= {"target_parameters": 23000.0, "train": {"epochs": 2, "cpu_threads": 2, "evaluate_initial": True}}
CONFIG["final"]["models"]["flat"] = {"height": 32, "width": 48, "coefficients": [2.0, 1.5]}
CONFIG["final"]["train"] = {"epochs": 4, "cpu_threads": 3, "keep": "last", "devices": 2}
CONFIG["evaluation"] = {"batch": 5, "cpu_threads": 4, "latency_passes": 11}
CONFIG["report"] = {"overlays": 9}
CONFIG["paper_prefix"] = "own_"
OPTIONAL = ("networks", "frame_rates", "submissions", "paper")
CHILDREN = (1, 2, 2, 1)  # of each generation
PARENTS = (1, 2, 2, 2)
GENERATIONS = range(4)
KEYPOINTS = {"names": ["top", "left", "right"], "sigmas": [0.1, 0.2, 0.2], "flip_pairs": [["left", "right"]]}
# Programs of no rule, and of the rules that are looked at in test_coco.py, test_posetrack.py, test_refine.py, test_window.py,
# test_run.py and, of buckets, tests/cluster/test_storage.py.
OF_OTHER_RULES = (
    *("draw_dag", "conda_environment", "check_tpu", "enter_server_metrics", "download", "count_persons", "join_videos"),
    *(
        "train_refiner",
        "refine",
        "adopt",
        "restore_artifacts",
        "simulate_training",
        "utilisation",
        "plan",
        "costs",
        "fetch",
        "mirror_results",
    ),
)


class Job(NamedTuple):
    """A planned job: its rule, its program with the values of each option, and what the scheduler is told."""

    rule: str
    program: str
    options: dict[str, list[str]]
    threads: int
    resources: dict[str, str]
    inputs: list[str]
    outputs: list[str]

    def one(self, option: str) -> str:
        """The only value of an option."""
        (value,) = self.options[option]
        return value

    def read(self, option: str) -> Any:
        """The value of an option that is JSON."""
        return json.loads(self.one(option))


def parsed(block: str) -> Job:
    command = re.search(r"^Shell command: (.*)$", block, re.MULTILINE)
    log = re.search(r"^ +log: (\S+)", block, re.MULTILINE)
    threads = re.search(r"^ +threads: (\d+)$", block, re.MULTILINE)
    resources = re.search(r"^ +resources: (.*)$", block, re.MULTILINE)
    words = shlex.split(command[1])
    words = words[words.index("exec") :]
    # The messages of a program are in the log of its job.
    assert " ".join(words).endswith((f" 2> {log[1]}", f" > {log[1]} 2>&1")), command[1]
    words = words[: next(index for index, word in enumerate(words) if re.fullmatch("2?>", word))]
    assert words[:2] == ["exec", "python"]
    first = next(index for index, word in enumerate(words) if word.startswith("--"))
    options: dict[str, list[str]] = {}
    for word in words[first:]:
        if word.startswith("--"):
            assert word not in options, word
            values = options[word] = []
        else:
            values.append(word)
    return Job(
        rule=re.search(r"^(?:local)?rule (\w+):", block, re.MULTILINE)[1],
        program=" ".join(words[2:first]),
        options=options,
        threads=int(threads[1]) if threads else 1,
        resources=dict(item.split("=", 1) for item in (resources[1] if resources else "").split(", ") if item),
        inputs=paths(block, "input"),
        outputs=paths(block, "output"),
    )


def paths(block: str, kind: str) -> list[str]:
    found = re.search(rf"^ +{kind}: (.*)$", block, re.MULTILINE)
    return found[1].split(", ") if found else []


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Every job of a run on a TPU."""
    return plan(tmp_path_factory.mktemp("commands"), CONFIG)


@pytest.fixture(scope="module")
def planned_on_a_cpu(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """Every job of a run on a CPU, of a data set with other keypoints than COCO's."""
    folder = tmp_path_factory.mktemp("cpu")
    for split, annotations in ANNOTATIONS.items():
        (folder / SOURCE / "images" / split).mkdir(parents=True)
        (folder / annotations).parent.mkdir(parents=True, exist_ok=True)
        (folder / annotations).touch()
    (folder / DETECTIONS).touch()
    dataset = {key: value for key, value in CONFIG["dataset"].items() if key != "synthetic"} | {"keypoints": KEYPOINTS}
    return plan(folder, {**CONFIG, "device": "cpu", "dataset": dataset})


def plan(folder: Path, config: dict[str, Any]) -> list[Job]:
    place = Workplace(folder)
    place.configure(config)
    shutil.copytree(ROOT / "workflow", place.folder / "workflow")
    # The rules are copied without messages, which hide what is asked for here.
    for rules in (place.folder / "workflow/rules").glob("*.smk"):
        text, number = re.subn(r"^ +message:\n.*\n", "", rules.read_text(), flags=re.MULTILINE)
        assert number or rules.stem == "common"
        rules.write_text(text)
    options = ("-n", "-p", "--cores", "8", "--snakefile", "workflow/Snakefile")
    done = place.snakemake(*options, "all", *OPTIONAL, profile="tpu")
    assert done.returncode == 0, done.stderr[-3000:]
    blocks = re.split(r"^(?=(?:local)?rule \w+:$)", done.stdout, flags=re.MULTILINE)[1:]
    return [parsed(block) for block in blocks if "\nShell command: None" not in block]


def select(planned: list[Job], rule: str, option: str) -> dict[str, Job]:
    """The jobs of a rule by an option's value, which differs from job to job."""
    found = [job for job in planned if job.rule == rule]
    by_value = {" ".join(job.options[option]): job for job in found}
    assert len(by_value) == len(found) > 0
    return by_value


def gen(generation: int, name: str = "") -> str:
    return f"{SEARCH}/gen_{generation:03d}/{name}"


def members(generation: int, name: str, kind: str = "child") -> list[str]:
    return [gen(generation, f"{kind}_{index:02d}/{name}") for index in range(CHILDREN[generation])]


def survivors(generation: int) -> list[str]:
    return [gen(generation, f"parents/{rank}.safetensors") for rank in range(PARENTS[generation])]


def space(job: Job) -> None:
    expected = dict(CONFIG["search"]["space"])
    for name in ("max_blocks", "expansion"):
        expected[name] = [expected[name]] * 7
    assert job.read("--space") == expected


def keypoints(job: Job) -> None:
    assert job.read("--keypoints") == COCO_KEYPOINTS.model_dump(mode="json")


def test_synthesis(planned: list[Job]) -> None:
    job = select(planned, "synthesize", "--output")[SOURCE]
    assert job.program == "scripts/synthesize.py"
    assert job.read("--settings") == CONFIG["dataset"]["synthetic"]
    assert (job.one("--seed"), job.one("--workers")) == ("8", "4")


def test_annotations_with_their_images_and_detections_are_validated(planned: list[Job]) -> None:
    jobs = select(planned, "validate", "--verdict")
    assert jobs.keys() == {VERDICTS["train"], VERDICTS["val"]}
    for split in ("train", "val"):
        job = jobs[VERDICTS[split]]
        assert job.program == "scripts/validate.py"
        assert job.one("--annotations") == ANNOTATIONS[split] and job.one("--images") == f"{SOURCE}/images/{split}"
        assert job.read("--settings") == CONFIG["dataset"]["validation"] and job.one("--workers") == "4" == str(
            job.threads
        )
        assert "--image-list" not in job.options
        keypoints(job)
    (job,) = select(planned, "validate_detections", "--verdict").values()
    assert job.program == "scripts/validate.py"
    expected = {"verdict": VERDICTS["val_detections"], "annotations": ANNOTATIONS["val"], "validation": VERDICTS["val"]}
    assert {name: job.one(f"--{name}") for name in expected} == expected and job.one("--detections") == DETECTIONS
    assert job.read("--settings") == CONFIG["dataset"]["validation"] and "--images" not in job.options


def test_every_split_is_converted_from_its_own_files(planned: list[Job]) -> None:
    jobs = select(planned, "convert", "--output")
    expected = {"train": ("train", "training"), "val": ("val", "ground_truth"), "val_detections": ("val", "detections")}
    assert jobs.keys() == {f"{DATA}/{split}/manifest.json" for split in expected}
    for split, (source, purpose) in expected.items():
        job = jobs[f"{DATA}/{split}/manifest.json"]
        assert job.program == "scripts/convert.py"
        assert (job.one("--annotations"), job.one("--validation")) == (ANNOTATIONS[source], VERDICTS[source])
        assert job.one("--images") == f"{SOURCE}/images/{source}"
        detected = [DETECTIONS] if purpose == "detections" else []
        assert job.options["--detections"] == detected
        assert job.options["--detections-validation"] == ([VERDICTS["val_detections"]] if detected else [])
        assert job.one("--purpose") == purpose
        assert job.read("--settings") == CONFIG["conversion"] and job.options["--reach"] == []
        keypoints(job)


def test_ancestor(planned: list[Job]) -> None:
    job = select(planned, "ancestor", "--children")[gen(0, "children.json")]
    assert job.program == "scripts/ancestor.py"
    assert job.read("--genotype") == CONFIG["search"]["ancestor"]
    assert (job.one("--seed"), job.one("--genotypes")) == ("3", gen(0, "genotypes.csv"))


def test_mutation_reads_the_generation_before(planned: list[Job]) -> None:
    jobs = select(planned, "mutate", "--children")
    assert jobs.keys() == {gen(generation, "children.json") for generation in GENERATIONS[1:]}
    for generation in GENERATIONS[1:]:
        job = jobs[gen(generation, "children.json")]
        assert job.program == "scripts/mutate.py"
        assert job.one("--parents") == gen(generation - 1, "parents.json")
        assert job.one("--known") == gen(generation - 1, "genotypes.csv")
        assert job.one("--genotypes") == gen(generation, "genotypes.csv")
        assert job.one("--number") == str(CHILDREN[generation])
        assert job.read("--ancestor") == CONFIG["search"]["ancestor"]
        assert job.one("--seed") == "3"
        space(job)


def test_new_weights_of_ancestor_and_twins(planned: list[Job]) -> None:
    jobs = select(planned, "initialise", "--weights")
    assert jobs.keys() == {*members(0, "initial.safetensors"), *members(1, "initial.safetensors", "scratch")}
    for weights, job in jobs.items():
        folder = Path(weights).parent
        assert job.program == "scripts/initialise.py"
        assert job.one("--children") == str(folder.parent / "children.json")
        assert job.one("--member") == folder.name
        assert [job.one(f"--{name}") for name in ("height", "width", "keypoints")] == ["32", "48", "17"]
        space(job)


def test_children_inherit_from_the_survivors_of_the_generation_before(planned: list[Job]) -> None:
    jobs = select(planned, "transfer", "--weights")
    expected = [weights for generation in GENERATIONS[1:] for weights in members(generation, "initial.safetensors")]
    assert sorted(jobs) == sorted(expected)
    for generation in GENERATIONS[1:]:
        for weights in members(generation, "initial.safetensors"):
            job, folder = jobs[weights], Path(weights).parent
            assert job.program == "scripts/transfer.py"
            assert job.one("--children") == gen(generation, "children.json")
            assert job.one("--member") == folder.name
            assert job.options["--parents"] == survivors(generation - 1)
            assert job.one("--report") == str(folder / "inheritance.json")


def test_trainings_of_the_search(planned: list[Job]) -> None:
    jobs = select(planned, "train_child", "--weights")
    folders = [folder for generation in GENERATIONS for folder in members(generation, "")]
    folders += [*members(1, "", "scratch"), gen(1, "control/")]
    assert sorted(jobs) == sorted(f"{folder}weights.safetensors" for folder in folders)
    for folder in folders:
        job = jobs[f"{folder}weights.safetensors"]
        control = folder == gen(1, "control/")
        assert job.program == "scripts/train.py"
        assert job.one("--initial") == (gen(0, "parents/0.safetensors") if control else f"{folder}initial.safetensors")
        epochs = 7 if folder.startswith(gen(0)) else 2
        merged = {**CONFIG["train"], **CONFIG["search"]["train"], "epochs": epochs}
        assert {"epochs": 5} | job.read("--settings") == merged
        training(job, folder, threads=2)
        generation, member = Path(folder).parts[-2:]
        assert job.one("--title") == f"generation {generation.removeprefix('gen_')}, {member}"


def training(job: Job, folder: str, threads: int, accelerators: int = 1) -> None:
    assert job.one("--train-manifest") == f"{DATA}/train/manifest.json"
    assert job.one("--val-manifest") == f"{DATA}/val/manifest.json"
    assert (job.one("--seed"), job.one("--device")) == ("3", "tpu")
    assert (job.threads, job.resources["device"]) == (threads, "tpu")
    assert job.resources["accelerator"] == job.one("--accelerators") == str(accelerators)
    assert job.one("--history") == f"{folder}history.csv"


def test_scores(planned: list[Job]) -> None:
    jobs = select(planned, "score", "--score")
    expected = [score for generation in GENERATIONS for score in members(generation, "score.json")]
    assert sorted(jobs) == sorted(expected)  # neither twins nor control are candidates
    for score, job in jobs.items():
        assert job.program == "scripts/score.py"
        assert job.one("--weights") == str(Path(score).parent / "weights.safetensors")
        assert job.one("--history") == str(Path(score).parent / "history.csv")


def test_selection_sees_children_and_the_parents_before(planned: list[Job]) -> None:
    jobs = select(planned, "select_ancestor", "--survivors") | select(planned, "select", "--survivors")
    assert jobs.keys() == {gen(generation, "parents.json") for generation in GENERATIONS}
    for generation in GENERATIONS:
        job = jobs[gen(generation, "parents.json")]
        assert job.program == "scripts/select_parents.py"
        assert job.one("--children") == gen(generation, "children.json")
        assert job.options["--scores"] == members(generation, "score.json")
        assert job.options["--weights"] == members(generation, "weights.safetensors")
        assert job.options["--before"] == ([gen(generation - 1, "parents.json")] if generation else [])
        assert job.options["--parents"] == (survivors(generation - 1) if generation else [])
        assert float(job.one("--gamma")) == -0.25
        assert float(job.one("--target-parameters")) == 23000
        assert job.one("--population") == gen(generation, "population.csv")
        assert job.options["--survivor-weights"] == survivors(generation)


def test_comparison_of_generation_1(planned: list[Job]) -> None:
    job = select(planned, "compare", "--table")[gen(1, "comparison.csv")]
    assert job.program == "scripts/compare.py"
    assert job.one("--children") == gen(1, "children.json")
    assert job.options["--inheritance"] == members(1, "inheritance.json")
    assert job.options["--transferred"] == members(1, "history.csv")
    assert job.options["--scratch"] == members(1, "history.csv", "scratch")
    assert job.one("--control") == gen(1, "control/history.csv")


def test_the_champion_is_the_best_of_the_last_generation(planned: list[Job]) -> None:
    job = select(planned, "champion", "--champion")[f"{RESULTS}/champion.json"]
    assert job.program == "scripts/champion.py"
    assert job.one("--parents") == gen(3, "parents.json")
    assert job.one("--parent-weights") == gen(3, "parents/0.safetensors")
    assert job.one("--weights") == f"{RESULTS}/champion.safetensors"


@pytest.mark.parametrize("model", ["big", "flat"])
def test_final_networks(planned: list[Job], model: str) -> None:
    folder = f"{MODELS}/{model}/"
    scale = select(planned, "scale", "--name")[model]
    assert scale.program == "scripts/scale.py"
    assert scale.one("--champion") == f"{RESULTS}/champion.safetensors"
    assert scale.read("--settings") == CONFIG["final"]["models"][model]
    assert scale.one("--seed") == "3"
    assert scale.options["--keypoint-names"] == list(COCO_KEYPOINTS.names)
    assert (scale.one("--model"), scale.one("--weights")) == (f"{folder}model.json", f"{folder}initial.safetensors")
    train = select(planned, "train_model", "--weights")[f"{folder}weights.safetensors"]
    assert train.program == "scripts/train.py"
    assert train.one("--initial") == f"{folder}initial.safetensors"
    assert train.read("--settings") == CONFIG["train"] | CONFIG["final"]["train"]
    assert train.one("--title") == f"final training of {model}"
    training(train, folder, threads=3, accelerators=2)


@pytest.mark.parametrize("model", ["big", "flat"])
@pytest.mark.parametrize(("boxes", "split"), [("ground_truth", "val"), ("detections", "val_detections")])
def test_predictions(planned: list[Job], model: str, boxes: str, split: str) -> None:
    job = select(planned, "predict", "--results")[f"{MODELS}/{model}/predictions_{boxes}.json"]
    assert job.program == "scripts/predict.py"
    assert job.one("--weights") == f"{MODELS}/{model}/weights.safetensors"
    assert job.one("--manifest") == f"{DATA}/{split}/manifest.json"
    # Without what only concerns the frame rate: another number of passes predicts nothing again.
    assert job.read("--settings") == {"batch": 5, "cpu_threads": 4}
    assert job.one("--device") == "tpu"
    assert (job.threads, job.resources["accelerator"], job.resources["device"]) == (4, "1", "tpu")
    assert job.one("--accelerators") == "1"
    keypoints(job)


@pytest.mark.parametrize("model", ["big", "flat"])
def test_frame_rates(planned: list[Job], model: str) -> None:
    job = select(planned, "latency", "--result")[f"{MODELS}/{model}/latency.json"]
    assert job.program == "scripts/latency.py"
    assert job.one("--weights") == f"{MODELS}/{model}/weights.safetensors"
    assert [job.one(f"--{name}") for name in ("name", "passes", "threads", "device")] == [model, "11", "4", "tpu"]
    # Alone on the machine, or what runs beside it is measured, too.
    assert (job.threads, job.resources["accelerator"], job.resources["device"]) == (8, "1", "tpu")
    assert job.one("--accelerators") == "1"


@pytest.mark.parametrize("boxes", ["ground_truth", "detections"])
def test_submissions(planned: list[Job], planned_on_a_cpu: list[Job], boxes: str) -> None:
    archive = f"{MODELS}/big/submission_{boxes}/person_keypoints_val_big_results.zip"
    job = select(planned, "submission", "--archive")[archive]
    assert job.program == "scripts/submission.py"
    assert job.one("--results") == f"{MODELS}/big/predictions_{boxes}.json"
    assert (job.one("--images"), job.one("--keypoints")) == (ANNOTATIONS["val"], "17")
    assert job.one("--validation") == VERDICTS["val"]
    assert select(planned_on_a_cpu, "submission", "--archive")[archive].one("--keypoints") == "3"


def test_networks(planned: list[Job]) -> None:
    job = select(planned, "networks", "--csv")[f"{RESULTS}/networks.csv"]
    assert job.program == "scripts/networks.py"


def test_tables_and_figures_of_the_paper(planned: list[Job]) -> None:
    jobs = {job.program: job.options for job in planned if job.program.startswith("scripts/paper.py")}
    table = {
        f"scripts/paper.py table_{number}": {
            "--prefix=own_": [],
            "--csv": [f"results/paper/table{number}.csv"],
            "--markdown": [f"results/paper/table{number}.md"],
            "--html": [f"results/paper/table{number}.html"],
        }
        for number in range(1, 6)
    }
    figure = {
        f"scripts/paper.py figure_{number}": {"--prefix=own_": [], "--output": [f"results/paper/figure{number}.svg"]}
        for number in (1, 4, 5)
    }
    assert jobs == table | figure


def test_mean_pose_and_metrics(planned: list[Job]) -> None:
    mean = select(planned, "mean_pose", "--results")[f"{RESULTS}/mean_pose/predictions_ground_truth.json"]
    assert mean.program == "scripts/baseline.py"
    assert mean.one("--train-annotations") == ANNOTATIONS["train"]
    assert mean.one("--annotations") == ANNOTATIONS["val"]
    assert (mean.one("--train-validation"), mean.one("--validation")) == (VERDICTS["train"], VERDICTS["val"])
    keypoints(mean)
    jobs = select(planned, "evaluate", "--metrics")
    assert sorted(jobs) == sorted([*metrics(), f"{RESULTS}/mean_pose/metrics_ground_truth.json"])
    for written, job in jobs.items():
        assert job.program == "scripts/evaluate.py"
        assert (job.one("--annotations"), job.one("--validation")) == (ANNOTATIONS["val"], VERDICTS["val"])
        assert job.one("--results") == written.replace("metrics_", "predictions_")
        keypoints(job)


def metrics() -> list[str]:
    return [
        f"{MODELS}/{model}/metrics_{boxes}.json"
        for model in ("big", "flat")
        for boxes in ("ground_truth", "detections")
    ]


def test_figures(planned: list[Job]) -> None:
    populations = [gen(generation, "population.csv") for generation in GENERATIONS]
    champion = {"--champion": [f"{RESULTS}/champion.json"]}
    expected = {
        "fitness.svg": ("fitness", {"--populations": populations}),
        "pareto.svg": ("pareto", {"--populations": populations} | champion),
        "comparison.svg": ("comparison", {"--table": [gen(1, "comparison.csv")]}),
        "architecture.svg": (
            "architecture",
            {"--weights": [f"{RESULTS}/champion.safetensors"], "--labels": ["champion"]},
        ),
        "metrics.svg": (
            "metrics",
            {"--metrics": metrics(), "--baselines": [f"{RESULTS}/mean_pose/metrics_ground_truth.json"]},
        ),
    }
    for generation in (0, 1, 3):
        expected[f"training_gen_{generation:03d}.svg"] = (
            "curves",
            {"--histories": members(generation, "history.csv"), "--title": [f"Generation {generation:03d}"]},
        )
    for model in ("big", "flat"):
        title = [f"Final training of {model}"]
        history = {"--histories": [f"{MODELS}/{model}/history.csv"], "--title": title}
        expected[f"training_{model}.svg"] = ("curves", history)
        overlays = {"--predictions": [f"{MODELS}/{model}/predictions_ground_truth.json"], "--number": ["9"]}
        overlays |= {"--annotations": [ANNOTATIONS["val"]], "--validation": [VERDICTS["val"]]}
        overlays |= {"--images": [f"{SOURCE}/images/val"], "--title": [model]}
        expected[f"overlays_{model}.png"] = ("overlays", overlays)
    found = {}
    for job in planned:
        if job.program.startswith("scripts/plot.py "):
            options = dict(job.options)
            if "--keypoints" in options:
                keypoints(job)
                del options["--keypoints"]
            if "--ancestor" in options:
                assert job.read("--ancestor") == CONFIG["search"]["ancestor"]
                del options["--ancestor"]
            found[options.pop("--output")[0]] = (job.program.removeprefix("scripts/plot.py "), options)
    assert found == {f"{RESULTS}/figures/{name}": figure for name, figure in expected.items()}


def test_summary(planned: list[Job]) -> None:
    job = select(planned, "summary", "--experiment")["tiny"]
    assert job.program == "scripts/summary.py"
    assert job.options["--populations"] == [gen(generation, "population.csv") for generation in GENERATIONS]
    assert job.one("--champion") == f"{RESULTS}/champion.json"
    assert job.options["--metrics"] == metrics()
    assert job.one("--baselines") == f"{RESULTS}/mean_pose/metrics_ground_truth.json"
    assert job.one("--comparison") == gen(1, "comparison.csv")
    assert job.options["--validation"] == list(VERDICTS.values())
    assert job.options["--place"] == [
        f"all files={RESULTS}/", "logs=logs/tiny/", f"report={RESULTS}/report.html",
    ]  # fmt: skip
    assert [job.one(f"--{kind}") for kind in ("markdown", "json", "html")] == [
        f"{RESULTS}/summary.{kind}" for kind in ("md", "json", "html")
    ]


def test_restored_times_have_the_order_of_the_jobs(planned: list[Job]) -> None:
    ordered(planned)


def ordered(planned: list[Job]) -> None:
    """Whatever a job reads comes before what it writes."""
    pairs = [
        (read.removeprefix("results/"), written.removeprefix("results/"))
        for job in planned
        for read in job.inputs
        for written in job.outputs
        if read.startswith("results/")
    ]
    assert len(pairs) > 100
    assert [pair for pair in pairs if not place(pair[0]) < place(pair[1])] == []


def test_every_program_of_the_rules_is_looked_at(planned: list[Job]) -> None:
    looked_at = {job.program.split()[0] for job in planned}
    assert looked_at == {
        f"scripts/{path.name}" for path in (ROOT / "scripts").glob("*.py") if path.stem not in OF_OTHER_RULES
    }  # fmt: skip


def test_steps_without_training_need_no_device(planned: list[Job]) -> None:
    trained = {job.rule for job in planned if "accelerator" in job.resources}
    assert trained == {"train_child", "train_model", "predict", "latency"}
    assert {job.rule for job in planned if job.threads > 1} == {*trained, "synthesize", "validate"}


def test_trainings_on_a_cpu_take_no_accelerator(planned_on_a_cpu: list[Job]) -> None:
    """Else the profile's one accelerator would let them run one after the other."""
    found = [job for job in planned_on_a_cpu if job.rule in ("train_child", "train_model", "predict", "latency")]
    asked = {(job.one("--device"), job.one("--accelerators")) for job in found}
    assert {(job.resources["device"], job.resources["accelerator"]) for job in found} == asked == {("cpu", "0")}


def test_the_keypoints_are_those_of_the_data_set(planned_on_a_cpu: list[Job]) -> None:
    given = {job.rule: job.one("--keypoints") for job in planned_on_a_cpu if "--keypoints" in job.options}
    assert [given.pop(rule) for rule in ("initialise", "scale", "submission")] == ["3", "3", "3"]
    assert given.keys() == {"validate", "convert", "mean_pose", "predict", "evaluate", "figure_overlays"}
    assert all(json.loads(text) == KEYPOINTS for text in given.values())


@pytest.fixture(scope="module")
def planned_as_released(tmp_path_factory: pytest.TempPathFactory) -> list[Job]:
    """A run of the published program's preset on a hold-out, with a published network among the final ones."""
    config = copy.deepcopy(CONFIG)
    config |= {"preset": "released"}
    config["search"] |= {"fitness_split": "holdout", "holdout": 0.25, "compare_scratch": False}
    config["final"]["models"]["hrnet"] = {"network": "hrnet_w32", "height": 64, "width": 96}
    return plan(tmp_path_factory.mktemp("released"), config)


def test_a_search_on_a_hold_out(planned_as_released: list[Job]) -> None:
    jobs = select(planned_as_released, "convert", "--output")
    expected = {"search_0.25": "--without-holdout", "holdout_0.25": "--holdout"}
    assert jobs.keys() == {f"{DATA}/{split}/manifest.json" for split in ("train", "val", "val_detections", *expected)}
    for split, option in expected.items():
        job = jobs[f"{DATA}/{split}/manifest.json"]
        assert job.one(option) == "0.25" and job.one("--annotations") == ANNOTATIONS["train"]
        assert job.one("--validation") == VERDICTS["train"]
        assert job.one("--images") == f"{SOURCE}/images/train"
        assert job.one("--purpose") == ("training" if split.startswith("search") else "ground_truth")
    for job in (job for job in planned_as_released if job.rule == "train_child"):
        assert job.one("--train-manifest") == f"{DATA}/search_0.25/manifest.json"
        assert job.one("--val-manifest") == f"{DATA}/holdout_0.25/manifest.json"
    for job in (job for job in planned_as_released if job.rule == "train_model"):
        assert job.one("--train-manifest") == f"{DATA}/train/manifest.json"
        assert job.one("--val-manifest") == f"{DATA}/val/manifest.json"
    (summary,) = (job for job in planned_as_released if job.rule == "summary")
    assert "hold-out of 25 %" in summary.one("--fitness")
    assert summary.read("--settings")["preset"] == "released"


def test_the_published_programs_transfer_and_pool(planned_as_released: list[Job], planned: list[Job]) -> None:
    for jobs, donor, new in ((planned_as_released, "network", True), (planned, "module", False)):
        transfers = select(jobs, "transfer", "--weights").values()
        assert {job.one("--donor") for job in transfers} == {donor}
        assert {"--new-kernels" in job.options for job in transfers} == {new}
    jobs = select(planned_as_released, "select", "--survivors")
    first, later = jobs[gen(1, "parents.json")], jobs[gen(3, "parents.json")]
    assert first.options["--before"] == [gen(0, "parents.json")] and first.options["--parents"] == survivors(0)
    assert later.options["--before"] == [gen(2, "parents.json"), gen(0, "parents.json")]
    assert later.options["--parents"] == [*survivors(2), *survivors(0)]
    for job in (job for job in planned_as_released if job.rule in ("train_child", "train_model")):
        assert job.read("--settings")["augmentation"]["half_body_probability"] == 0.5


def test_a_published_network_needs_no_champion(planned_as_released: list[Job]) -> None:
    scale = select(planned_as_released, "scale", "--name")["hrnet"]
    assert scale.options["--champion"] == [] and scale.read("--settings") == {
        "network": "hrnet_w32",
        "height": 64,
        "width": 96,
    }
    trainings = select(planned_as_released, "train_model", "--weights")
    settings = {name: trainings[f"{MODELS}/{name}/weights.safetensors"].read("--settings") for name in ("hrnet", "big")}
    assert settings["hrnet"] == settings["big"] | {"l2": 0.0}


def test_test_images_are_predicted_for_the_server(tmp_path: Path) -> None:
    """Without the images there is nothing to predict."""
    archive = f"{MODELS}/big/submission_test/person_keypoints_test_big_results.zip"
    config = copy.deepcopy(CONFIG)
    names = {"images": "test/images", "annotations": "test/image_info_test.json", "detections": "test/boxes.json"}
    for images in (False, True):
        folder = tmp_path / f"images_{images}"
        files = {name: str(folder / path) for name, path in names.items()}
        Path(files["images"] if images else folder / "test").mkdir(parents=True)
        for name in ("annotations", "detections"):
            Path(files[name]).write_text("[]")
        config["dataset"]["test"] = files
        jobs = plan(folder, config)
        assert (archive in select(jobs, "submission", "--archive")) == images
    submission = select(jobs, "submission", "--archive")[archive]
    assert submission.one("--results") == f"{MODELS}/big/predictions_test.json"
    assert submission.one("--images") == files["annotations"]
    predict = select(jobs, "predict", "--results")[f"{MODELS}/big/predictions_test.json"]
    assert predict.one("--manifest") == f"{DATA}/test_detections/manifest.json"
    convert = select(jobs, "convert", "--output")[f"{DATA}/test_detections/manifest.json"]
    assert convert.one("--annotations") == files["annotations"] and convert.one("--images") == files["images"]
    assert convert.one("--detections") == files["detections"] and convert.one("--purpose") == "detections"
    verdicts = [f"results/data/tiny/validation/{name}.json" for name in ("test", "test_detections")]
    assert [convert.one("--validation"), convert.one("--detections-validation")] == verdicts
    validate = select(jobs, "validate", "--verdict")[verdicts[0]]
    assert validate.one("--annotations") == files["annotations"] and validate.one("--images") == files["images"]
    assert validate.options["--image-list"] == []
    of_detections = select(jobs, "validate_detections", "--verdict")[verdicts[1]]
    assert (of_detections.one("--detections"), of_detections.one("--validation")) == (files["detections"], verdicts[0])
    # There is nothing to evaluate them with.
    assert "test" not in {Path(written).stem.rpartition("_")[2] for written in select(jobs, "evaluate", "--metrics")}
    refused = Workplace.snakemake(SimpleNamespace(folder=folder), "-n", f"{MODELS}/big/metrics_test.json")
    assert refused.returncode != 0 and "metrics_test.json" in refused.stdout + refused.stderr


def test_crops_are_made_for_each_training_and_size(tmp_path: Path) -> None:
    config = copy.deepcopy(CONFIG)
    config["conversion"] = {"records": "crops", "crop_encoding": "raw"}
    config["final"]["train"]["augmentation"] = {"scale_limit": 0.25, "rotation_limit": 30}
    jobs = plan(tmp_path, config)
    data = DATA.replace("images", "crops")
    small, large = {"height": 32, "width": 48}, {"height": 40, "width": 40}
    far = {"scale": 1.25, "rotation": 30.0}
    expected = {
        "32x48/train": small,
        "32x48/val": small,
        "32x48/val_detections": small,
        "32x48_scale1.25_rotation30/train": small | far,
        "40x40/val": large,
        "40x40/val_detections": large,
        "40x40_scale1.25_rotation30/train": large | far,
    }
    conversions = select(jobs, "convert", "--output")
    assert conversions.keys() == {f"{data}/{folder}/manifest.json" for folder in expected}
    for folder, reach in expected.items():
        job = conversions[f"{data}/{folder}/manifest.json"]
        assert job.read("--reach") == reach and job.read("--settings") == config["conversion"]
        assert job.one("--purpose") == {"train": "training", "val": "ground_truth"}.get(
            folder.partition("/")[2], "detections"
        )
    for job in (job for job in jobs if job.rule == "train_child"):
        assert job.one("--train-manifest") == f"{data}/32x48/train/manifest.json"
        assert job.one("--val-manifest") == f"{data}/32x48/val/manifest.json"
    for name, size in (("big", "40x40"), ("flat", "32x48")):
        training = select(jobs, "train_model", "--weights")[f"{MODELS}/{name}/weights.safetensors"]
        assert training.one("--train-manifest") == f"{data}/{size}_scale1.25_rotation30/train/manifest.json"
        assert training.one("--val-manifest") == f"{data}/{size}/val/manifest.json"
        predictions = select(jobs, "predict", "--results")
        for boxes, split in (("ground_truth", "val"), ("detections", "val_detections")):
            job = predictions[f"{MODELS}/{name}/predictions_{boxes}.json"]
            assert job.one("--manifest") == f"{data}/{size}/{split}/manifest.json"
