"""Images and annotations -> TFRecord shards and a manifest.

Inputs: the data set's annotations and images (the synthetic one is made here). Outputs:
<dataset>/{records}/{split}/manifest.json and its shards, {records} being `images`, or `crops/` and what the crops are
made for; of annotations in a file for each video one COCO file, <dataset>/source/annotations/person_keypoints_{annotated}.json;
<dataset>/validation/{validated}.json, what is wrong with annotations, images and detections, and what is done about it.
Steps: synthesize or join_videos, validate, convert.
"""

if cfg.dataset.synthetic:

    rule synthesize:
        output:
            train=cfg.dataset.train.annotations,
            val=cfg.dataset.val.annotations,
            detections=cfg.dataset.val.detections,
            train_images=directory(cfg.dataset.train.images),
            val_images=directory(cfg.dataset.val.images),
        log:
            "<logs>/data/synthesize.log",
        benchmark:
            "<benchmarks>/data/synthesize.tsv"
        conda:
            "../../envs/evopose.yaml"
        threads: 4
        params:
            settings=plan.settings(cfg.dataset.synthetic),
            seed=cfg.dataset.synthetic.seed,
            folder=lambda wildcards, output: str(Path(output.train).parent.parent),
        message:
            "Making the synthetic data set"
        shell:
            "exec python scripts/synthesize.py"
            " --settings {params.settings:q}"
            " --seed {params.seed}"
            " --workers {threads}"
            " --output {params.folder:q}"
            " 2> {log:q}"


if cfg.dataset.format == "posetrack":

    rule join_videos:
        input:
            given(lambda wildcards: plan.videos(cfg, wildcards.annotated)),
        output:
            annotations="<dataset>/source/annotations/person_keypoints_{annotated}.json",
        log:
            "<logs>/data/join_videos_{annotated}.log",
        benchmark:
            "<benchmarks>/data/join_videos_{annotated}.tsv"
        wildcard_constraints:
            annotated=f"{plan.TRAIN}|{plan.VAL}",
        localrule: True
        conda:
            "../../envs/evopose.yaml"
        params:
            videos=lambda wildcards: (
                cfg.dataset.splits()[wildcards.annotated].annotations
            ),
            images=lambda wildcards: cfg.dataset.splits()[wildcards.annotated].images,
            keypoints=plan.settings(cfg.dataset.keypoints),
        message:
            "Joining the annotations of the videos: {wildcards.annotated}"
        shell:
            "exec python scripts/join_videos.py"
            " --videos {params.videos:q}"
            " --images {params.images:q}"
            " --keypoints {params.keypoints:q}"
            " --annotations {output.annotations:q}"
            " 2> {log:q}"


if plan.fetches(cfg):

    rule fetch:
        output:
            file="<dataset>/source/{validated}/{kind}/{name}",
        log:
            "<logs>/data/fetch_{validated}_{kind}_{name}.log",
        wildcard_constraints:
            kind="annotations|detections",
            name="[^/]+",
        localrule: True
        conda:
            "../../envs/evopose.yaml"
        params:
            address=lambda wildcards: getattr(
                cfg.dataset.splits()[wildcards.validated], wildcards.kind
            ),
        message:
            "Fetching {params.address}"
        shell:
            "exec python scripts/fetch.py"
            " --address {params.address:q}"
            " --file {output.file:q}"
            " 2> {log:q}"


rule validate:
    input:
        annotations=given(lambda wildcards: get_truth(wildcards.validated)),
    output:
        verdict="<dataset>/validation/{validated}.json",
    log:
        "<logs>/data/validate_{validated}.log",
    benchmark:
        "<benchmarks>/data/validate_{validated}.tsv"
    conda:
        "../../envs/evopose.yaml"
    threads: 4
    params:
        images=lambda wildcards: plan.split_of(cfg, wildcards.validated).images,
        kind=lambda wildcards: (
            "" if wildcards.validated in (plan.TRAIN, plan.VAL) else "--image-list"
        ),
        settings=plan.settings(cfg.dataset.validation),
        keypoints=plan.settings(cfg.dataset.keypoints),
    message:
        "Validating annotations and images: {wildcards.validated}"
    shell:
        "exec python scripts/validate.py"
        " --annotations {input.annotations:q}"
        " --images {params.images:q}"
        " {params.kind}"
        " --settings {params.settings:q}"
        " --keypoints {params.keypoints:q}"
        " --workers {threads}"
        " --verdict {output.verdict:q}"
        " 2> {log:q}"


rule validate_detections:
    input:
        annotations=given(lambda wildcards: get_truth(wildcards.validated)),
        validation=given("<dataset>/validation/{validated}.json"),
        detections=given(
            lambda wildcards: present(
                plan.split_of(cfg, wildcards.validated).detections
            )
        ),
    output:
        verdict="<dataset>/validation/{validated}_detections.json",
    log:
        "<logs>/data/validate_{validated}_detections.log",
    benchmark:
        "<benchmarks>/data/validate_{validated}_detections.tsv"
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        settings=plan.settings(cfg.dataset.validation),
    message:
        "Validating detections: {wildcards.validated}"
    shell:
        "exec python scripts/validate.py"
        " --annotations {input.annotations:q}"
        " --validation {input.validation:q}"
        " --detections {input.detections:q}"
        " --settings {params.settings:q}"
        " --verdict {output.verdict:q}"
        " 2> {log:q}"


rule convert:
    input:
        annotations=given(get_annotations),
        validation=given(get_annotations_verdict),
        detections=given(get_detections),
        detections_validation=given(get_detections_verdict),
    output:
        manifest="<dataset>/{records}/{split}/manifest.json",
    log:
        "<logs>/data/{records}/convert_{split}.log",
    benchmark:
        "<benchmarks>/data/{records}/convert_{split}.tsv"
    conda:
        "../../envs/evopose.yaml"
    params:
        images=lambda wildcards: plan.split_of(cfg, wildcards.split).images,
        purpose=lambda wildcards: plan.purpose(wildcards.split),
        part=lambda wildcards: plan.part(cfg, wildcards.split),
        # Shards have the same bytes whatever makes them: as a function of threads, to Snakemake it is no reason to make them again.
        settings=lambda wildcards, threads: plan.settings(cfg.conversion, "shards"),
        content=lambda wildcards: plan.content(cfg, wildcards.records),
        shards=lambda wildcards: plan.shards(cfg, wildcards.records, wildcards.split),
        reach=lambda wildcards: plan.reach(cfg, wildcards.records),
        keypoints=plan.settings(cfg.dataset.keypoints),
    message:
        "Converting {wildcards.split} to TFRecords of {wildcards.records}"
    shell:
        "exec python scripts/convert.py"
        " --annotations {input.annotations:q}"
        " --validation {input.validation:q}"
        " --detections {input.detections:q}"
        " --detections-validation {input.detections_validation:q}"
        " --images {params.images:q}"
        " --purpose {params.purpose}"
        " {params.part}"
        " --settings {params.settings:q}"
        " --shards {params.shards:q}"
        " --reach {params.reach:q}"
        " --keypoints {params.keypoints:q}"
        " --output {output.manifest:q}"
        " 2> {log:q}"
