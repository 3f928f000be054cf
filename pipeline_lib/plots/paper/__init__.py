"""The paper's tables and figures with the results that exist beside the paper's; what was not run stays open."""
