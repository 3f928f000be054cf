"""A data set from its server, such as COCO 2017 (`make coco`).

Inputs: none but the archives on the server, or files put there by hand. Outputs: records of what was got and counted,
<dataset>/files/{archive}.json and <dataset>/files/persons.json. Images and annotations are no declared outputs: Snakemake
would delete them before a job, and when it fails. Steps: download (each archive), count_persons.
"""

if cfg.dataset.download:

    rule coco:
        input:
            "<dataset>/files/persons.json",

    rule coco_test:
        input:
            "<dataset>/files/persons.json",
            get_archives(optional=True),

    rule download:
        output:
            record="<dataset>/files/archives/{archive}.json",
        log:
            "<logs>/data/download_{archive}.log",
        benchmark:
            "<benchmarks>/data/download_{archive}.tsv"
        localrule: True
        conda:
            "../../envs/evopose.yaml"
        params:
            settings=plan.settings(cfg.dataset.download),
        message:
            "Getting {wildcards.archive}"
        shell:
            "exec python scripts/download.py"
            " --settings {params.settings:q}"
            " --archive {wildcards.archive}"
            " --record {output.record:q}"
            " 2> {log:q}"

    rule count_persons:
        input:
            get_archives(optional=False),
        output:
            counts="<dataset>/files/persons.json",
        log:
            "<logs>/data/count_persons.log",
        benchmark:
            "<benchmarks>/data/count_persons.tsv"
        localrule: True
        conda:
            "../../envs/evopose.yaml"
        params:
            dataset=plan.settings(cfg.dataset),
        message:
            "Counting the persons of {cfg.dataset.name}"
        shell:
            "exec python scripts/count_persons.py"
            " --dataset {params.dataset:q}"
            " --counts {output.counts:q}"
            " 2> {log:q}"
