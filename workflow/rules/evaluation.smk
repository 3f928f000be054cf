"""Final networks -> COCO result files -> AP and AR, beside those of a mean-pose predictor (paper, section V-B).

Where they are asked for, also archives of the results for COCO's server, and frame rates.
"""


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
    wildcard_constraints:
        boxes="|".join(plan.PREDICTED),
    conda:
        "../../envs/evopose.yaml"
    threads: cfg.evaluation.cpu_threads
    resources:
        accelerator=accelerators(),
        device=DEVICE,
    params:
        settings=plan.settings(cfg.evaluation, "frame_rate", "latency_passes"),
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
        " --accelerators {resources.accelerator}"
        " --results {output.predictions:q}"
        " 2> {log:q}"


rule mean_pose:
    input:
        train=get_truth(plan.TRAIN),
        train_validation=get_verdict(plan.TRAIN),
        val=get_truth(plan.VAL),
        val_validation=get_verdict(plan.VAL),
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
        " --train-validation {input.train_validation:q}"
        " --annotations {input.val:q}"
        " --validation {input.val_validation:q}"
        " --keypoints {params.keypoints:q}"
        " --results {output.predictions:q}"
        " 2> {log:q}"


rule evaluate:
    input:
        annotations=get_truth(plan.VAL),
        validation=get_verdict(plan.VAL),
        predictions="<results>/{source}/predictions_{boxes}.json",
    output:
        metrics="<results>/{source}/metrics_{boxes}.json",
    log:
        "<logs>/{source}/evaluate_{boxes}.log",
    benchmark:
        "<benchmarks>/{source}/evaluate_{boxes}.tsv"
    wildcard_constraints:
        source="mean_pose|models/[^/]+",
        boxes="|".join([*plan.BOXES, *plan.refined(plan.BOXES)]),
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
        " --validation {input.validation:q}"
        " --results {input.predictions:q}"
        " --keypoints {params.keypoints:q}"
        " --metrics {output.metrics:q}"
        " 2> {log:q}"


rule submission:
    input:
        predictions="<results>/models/{model}/predictions_{boxes}.json",
        images=get_images,
        validation=get_predicted_verdict,
    output:
        archive="<results>/models/{model}/submission_{boxes}/person_keypoints_{images}_{model}_results.zip",
    log:
        "<logs>/models/{model}/submission_{boxes}_{images}.log",
    wildcard_constraints:
        images="[A-Za-z0-9-]+",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        keypoints=len(cfg.dataset.keypoints.names),
    message:
        "{wildcards.model}: results on {wildcards.boxes} boxes for COCO's server"
    shell:
        "exec python scripts/submission.py"
        " --results {input.predictions:q}"
        " --images {input.images:q}"
        " --validation {input.validation:q}"
        " --keypoints {params.keypoints}"
        " --archive {output.archive:q}"
        " 2> {log:q}"


rule latency:
    input:
        weights="<results>/models/{model}/weights.safetensors",
    output:
        result="<results>/models/{model}/latency.json",
    log:
        "<logs>/models/{model}/latency.log",
    conda:
        "../../envs/evopose.yaml"
    # All cores of this machine: a job beside it would be measured, too.
    threads: workflow.resource_settings.cores or cfg.evaluation.cpu_threads
    resources:
        accelerator=accelerators(),
        device=DEVICE,
    params:
        passes=cfg.evaluation.latency_passes,
        threads=cfg.evaluation.cpu_threads,
    message:
        "{wildcards.model}: measuring the frame rate"
    shell:
        "exec python scripts/latency.py"
        " --weights {input.weights:q}"
        " --name {wildcards.model}"
        " --passes {params.passes}"
        " --threads {params.threads}"
        " --device {resources.device}"
        " --accelerators {resources.accelerator}"
        " --result {output.result:q}"
        " > {log:q} 2>&1"
