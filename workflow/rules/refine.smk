"""Refinement of the final networks' results by a network that is trained once for all of them (PoseFix).

Inputs: records, annotations and result lists. Outputs: <results>/refiner/weights.safetensors and, beside every result
list of a final network, predictions_{boxes}_refined.json. Steps: train_refiner, refine.
"""


rule train_refiner:
    input:
        train=get_refiner_records(plan.TRAIN),
        val=get_refiner_records(plan.VAL),
        train_annotations=get_truth(plan.TRAIN),
        val_annotations=get_truth(plan.VAL),
        train_validation=get_verdict(plan.TRAIN),
        val_validation=get_verdict(plan.VAL),
        train_estimates=get_estimates("train"),
        val_estimates=get_estimates("ground_truth"),
        pretrained=plan.existing(cfg.refine.pretrained),
    output:
        weights="<results>/refiner/weights.safetensors",
        history="<results>/refiner/history.csv",
        report="<results>/refiner/inheritance.json",
    log:
        "<logs>/refiner/train.log",
    benchmark:
        "<benchmarks>/refiner/train.tsv"
    conda:
        "../../envs/evopose.yaml"
    threads: cfg.refine.train.cpu_threads
    resources:
        accelerator=accelerators(cfg.refine.train.devices),
        device=DEVICE,
    params:
        settings=plan.settings(cfg.refine, "enabled", "estimates"),
        seed=cfg.seed,
    message:
        "Training of the refiner"
    shell:
        "exec python scripts/train_refiner.py"
        " --train-manifest {input.train:q}"
        " --train-annotations {input.train_annotations:q}"
        " --train-validation {input.train_validation:q}"
        " --train-estimates {input.train_estimates:q}"
        " --val-manifest {input.val:q}"
        " --val-annotations {input.val_annotations:q}"
        " --val-validation {input.val_validation:q}"
        " --val-estimates {input.val_estimates:q}"
        " --settings {params.settings:q}"
        " --seed {params.seed}"
        " --device {resources.device}"
        " --accelerators {resources.accelerator}"
        " --weights {output.weights:q}"
        " --history {output.history:q}"
        " --report {output.report:q}"
        " 2> {log:q}"


rule refine:
    input:
        weights="<results>/refiner/weights.safetensors",
        results="<results>/models/{model}/predictions_{boxes}.json",
        annotations=get_predicted_truth,
        validation=get_predicted_verdict,
    output:
        refined="<results>/models/{model}/predictions_{boxes}_refined.json",
    log:
        "<logs>/models/{model}/refine_{boxes}.log",
    benchmark:
        "<benchmarks>/models/{model}/refine_{boxes}.tsv"
    wildcard_constraints:
        boxes="|".join(plan.PREDICTED),
    conda:
        "../../envs/evopose.yaml"
    threads: cfg.evaluation.cpu_threads
    resources:
        accelerator=accelerators(),
        device=DEVICE,
    params:
        images=lambda wildcards: get_predicted(wildcards).images,
        sigma=cfg.refine.pose_sigma,
        settings=plan.settings(cfg.evaluation, "frame_rate", "latency_passes"),
        keypoints=plan.settings(cfg.dataset.keypoints),
    message:
        "{wildcards.model}: refining the results on {wildcards.boxes} boxes"
    shell:
        "exec python scripts/refine.py"
        " --weights {input.weights:q}"
        " --results {input.results:q}"
        " --annotations {input.annotations:q}"
        " --validation {input.validation:q}"
        " --images {params.images:q}"
        " --sigma {params.sigma}"
        " --settings {params.settings:q}"
        " --keypoints {params.keypoints:q}"
        " --device {resources.device}"
        " --accelerators {resources.accelerator}"
        " --refined {output.refined:q}"
        " 2> {log:q}"
