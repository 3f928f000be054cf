"""What a branch (`branch`, `resume_from`) takes over from the search that it leaves, for the folder results/<experiment>@<branch>.

Of every generation before `resume_from` the population, with the branch's J; of the last of them also what the next
generation is bred from, chosen from that pool with the branch's mu, Gamma and T: parents, their weights, and the genotypes
so far. Times of the other search's files count for nothing: a branch that has begun stays as it is.
"""

ADOPTED = plan.number(window.adopted(cfg)[-1])


rule adopt:
    input:
        pool=ancient("<base>/gen_{gen}/population.csv"),
    output:
        population="<search>/gen_{gen}/population.csv",
    log:
        "<logs>/search/gen_{gen}/adopt.log",
    benchmark:
        "<benchmarks>/search/gen_{gen}/adopt.tsv"
    wildcard_constraints:
        gen="|".join(map(plan.number, window.adopted(cfg))),
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        gamma=cfg.search.gamma,
        target=cfg.search.target_parameters,
    message:
        "Generation {wildcards.gen}: the population of the search that is left"
    shell:
        "exec python scripts/adopt.py"
        " --pool {input.pool:q}"
        " --gamma {params.gamma}"
        " --target-parameters {params.target}"
        " --population {output.population:q}"
        " 2> {log:q}"


rule adopt_parents:
    input:
        pool=ancient(f"<base>/gen_{ADOPTED}/population.csv"),
        genotypes=ancient(f"<base>/gen_{ADOPTED}/genotypes.csv"),
        weights=ancient(get_adopted_weights(int(ADOPTED))),
    output:
        population=f"<search>/gen_{ADOPTED}/population.csv",
        genotypes=f"<search>/gen_{ADOPTED}/genotypes.csv",
        parents=f"<search>/gen_{ADOPTED}/parents.json",
        weights=get_survivor_weights(int(ADOPTED)),
    log:
        f"<logs>/search/gen_{ADOPTED}/adopt.log",
    benchmark:
        f"<benchmarks>/search/gen_{ADOPTED}/adopt.tsv"
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        gamma=cfg.search.gamma,
        target=cfg.search.target_parameters,
    message:
        "The last generation of the search that is left: choosing its parents anew"
    shell:
        "exec python scripts/adopt.py"
        " --pool {input.pool:q}"
        " --gamma {params.gamma}"
        " --target-parameters {params.target}"
        " --population {output.population:q}"
        " --known {input.genotypes:q}"
        " --genotypes {output.genotypes:q}"
        " --weights {input.weights:q}"
        " --survivors {output.parents:q}"
        " --survivor-weights {output.weights:q}"
        " 2> {log:q}"


if cfg.search.keep_ancestor and int(ADOPTED) > 0:

    use rule adopt_parents as adopt_ancestor with:
        input:
            pool=ancient("<base>/gen_000/population.csv"),
            genotypes=ancient("<base>/gen_000/genotypes.csv"),
            weights=ancient(get_adopted_weights(0)),
        output:
            population="<search>/gen_000/population.csv",
            genotypes="<search>/gen_000/genotypes.csv",
            parents="<search>/gen_000/parents.json",
            weights=get_survivor_weights(0),
        log:
            "<logs>/search/gen_000/adopt.log",
        benchmark:
            "<benchmarks>/search/gen_000/adopt.tsv"
        localrule: True
        message:
            "The ancestor of the search that is left, which stays in every pool"
