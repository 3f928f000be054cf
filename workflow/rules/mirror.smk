"""Copies of finished results in a bucket (storage.mirror): of each generation, and of everything in the end.

Outputs: <results>/mirror/gen_{gen}.json and <results>/mirror/all.json, which say where things were copied to. Nothing depends
on them, so that the search does not wait.
"""


rule mirror_generation:
    input:
        population="<search>/gen_{gen}/population.csv",
    output:
        record="<results>/mirror/gen_{gen}.json",
    log:
        "<logs>/mirror/gen_{gen}.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        mirror=cfg.storage.mirror,
        folder=f"results/{cfg.folder}",
    message:
        "Generation {wildcards.gen}: copying it to {params.mirror}"
    shell:
        "exec python scripts/mirror_results.py {params.folder:q}"
        " --mirror {params.mirror:q}"
        " --below search/gen_{wildcards.gen}/"
        " --below mirror/gen_{wildcards.gen}.json"
        " --tolerant"
        " --record {output.record:q}"
        " 2> {log:q}"


rule mirror:
    input:
        get_generations,
        get_results,
        get_mirrored_generations,
    output:
        record="<results>/mirror/all.json",
    log:
        "<logs>/mirror/all.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        mirror=cfg.storage.mirror,
        folders=[f"results/data/{cfg.dataset.name}", f"results/{cfg.folder}"],
    message:
        "Copying the results to {params.mirror}"
    shell:
        "exec python scripts/mirror_results.py {params.folders:q}"
        " --mirror {params.mirror:q}"
        " --record {output.record:q}"
        " 2> {log:q}"
