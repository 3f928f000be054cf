"""Images and annotations -> TFRecord shards and a manifest.

Inputs: the data set's annotations and images (the synthetic one is made here). Outputs:
<dataset>/{records}/{split}/manifest.json and its shards, {records} being `images`, or `crops/` and what the crops are
made for; of annotations in a file for each video one COCO file, <dataset>/source/annotations/person_keypoints_{annotated}.json.
Steps: synthesize or join_videos, convert.
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


rule convert:
    input:
        annotations=given(get_annotations),
        detections=given(get_detections),
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
        settings=plan.settings(cfg.conversion),
        reach=lambda wildcards: plan.reach(cfg, wildcards.records),
        keypoints=plan.settings(cfg.dataset.keypoints),
    message:
        "Converting {wildcards.split} to TFRecords of {wildcards.records}"
    shell:
        "exec python scripts/convert.py"
        " --annotations {input.annotations:q}"
        " --detections {input.detections:q}"
        " --images {params.images:q}"
        " --purpose {params.purpose}"
        " {params.part}"
        " --settings {params.settings:q}"
        " --reach {params.reach:q}"
        " --keypoints {params.keypoints:q}"
        " --output {output.manifest:q}"
        " 2> {log:q}"
