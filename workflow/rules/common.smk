"""Validates the configuration, names the paths, and looks up inputs; the logic is in pipeline_lib."""

import gc
import json
import re
import sys
from pathlib import Path

ROOT = Path(workflow.basedir).parent
sys.path.insert(0, str(ROOT))

from pipeline_lib import changed, controller, devices, facts, plan, window
from pipeline_lib.errors import EvoPoseError
from snakemake.exceptions import WorkflowError

try:
    # Snakemake keeps its targets to itself until the Snakefile is read.
    cfg = plan.load(
        plan.typed(config, workflow.config_settings.config), ROOT, sys.argv[1:]
    )
    window.check(cfg, sys.argv[1:])
    runs = workflow.is_main_process and not plan.plans_only(sys.argv[1:])
    if runs:
        changed.check(cfg, sys.argv[1:])
    # What the profile says of devices.
    profile = workflow.resource_settings.default_resources
    plan.name_accelerators(profile)
    plan.name_cache(cfg)
    DEVICE = plan.device(cfg, profile)
    CORES = plan.number_of_profile(profile, "cores_per_accelerator")
    POOL = plan.number_of_profile(workflow.resource_settings.resources, "accelerator")
except EvoPoseError as error:
    raise WorkflowError(f"Configuration: {error}") from None

if runs:
    controller.claim(Path.cwd())

# A target that is deep in the chain of generations is reached by recursion, rule by rule.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 100 * cfg.search.generations))

# The jobs of a large search are millions of objects that live to the end: looking for garbage among them again and again
# is a quarter of the time that the DAG takes.
gc.set_threshold(500_000, *gc.get_threshold()[1:])


pathvars:
    results=f"results/{cfg.folder}",
    logs=f"logs/{cfg.folder}",
    benchmarks=f"benchmarks/{cfg.folder}",
    search=f"results/{cfg.folder}/search",
    base=f"results/{cfg.experiment}/search",
    dataset=f"results/data/{cfg.dataset.name}",


wildcard_constraints:
    gen=plan.GENERATION,
    member=window.members(cfg, r"child_\d+|scratch_\d+|control"),
    model="|".join(map(re.escape, cfg.final.models)),
    records="|".join(map(re.escape, plan.record_folders(cfg))),
    split="|".join(map(re.escape, plan.record_sets(cfg))),
    validated="|".join(cfg.dataset.splits()),
    boxes="|".join([*plan.PREDICTED, *plan.refined(plan.PREDICTED)]),


# Programs are found and import the library however Snakemake was started; their messages go to the log of the rule,
# and through this descriptor their progress to the console.
shell.prefix(
    plan.shell_prefix(ROOT, conda=bool(workflow.deployment_settings.deployment_method))
)

NETWORK = f"--height {cfg.input.height} --width {cfg.input.width} --keypoints {len(cfg.dataset.keypoints.names)}"


def check_device():
    """Stop before the first job when the device, or as many as were asked for, are not there.

    Those of a cluster are looked at on its nodes, by each job. A run that only prepares data needs none.
    """
    if not workflow.local_exec or not any(
        "accelerator" in job.rule.resources for job in workflow.dag.needrun_jobs()
    ):
        return
    try:
        plan.check_device(cfg, DEVICE, CORES, POOL)
    except EvoPoseError as error:
        raise WorkflowError(str(error)) from None


def accelerators(cores=1):
    """What a step on so many devices takes of the profile's `accelerator` resource, and leases."""
    return devices.accelerators(DEVICE, cores, CORES)


def get_records():
    return [f"<dataset>/{folder}/manifest.json" for folder in plan.all_records(cfg)]


def given(files):
    """Input files whose times count for nothing where generations are given: they may have been copied in any order."""
    return ancient(files) if window.is_narrowed(cfg) else files


def get_last():
    """The last generation of the run; of a search with `convergence`, Snakemake asks again when one is finished."""
    last, is_open = window.end(cfg)
    if is_open:
        checkpoints.decide.get(gen=plan.number(last))
    return last


def populations(generations):
    # Ascending, so that the chain of generations is resolved step by step and not in one deep recursion.
    return [f"<search>/gen_{plan.number(g)}/population.csv" for g in generations]


def get_populations(wildcards):
    """Of all generations."""
    return populations(range(get_last() + 1)) if cfg.search.enabled else []


def get_generations(wildcards):
    """The populations of the generations that the run makes or, as a branch, takes over."""
    if cfg.only is not None:
        return populations([cfg.only.generation])
    return get_populations(wildcards)[0 if cfg.branch else cfg.first_generation :]


def get_mirrored_generations(wildcards):
    """What says of the generations of the run where they were copied to."""
    folders = [Path(path).parent.name for path in get_generations(wildcards)]
    return [f"<results>/mirror/{folder}.json" for folder in folders]


def get_last_generation(name):
    return lambda wildcards: f"<search>/gen_{plan.number(get_last())}/{name}"


def get_previous(name):
    """The file `name` of the generation before."""
    return (
        lambda wildcards: f"<search>/gen_{plan.number(int(wildcards.gen) - 1)}/{name}"
    )


def get_previous_parents(wildcards):
    """The weights of the survivors of the generation before, in the order of their ranks."""
    return get_survivor_weights(int(wildcards.gen) - 1)


def get_pool(name):
    """The survivors whose children compete with them: of the generation before, and the ancestor where it is kept.

    `name` gives a generation's files from (its number, rank); the ancestor's own generation has nobody before it.
    """

    def get(wildcards):
        before = int(wildcards.gen) - 1
        kept = [0] if cfg.search.keep_ancestor and before > 0 else []
        generations = [before, *kept] if before >= 0 else []
        return [path for g in generations for path in name(g)]

    return get


def get_survivors(generation):
    return [f"<search>/gen_{plan.number(generation)}/parents.json"]


def get_survivor_weights(generation):
    """In the order of their ranks."""
    ranks = range(cfg.search.parents_of(generation))
    return [
        f"<search>/gen_{plan.number(generation)}/parents/{rank}.safetensors"
        for rank in ranks
    ]


def get_children(name):
    """The file `name` of every child of a generation."""
    return lambda wildcards: members(int(wildcards.gen), "child", name)


def members(gen, kind, name):
    """The file `name` of every member of one kind (child or scratch) of a generation."""
    indices = range(cfg.search.children_of(gen))
    return [
        f"<search>/gen_{plan.number(gen)}/{kind}_{plan.number(index, 2)}/{name}"
        for index in indices
    ]


def get_initial(wildcards):
    """The weights that a training starts from: the member's own, or for the control the ancestor's."""
    if wildcards.member == "control":
        return "<search>/gen_000/parents/0.safetensors"
    return f"<search>/gen_{wildcards.gen}/{wildcards.member}/initial.safetensors"


def get_adopted_weights(generation):
    """The weights that a branch begins with, of the survivors of `generation` of the search that it leaves."""

    def get(wildcards):
        try:
            return list(map(str, window.adopted_weights(cfg, generation)))
        except EvoPoseError as error:
            raise WorkflowError(str(error)) from None

    return get


def get_search_records(index):
    """The manifest that a search trains on (0), or measures its loss on (1)."""
    folder = plan.search_records(cfg, plan.search_splits(cfg)[index])
    return f"<dataset>/{folder}/manifest.json"


def get_final_records(split):
    """The manifest of the records that a final network is trained or evaluated on."""
    return (
        lambda wildcards: f"<dataset>/{plan.final_records(cfg, wildcards.model, split)}/manifest.json"
    )


def get_refiner_records(split):
    """The manifest of the records that the refiner is trained on, or measured on."""
    return f"<dataset>/{plan.refiner_records(cfg, split)}/manifest.json"


def get_champion(wildcards):
    """What a final network is scaled from; nothing where it is a published one."""
    scaled = cfg.final.models[wildcards.model].network is None
    return "<results>/champion.safetensors" if scaled else []


def get_pretrained(wildcards):
    """The file that a final network starts from, when it has one and that is not in a bucket."""
    return plan.existing(cfg.final.models[wildcards.model].pretrained)


def get_train_settings(wildcards):
    return plan.settings(cfg.search.train_of(int(wildcards.gen)))


def get_archives(optional):
    """The records of the data set's archives, with or without the optional ones."""
    names = plan.archives(cfg, optional)
    return expand("<dataset>/files/archives/{archive}.json", archive=names)


def present(path):
    """A file of the data set or of pretrained weights; nothing where a dry run goes on without it."""
    there = path and (plan.is_made(cfg, path) or Path(path).exists())
    return path if there else []


def get_truth(split):
    """The COCO annotations behind a record set."""
    return present(plan.split_of(cfg, split).annotations)


def get_annotations(wildcards):
    return get_truth(wildcards.split)


def get_detections(wildcards):
    detected = plan.purpose(wildcards.split) == "detections"
    return present(plan.split_of(cfg, wildcards.split).detections) if detected else []


def get_verdict(name):
    """What the validation says of the annotations and images behind a record set."""
    return f"<dataset>/validation/{plan.annotated(name)}.json"


def get_annotations_verdict(wildcards):
    return get_verdict(wildcards.split)


def get_detections_verdict(wildcards):
    detected = plan.purpose(wildcards.split) == "detections"
    return f"<dataset>/validation/{wildcards.split}.json" if detected else []


def get_verdicts():
    """What the validation says of everything that a run uses."""
    return [f"<dataset>/validation/{name}.json" for name in plan.validated(cfg)]


def get_figures():
    curves = window.curves(cfg, get_last()) if cfg.search.enabled else []
    names = plan.figures(cfg, curves, window.compares(cfg))
    return [f"<results>/figures/{name}" for name in names]


def get_results(wildcards):
    """What follows the search; nothing where only one generation is asked for."""
    if cfg.only is not None:
        return []
    frame_rates = get_frame_rates() if cfg.evaluation.frame_rate else []
    costs = ["<results>/costs.html"] if plan.estimate(cfg).is_file() else []
    return [*get_figures(), "<results>/summary.md", *costs, *frame_rates]


def get_frame_rates():
    return expand("<results>/models/{model}/latency.json", model=cfg.final.models)


def get_submissions():
    return [f"<results>/models/{name}" for name in plan.submissions(cfg)]


def get_images(wildcards):
    """The list of the images that were predicted."""
    return get_predicted(wildcards).annotations


def get_predicted_truth(wildcards):
    return present(get_images(wildcards))


def get_predicted_verdict(wildcards):
    return get_verdict(plan.predicted_split(wildcards.boxes))


def get_predicted(wildcards):
    """The images and annotations of what was predicted."""
    return plan.split_of(cfg, plan.predicted_split(wildcards.boxes))


def get_estimates(boxes):
    """A result list of the network whose estimates stand for labels that are missing."""
    return f"<results>/models/{plan.estimates(cfg)}/predictions_{boxes}.json"


def get_box_manifest(wildcards):
    return get_final_records(plan.PREDICTED[wildcards.boxes])(wildcards)


def get_metrics(wildcards):
    """The metrics of every final network on every kind of boxes, refined ones too."""
    return expand(
        "<results>/models/{model}/metrics_{boxes}.json",
        model=cfg.final.models,
        boxes=plan.with_refined(cfg, plan.boxes(cfg)),
    )


def get_paper(item):
    """The results that there are of what a table or figure of the paper is made from; nothing that is yet to be made."""
    return lambda wildcards: plan.paper(cfg, item, Path.cwd(), ROOT)
