"""Final networks: the champion -> compound scaling (paper, section IV-E), or published ones -> final training."""


rule scale:
    input:
        champion=get_champion,
        pretrained=get_pretrained,
    output:
        model="<results>/models/{model}/model.json",
        weights="<results>/models/{model}/initial.safetensors",
        report="<results>/models/{model}/inheritance.json",
    log:
        "<logs>/models/{model}/scale.log",
    benchmark:
        "<benchmarks>/models/{model}/scale.tsv"
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        settings=lambda wildcards: plan.settings(cfg.final.models[wildcards.model]),
        seed=cfg.seed,
        keypoints=len(cfg.dataset.keypoints.names),
        names=cfg.dataset.keypoints.names,
    message:
        "{wildcards.model}: initial weights"
    shell:
        "exec python scripts/scale.py"
        " --champion {input.champion:q}"
        " --name {wildcards.model}"
        " --settings {params.settings:q}"
        " --seed {params.seed}"
        " --keypoints {params.keypoints}"
        " --keypoint-names {params.names:q}"
        " --model {output.model:q}"
        " --weights {output.weights:q}"
        " --report {output.report:q}"
        " 2> {log:q}"


rule train_model:
    input:
        initial="<results>/models/{model}/initial.safetensors",
        train=get_final_records(plan.TRAIN),
        val=get_final_records(plan.VAL),
    output:
        weights="<results>/models/{model}/weights.safetensors",
        history="<results>/models/{model}/history.csv",
    log:
        "<logs>/models/{model}/train.log",
    benchmark:
        "<benchmarks>/models/{model}/train.tsv"
    conda:
        "../../envs/evopose.yaml"
    threads: cfg.final.train.cpu_threads
    resources:
        accelerator=accelerators(cfg.final.train.devices),
        device=DEVICE,
    params:
        settings=lambda wildcards: plan.settings(
            facts.final_train(cfg, wildcards.model)
        ),
        seed=cfg.seed,
    message:
        "Final training of {wildcards.model}"
    shell:
        "exec python scripts/train.py"
        " --initial {input.initial:q}"
        " --train-manifest {input.train:q}"
        " --val-manifest {input.val:q}"
        " --settings {params.settings:q}"
        " --seed {params.seed}"
        " --device {resources.device}"
        " --accelerators {resources.accelerator}"
        " --title 'final training of {wildcards.model}'"
        # A longer search may end with the same champion, and Snakemake asks for this training again.
        " --reuse"
        " --weights {output.weights:q}"
        " --history {output.history:q}"
        " 2> {log:q}"
