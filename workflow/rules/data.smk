"""Images and annotations -> TFRecord shards and a manifest.

Inputs: the data set's annotations and images (the synthetic one is made here). Outputs:
<dataset>/{records}/{split}/manifest.json and its shards, {records} being `images`, or `crops/` and what the crops are
made for. Steps: synthesize, convert.
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


rule convert:
    input:
        annotations=get_annotations,
        detections=get_detections,
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
