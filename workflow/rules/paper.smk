"""The paper's tables and figures, its values beside whatever results exist (`make paper`).

Inputs: the results of the experiments in config/experiments/ that are there when the Snakefile is read, so that nothing is
run for them; a result that comes or changes makes them anew. Outputs: results/paper/, whatever configuration is active.
"""


rule paper:
    input:
        expand(
            "results/paper/table{number}.{kind}",
            number=range(1, 6),
            kind=["csv", "md", "html"],
        ),
        expand("results/paper/figure{number}.svg", number=[1, 4, 5]),


rule table_1:
    input:
        get_paper("table_1"),
    output:
        table=report(
            "results/paper/table1.csv",
            caption="../report/paper_table1.rst",
            category="Paper",
            labels={"figure": "Table 1: batch size (CSV)"},
        ),
        markdown="results/paper/table1.md",
        page=report(
            "results/paper/table1.html",
            caption="../report/paper_table1.rst",
            category="Paper",
            labels={"figure": "Table 1: batch size"},
        ),
    log:
        "logs/paper/table_1.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        item="table_1",
        prefix=cfg.paper_prefix,
    message:
        "Table 1: batch sizes"
    shell:
        "exec python scripts/paper.py {params.item}"
        " --prefix={params.prefix}"
        " --csv {output.table:q}"
        " --markdown {output.markdown:q}"
        " --html {output.page:q}"
        " > {log:q} 2>&1"


use rule table_1 as table_2 with:
    input:
        get_paper("table_2"),
    output:
        table=report(
            "results/paper/table2.csv",
            caption="../report/paper_table2.rst",
            category="Paper",
            labels={"figure": "Table 2: the champion of E3 (CSV)"},
        ),
        markdown="results/paper/table2.md",
        page=report(
            "results/paper/table2.html",
            caption="../report/paper_table2.rst",
            category="Paper",
            labels={"figure": "Table 2: the champion of E3"},
        ),
    log:
        "logs/paper/table_2.log",
    localrule: True
    params:
        item="table_2",
        prefix=cfg.paper_prefix,
    message:
        "Table 2: the champion of E3 beside EvoPose2D-S"


use rule table_1 as table_3 with:
    input:
        get_paper("table_3"),
    output:
        table=report(
            "results/paper/table3.csv",
            caption="../report/paper_table3.rst",
            category="Paper",
            labels={"figure": "Table 3: comparison of networks (CSV)"},
        ),
        markdown="results/paper/table3.md",
        page=report(
            "results/paper/table3.html",
            caption="../report/paper_table3.rst",
            category="Paper",
            labels={"figure": "Table 3: comparison of networks"},
        ),
    log:
        "logs/paper/table_3.log",
    localrule: True
    params:
        item="table_3",
        prefix=cfg.paper_prefix,
    message:
        "Table 3: size, cost, speed and accuracy"


use rule table_1 as table_4 with:
    input:
        get_paper("table_4"),
    output:
        table=report(
            "results/paper/table4.csv",
            caption="../report/paper_table4.rst",
            category="Paper",
            labels={"figure": "Table 4: the common ancestor (CSV)"},
        ),
        markdown="results/paper/table4.md",
        page=report(
            "results/paper/table4.html",
            caption="../report/paper_table4.rst",
            category="Paper",
            labels={"figure": "Table 4: the common ancestor"},
        ),
    log:
        "logs/paper/table_4.log",
    localrule: True
    params:
        item="table_4",
        prefix=cfg.paper_prefix,
    message:
        "Table 4: the common ancestor"


use rule table_1 as table_5 with:
    input:
        get_paper("table_5"),
    output:
        table=report(
            "results/paper/table5.csv",
            caption="../report/paper_table5.rst",
            category="Paper",
            labels={"figure": "Table 5: scaling coefficients (CSV)"},
        ),
        markdown="results/paper/table5.md",
        page=report(
            "results/paper/table5.html",
            caption="../report/paper_table5.rst",
            category="Paper",
            labels={"figure": "Table 5: scaling coefficients"},
        ),
    log:
        "logs/paper/table_5.log",
    localrule: True
    params:
        item="table_5",
        prefix=cfg.paper_prefix,
    message:
        "Table 5: scaling coefficients"


rule figure_1:
    input:
        get_paper("figure_1"),
    output:
        figure=report(
            "results/paper/figure1.svg",
            caption="../report/paper_figure1.rst",
            category="Paper",
            labels={"figure": "Fig. 1: accuracy, cost and file size"},
        ),
    log:
        "logs/paper/figure_1.log",
    localrule: True
    conda:
        "../../envs/evopose.yaml"
    params:
        item="figure_1",
        prefix=cfg.paper_prefix,
    message:
        "Fig. 1: accuracy, cost and file size"
    shell:
        "exec python scripts/paper.py {params.item}"
        " --prefix={params.prefix}"
        " --output {output.figure:q}"
        " 2> {log:q}"


use rule figure_1 as figure_4 with:
    input:
        get_paper("figure_4"),
    output:
        figure=report(
            "results/paper/figure4.svg",
            caption="../report/paper_figure4.rst",
            category="Paper",
            labels={"figure": "Fig. 4: loss with different batch sizes"},
        ),
    log:
        "logs/paper/figure_4.log",
    localrule: True
    params:
        item="figure_4",
        prefix=cfg.paper_prefix,
    message:
        "Fig. 4: loss with different batch sizes"


use rule figure_1 as figure_5 with:
    input:
        get_paper("figure_5"),
    output:
        figure=report(
            "results/paper/figure5.svg",
            caption="../report/paper_figure5.rst",
            category="Paper",
            labels={"figure": "Fig. 5: convergence of the searches"},
        ),
    log:
        "logs/paper/figure_5.log",
    localrule: True
    params:
        item="figure_5",
        prefix=cfg.paper_prefix,
    message:
        "Fig. 5: convergence of the searches"
