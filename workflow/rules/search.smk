"""The evolution (paper, section IV-C): a chain of generations, each a folder of files.

Generation 0 is the ancestor (ancestor.smk). Generation g: mutate (parents and all genotypes so far -> children), then for
each child transfer (parent's weights -> initial weights), train, score; select (children and parents -> parents of g + 1).
Generation 1 can have twins for comparison: its children from scratch, and the ancestor trained on (`control`). With
`convergence`, decide looks at each generation before the next. No rule makes a generation that is given (`resume_from`,
`only`); a branch takes those over (branch.smk).
"""


rule mutate:
    input:
        parents=get_previous("parents.json"),
        genotypes=get_previous("genotypes.csv"),
    output:
        children="<search>/gen_{gen}/children.json",
        genotypes="<search>/gen_{gen}/genotypes.csv",
    log:
        "<logs>/search/gen_{gen}/mutate.log",
    benchmark:
        "<benchmarks>/search/gen_{gen}/mutate.tsv"
    wildcard_constraints:
        gen=window.whole_generations(cfg, 1),
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        children=lambda wildcards: cfg.search.children_of(int(wildcards.gen)),
        ancestor=json.dumps(cfg.search.ancestor),
        space=plan.settings(cfg.search.space),
        seed=cfg.seed,
    message:
        "Generation {wildcards.gen}: mutating the parents"
    shell:
        "exec python scripts/mutate.py"
        " --parents {input.parents:q}"
        " --known {input.genotypes:q}"
        " --number {params.children}"
        " --ancestor {params.ancestor:q}"
        " --space {params.space:q}"
        " --seed {params.seed}"
        " --children {output.children:q}"
        " --genotypes {output.genotypes:q}"
        " 2> {log:q}"


rule initialise:
    input:
        children="<search>/gen_{gen}/children.json",
    output:
        weights="<search>/gen_{gen}/{member}/initial.safetensors",
    log:
        "<logs>/search/gen_{gen}/{member}/initialise.log",
    benchmark:
        "<benchmarks>/search/gen_{gen}/{member}/initialise.tsv"
    wildcard_constraints:
        gen=window.generations(cfg),
        # Children that inherit are no candidates: each would cost the planning another job.
        member=window.members(
            cfg,
            (
                r"child_00|scratch_\d+"
                if cfg.search.transfer
                else r"child_\d+|scratch_\d+"
            ),
        ),
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        network=NETWORK,
        space=plan.settings(cfg.search.space),
    message:
        "Generation {wildcards.gen}: new weights for {wildcards.member}"
    shell:
        "exec python scripts/initialise.py"
        " --children {input.children:q}"
        " --member {wildcards.member}"
        " {params.network}"
        " --space {params.space:q}"
        " --weights {output.weights:q}"
        " 2> {log:q}"


if cfg.search.transfer:

    ruleorder: transfer > initialise

    rule transfer:
        input:
            children="<search>/gen_{gen}/children.json",
            parents=get_previous_parents,
        output:
            weights="<search>/gen_{gen}/{member}/initial.safetensors",
            report="<search>/gen_{gen}/{member}/inheritance.json",
        log:
            "<logs>/search/gen_{gen}/{member}/transfer.log",
        benchmark:
            "<benchmarks>/search/gen_{gen}/{member}/transfer.tsv"
        wildcard_constraints:
            gen=window.generations(cfg, 1),
            member=window.members(cfg, r"child_\d+"),
        localrule: True
        conda:
            "../../envs/evopose.yaml"
        params:
            donor=cfg.search.donor,
            kernels="" if cfg.search.transfer_kernels else "--new-kernels",
        message:
            "Generation {wildcards.gen}: {wildcards.member} inherits weights"
        shell:
            "exec python scripts/transfer.py"
            " --children {input.children:q}"
            " --member {wildcards.member}"
            " --parents {input.parents:q}"
            " --donor {params.donor}"
            " {params.kernels}"
            " --weights {output.weights:q}"
            " --report {output.report:q}"
            " 2> {log:q}"


rule train_child:
    input:
        initial=get_initial,
        train=get_search_records(0),
        val=get_search_records(1),
    output:
        weights="<search>/gen_{gen}/{member}/weights.safetensors",
        history="<search>/gen_{gen}/{member}/history.csv",
    log:
        "<logs>/search/gen_{gen}/{member}/train.log",
    benchmark:
        "<benchmarks>/search/gen_{gen}/{member}/train.tsv"
    wildcard_constraints:
        gen=window.generations(cfg),
    conda:
        "../../envs/evopose.yaml"
    threads: cfg.search.train.cpu_threads
    resources:
        # Simulated trainings are counted, though they take none.
        accelerator=accelerators(cfg.search.train.devices) or int(plan.simulates(cfg)),
        device=DEVICE,
    params:
        program=plan.trainer(cfg),
        # Without an ancestor there is no search.
        may_fail=lambda wildcards: "--may-fail" if int(wildcards.gen) else "",
        settings=get_train_settings,
        seed=cfg.seed,
    message:
        "Generation {wildcards.gen}: training {wildcards.member}"
    shell:
        "exec python {params.program}"
        " --initial {input.initial:q}"
        " --train-manifest {input.train:q}"
        " --val-manifest {input.val:q}"
        " --settings {params.settings:q}"
        " --seed {params.seed}"
        " --device {resources.device}"
        " --accelerators {resources.accelerator}"
        " --title 'generation {wildcards.gen}, {wildcards.member}'"
        " {params.may_fail}"
        " --weights {output.weights:q}"
        " --history {output.history:q}"
        " 2> {log:q}"


rule score:
    input:
        weights="<search>/gen_{gen}/{member}/weights.safetensors",
        history="<search>/gen_{gen}/{member}/history.csv",
    output:
        score="<search>/gen_{gen}/{member}/score.json",
    log:
        "<logs>/search/gen_{gen}/{member}/score.log",
    benchmark:
        "<benchmarks>/search/gen_{gen}/{member}/score.tsv"
    wildcard_constraints:
        gen=window.generations(cfg),
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "Generation {wildcards.gen}: scoring {wildcards.member}"
    shell:
        "exec python scripts/score.py"
        " --weights {input.weights:q}"
        " --history {input.history:q}"
        " --score {output.score:q}"
        " 2> {log:q}"


rule select:
    input:
        children="<search>/gen_{gen}/children.json",
        scores=get_children("score.json"),
        weights=get_children("weights.safetensors"),
        before=get_pool(get_survivors),
        parents=get_pool(get_survivor_weights),
    output:
        population="<search>/gen_{gen}/population.csv",
        parents="<search>/gen_{gen}/parents.json",
        weights=expand(
            "<search>/gen_{{gen}}/parents/{rank}.safetensors",
            rank=range(cfg.search.parents),
        ),
    log:
        "<logs>/search/gen_{gen}/select.log",
    benchmark:
        "<benchmarks>/search/gen_{gen}/select.tsv"
    wildcard_constraints:
        gen=window.generations(cfg, 1),
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    resources:
        # No parameter: whoever allows more failures wants nothing done again.
        max_failed=str(cfg.search.max_failed),
    params:
        gamma=cfg.search.gamma,
        target=cfg.search.target_parameters,
    message:
        "Generation {wildcards.gen}: selecting the parents of the next"
    shell:
        "exec python scripts/select_parents.py"
        " --children {input.children:q}"
        " --scores {input.scores:q}"
        " --weights {input.weights:q}"
        " --before {input.before:q}"
        " --parents {input.parents:q}"
        " --gamma {params.gamma}"
        " --target-parameters {params.target}"
        " --max-failed {resources.max_failed}"
        " --population {output.population:q}"
        " --survivors {output.parents:q}"
        " --survivor-weights {output.weights:q}"
        " 2> {log:q}"


if window.makes(cfg, 1):

    rule compare:
        input:
            children="<search>/gen_001/children.json",
            inheritance=members(1, "child", "inheritance.json"),
            transferred=members(1, "child", "history.csv"),
            scratch=members(1, "scratch", "history.csv"),
            control="<search>/gen_001/control/history.csv",
        output:
            table="<search>/gen_001/comparison.csv",
        log:
            "<logs>/search/gen_001/compare.log",
        benchmark:
            "<benchmarks>/search/gen_001/compare.tsv"
        localrule: True
        conda:
            "../../envs/evopose.yaml"
        message:
            "Comparing weight transfer with training from scratch"
        shell:
            "exec python scripts/compare.py"
            " --children {input.children:q}"
            " --inheritance {input.inheritance:q}"
            " --transferred {input.transferred:q}"
            " --scratch {input.scratch:q}"
            " --control {input.control:q}"
            " --table {output.table:q}"
            " 2> {log:q}"


if cfg.search.convergence:

    checkpoint decide:
        input:
            "<search>/gen_{gen}/population.csv",
        output:
            touch(f"<search>/gen_{{gen}}/{window.DECIDED}"),
        wildcard_constraints:
            gen=window.generations(cfg),
        localrule: True
        message:
            "Generation {wildcards.gen}: is another one needed?"


rule champion:
    input:
        parents=get_last_generation("parents.json"),
        weights=get_last_generation("parents/0.safetensors"),
    output:
        champion="<results>/champion.json",
        weights="<results>/champion.safetensors",
    log:
        "<logs>/champion.log",
    benchmark:
        "<benchmarks>/champion.tsv"
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    message:
        "The champion of the search"
    shell:
        "exec python scripts/champion.py"
        " --parents {input.parents:q}"
        " --parent-weights {input.weights:q}"
        " --champion {output.champion:q}"
        " --weights {output.weights:q}"
        " 2> {log:q}"
