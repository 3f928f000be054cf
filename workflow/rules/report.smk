"""Figures, tables and the summary of a run; `make report` binds them into one HTML page."""


rule figure_fitness:
    input:
        populations=get_populations,
    output:
        figure=report(
            "<results>/figures/fitness.svg",
            caption="../report/fitness.rst",
            category="2 Evolution",
            labels={"figure": "Fitness per generation"},
        ),
    log:
        "<logs>/figures/fitness.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "Drawing the fitness of the generations"
    shell:
        "exec python scripts/plot.py fitness"
        " --populations {input.populations:q}"
        " --output {output.figure:q}"
        " 2> {log:q}"


rule figure_pareto:
    input:
        populations=get_populations,
        champion="<results>/champion.json",
    output:
        figure=report(
            "<results>/figures/pareto.svg",
            caption="../report/pareto.rst",
            category="2 Evolution",
            labels={"figure": "Loss over parameters"},
        ),
    log:
        "<logs>/figures/pareto.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "Drawing loss over parameters of all networks"
    shell:
        "exec python scripts/plot.py pareto"
        " --populations {input.populations:q}"
        " --champion {input.champion:q}"
        " --output {output.figure:q}"
        " 2> {log:q}"


rule figure_generation:
    input:
        histories=get_children("history.csv"),
    output:
        figure=report(
            "<results>/figures/training_gen_{gen}.svg",
            caption="../report/curves.rst",
            category="2 Evolution",
            labels={"figure": "Training curves, generation {gen}"},
        ),
    log:
        "<logs>/figures/training_gen_{gen}.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "Drawing the training curves of generation {wildcards.gen}"
    shell:
        "exec python scripts/plot.py curves"
        " --histories {input.histories:q}"
        " --title 'Generation {wildcards.gen}'"
        " --output {output.figure:q}"
        " 2> {log:q}"


rule figure_comparison:
    input:
        table="<search>/gen_001/comparison.csv",
    output:
        figure=report(
            "<results>/figures/comparison.svg",
            caption="../report/comparison.rst",
            category="3 Weight transfer",
            labels={"figure": "Transfer, scratch and control"},
        ),
        table=report(
            "<results>/figures/comparison.csv",
            caption="../report/comparison.rst",
            category="3 Weight transfer",
            labels={"figure": "Table"},
        ),
    log:
        "<logs>/figures/comparison.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "Drawing what weight transfer is worth"
    shell:
        "cp {input.table:q} {output.table:q} &&"
        " exec python scripts/plot.py comparison"
        " --table {input.table:q}"
        " --output {output.figure:q}"
        " > {log:q} 2>&1"


rule figure_architecture:
    input:
        champion="<results>/champion.safetensors",
    output:
        figure=report(
            "<results>/figures/architecture.svg",
            caption="../report/architecture.rst",
            category="4 Champion",
            labels={"figure": "Ancestor and champion"},
        ),
    log:
        "<logs>/figures/architecture.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        ancestor=json.dumps(cfg.search.ancestor),
    message:
        "Drawing the champion beside its ancestor"
    shell:
        "exec python scripts/plot.py architecture"
        " --ancestor {params.ancestor:q}"
        " --weights {input.champion:q}"
        " --labels champion"
        " --output {output.figure:q}"
        " 2> {log:q}"


rule figure_model:
    input:
        history="<results>/models/{model}/history.csv",
    output:
        figure=report(
            "<results>/figures/training_{model}.svg",
            caption="../report/curves.rst",
            category="5 Final networks",
            labels={"figure": "Training curves, {model}"},
        ),
    log:
        "<logs>/figures/training_{model}.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "Drawing the training curves of {wildcards.model}"
    shell:
        "exec python scripts/plot.py curves"
        " --histories {input.history:q}"
        " --title 'Final training of {wildcards.model}'"
        " --output {output.figure:q}"
        " 2> {log:q}"


rule figure_overlays:
    input:
        annotations=get_truth(plan.VAL),
        validation=get_verdict(plan.VAL),
        predictions="<results>/models/{model}/predictions_ground_truth.json",
    output:
        figure=report(
            "<results>/figures/overlays_{model}.png",
            caption="../report/overlays.rst",
            category="5 Final networks",
            labels={"figure": "Predictions, {model}"},
        ),
    log:
        "<logs>/figures/overlays_{model}.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        images=cfg.dataset.val.images,
        keypoints=plan.settings(cfg.dataset.keypoints),
        number=cfg.report.overlays,
    message:
        "Drawing predictions of {wildcards.model} on images"
    shell:
        "exec python scripts/plot.py overlays"
        " --annotations {input.annotations:q}"
        " --validation {input.validation:q}"
        " --predictions {input.predictions:q}"
        " --images {params.images:q}"
        " --keypoints {params.keypoints:q}"
        " --number {params.number}"
        " --title {wildcards.model}"
        " --output {output.figure:q}"
        " 2> {log:q}"


rule figure_metrics:
    input:
        metrics=get_metrics,
        baseline="<results>/mean_pose/metrics_ground_truth.json",
    output:
        figure=report(
            "<results>/figures/metrics.svg",
            caption="../report/metrics.rst",
            category="5 Final networks",
            labels={"figure": "COCO metrics"},
        ),
    log:
        "<logs>/figures/metrics.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "Drawing the metrics"
    shell:
        "exec python scripts/plot.py metrics"
        " --metrics {input.metrics:q}"
        " --baselines {input.baseline:q}"
        " --output {output.figure:q}"
        " 2> {log:q}"


rule networks:
    output:
        table=report(
            "<results>/networks.csv",
            caption="../report/networks.rst",
            category="5 Final networks",
            labels={"figure": "Published networks beside the paper"},
        ),
    log:
        "<logs>/networks.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "Counting the published networks"
    shell:
        "exec python scripts/networks.py --csv {output.table:q} > {log:q} 2>&1"


rule summary:
    input:
        populations=get_populations,
        champion="<results>/champion.json" if cfg.search.enabled else [],
        validation=get_verdicts(),
        metrics=get_metrics,
        baseline="<results>/mean_pose/metrics_ground_truth.json",
        comparison="<search>/gen_001/comparison.csv" if window.compares(cfg) else [],
    output:
        markdown="<results>/summary.md",
        numbers="<results>/summary.json",
        page=report(
            "<results>/summary.html",
            caption="../report/summary.rst",
            category="1 Summary",
            labels={"figure": "Summary"},
        ),
    log:
        "<logs>/summary.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        experiment=cfg.folder,
        fitness=plan.fitness_note(cfg),
        settings=json.dumps(facts.of(cfg)),
    message:
        "Summing up"
    shell:
        "exec python scripts/summary.py"
        " --experiment {params.experiment:q}"
        " --populations {input.populations:q}"
        " --champion {input.champion:q}"
        " --fitness {params.fitness:q}"
        " --settings {params.settings:q}"
        " --validation {input.validation:q}"
        " --metrics {input.metrics:q}"
        " --baselines {input.baseline:q}"
        " --comparison {input.comparison:q}"
        " --place 'all files=results/{params.experiment}/' 'logs=logs/{params.experiment}/'"
        " 'report=results/{params.experiment}/report.html'"
        " --markdown {output.markdown:q}"
        " --json {output.numbers:q}"
        " --html {output.page:q}"
        " > {log:q} 2>&1"


rule costs:
    input:
        plan="<results>/plan.json",
        finished="<results>/summary.json",
    output:
        table="<results>/costs.csv",
        page=report(
            "<results>/costs.html",
            caption="../report/costs.rst",
            category="1 Summary",
            labels={"figure": "Estimated and spent"},
        ),
    log:
        "<logs>/costs.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        folder=cfg.folder,
    message:
        "What the run took, beside the estimate"
    shell:
        "exec python scripts/costs.py"
        " --plan {input.plan:q}"
        " --results results/{params.folder:q}"
        " --benchmarks benchmarks/{params.folder:q}"
        " --csv {output.table:q}"
        " --html {output.page:q}"
        " > {log:q} 2>&1"
