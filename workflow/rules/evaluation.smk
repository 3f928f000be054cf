"""Final networks -> COCO result files -> AP and AR, beside those of a mean-pose predictor (paper, section V-B)."""


rule predict:
    input:
        weights="<results>/models/{model}/weights.safetensors",
        manifest=get_box_manifest,
    output:
        predictions="<results>/models/{model}/predictions_{boxes}.json",
    log:
        "<logs>/models/{model}/predict_{boxes}.log",
    benchmark:
        "<benchmarks>/models/{model}/predict_{boxes}.tsv"
    conda:
        "../../envs/evopose.yaml"
    threads: cfg.evaluation.cpu_threads
    resources:
        accelerator=ACCELERATOR,
        device=DEVICE,
    params:
        settings=plan.settings(cfg.evaluation),
        keypoints=plan.settings(cfg.dataset.keypoints),
    message:
        "{wildcards.model}: predicting on {wildcards.boxes} boxes"
    shell:
        "exec python scripts/predict.py"
        " --weights {input.weights:q}"
        " --manifest {input.manifest:q}"
        " --settings {params.settings:q}"
        " --keypoints {params.keypoints:q}"
        " --device {resources.device}"
        " --results {output.predictions:q}"
        " 2> {log:q}"


rule mean_pose:
    input:
        train=present(cfg.dataset.train.annotations),
        val=present(cfg.dataset.val.annotations),
    output:
        predictions="<results>/mean_pose/predictions_ground_truth.json",
    log:
        "<logs>/mean_pose.log",
    benchmark:
        "<benchmarks>/mean_pose.tsv"
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        keypoints=plan.settings(cfg.dataset.keypoints),
    message:
        "The mean-pose predictor, which the networks have to beat"
    shell:
        "exec python scripts/baseline.py"
        " --train-annotations {input.train:q}"
        " --annotations {input.val:q}"
        " --keypoints {params.keypoints:q}"
        " --results {output.predictions:q}"
        " 2> {log:q}"


rule evaluate:
    input:
        annotations=present(cfg.dataset.val.annotations),
        predictions="<results>/{source}/predictions_{boxes}.json",
    output:
        metrics="<results>/{source}/metrics_{boxes}.json",
    log:
        "<logs>/{source}/evaluate_{boxes}.log",
    benchmark:
        "<benchmarks>/{source}/evaluate_{boxes}.tsv"
    wildcard_constraints:
        source="mean_pose|models/[^/]+",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        keypoints=plan.settings(cfg.dataset.keypoints),
    message:
        "Evaluating {wildcards.source} on {wildcards.boxes} boxes"
    shell:
        "exec python scripts/evaluate.py"
        " --annotations {input.annotations:q}"
        " --results {input.predictions:q}"
        " --keypoints {params.keypoints:q}"
        " --metrics {output.metrics:q}"
        " 2> {log:q}"
