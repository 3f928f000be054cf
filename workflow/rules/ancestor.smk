"""Generation 0: the ancestor as its one child, trained, and the parent of generation 1."""


rule ancestor:
    output:
        children="<search>/gen_000/children.json",
        genotypes="<search>/gen_000/genotypes.csv",
    log:
        "<logs>/search/gen_000/ancestor.log",
    benchmark:
        "<benchmarks>/search/gen_000/ancestor.tsv"
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        genotype=json.dumps(cfg.search.ancestor),
        seed=cfg.seed,
    message:
        "Generation 0: the ancestor"
    shell:
        "exec python scripts/ancestor.py"
        " --genotype {params.genotype:q}"
        " --seed {params.seed}"
        " --children {output.children:q}"
        " --genotypes {output.genotypes:q}"
        " 2> {log:q}"


if cfg.search.pretrained:

    ruleorder: seed_ancestor > initialise

    rule seed_ancestor:
        input:
            children="<search>/gen_000/children.json",
            pretrained=plan.existing(cfg.search.pretrained),
        output:
            weights="<search>/gen_000/child_00/initial.safetensors",
            report="<search>/gen_000/child_00/inheritance.json",
        log:
            "<logs>/search/gen_000/child_00/seed_ancestor.log",
        benchmark:
            "<benchmarks>/search/gen_000/child_00/seed_ancestor.tsv"
        conda:
            "../../envs/evopose.yaml"
        params:
            network=NETWORK,
            space=plan.settings(cfg.search.space),
            pretrained=cfg.search.pretrained,
            names=cfg.dataset.keypoints.names,
        message:
            "Generation 0: the ancestor starts from pretrained weights"
        shell:
            "exec python scripts/initialise.py"
            " --children {input.children:q}"
            " --member child_00"
            " {params.network}"
            " --space {params.space:q}"
            " --pretrained {params.pretrained:q}"
            " --keypoint-names {params.names:q}"
            " --weights {output.weights:q}"
            " --report {output.report:q}"
            " 2> {log:q}"


use rule select as select_ancestor with:
    input:
        children="<search>/gen_000/children.json",
        scores="<search>/gen_000/child_00/score.json",
        weights="<search>/gen_000/child_00/weights.safetensors",
        before=[],
        parents=[],
    output:
        population="<search>/gen_000/population.csv",
        parents="<search>/gen_000/parents.json",
        weights=["<search>/gen_000/parents/0.safetensors"],
    log:
        "<logs>/search/gen_000/select.log",
    benchmark:
        "<benchmarks>/search/gen_000/select.tsv"
    localrule: True
    message:
        "Generation 0: the ancestor becomes the parent"
