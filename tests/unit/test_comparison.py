import pytest

from pipeline_lib.errors import ArtifactError
from pipeline_lib.search import comparison
from pipeline_lib.search.genotype import EVOPOSE2D_S, EVOPOSE2D_XS, key
from pipeline_lib.search.population import Child, Children

CHANGE = {"module": 6, "kind": "stride", "before": 1, "after": 2}
OTHER = {"module": 2, "kind": "blocks", "before": 2, "after": 3}
CHILDREN = Children(
    generation=1,
    children=(
        Child(index=0, genotype=key(EVOPOSE2D_S), seed=1, parent_rank=0, mutations=(CHANGE,)),
        Child(index=1, genotype=key(EVOPOSE2D_XS), seed=2, parent_rank=0, mutations=(CHANGE, OTHER)),
    ),
)


def history(first, *later, start=0, step=10):
    losses = enumerate((first, *later), start)
    return [{"epoch": str(epoch), "step": str(epoch * step), "val_loss": str(loss)} for epoch, loss in losses]


TRANSFERRED = [history(0.9, 0.1, 0.5), history(0.8, 0.2, 0.4)]
SCRATCH = [history(3.0, 1.0, 2.0), history(4.0, 1.5, 2.5)]
CONTROL = history(0.7, 0.05, 0.6)


def test_rows():
    first, second = comparison.rows(CHILDREN, [0.75, 0.5], TRANSFERRED, SCRATCH, CONTROL)
    assert tuple(first) == comparison.COLUMNS
    assert first == {
        "child": 0,
        "mutation": "module 6 stride 1->2",
        "inherited": 0.75,
        "transferred_initial": 0.9,
        "transferred_final": 0.5,
        "scratch_initial": 3.0,
        "scratch_final": 2.0,
        "control_initial": 0.7,
        "control_final": 0.6,
    }
    assert second["mutation"] == "module 6 stride 1->2; module 2 blocks 2->3"
    assert (second["child"], second["inherited"]) == (1, 0.5)
    assert (second["transferred_initial"], second["transferred_final"]) == (0.8, 0.4)
    assert (second["scratch_initial"], second["scratch_final"]) == (4.0, 2.5)


@pytest.mark.parametrize(
    ("part", "changed", "message"),
    [
        ("transferred", [TRANSFERRED[0], history(0.8, 0.2)], "different lengths: 10, 20 steps"),
        ("scratch", [history(3.0, 1.0, 2.0, step=12), SCRATCH[1]], "different lengths: 20, 24 steps"),
        ("control", history(0.7, 0.6), "different lengths"),
        ("control", history(0.6, 0.5, start=1), "control: the loss before the first step .*evaluate_initial"),
        ("scratch", [SCRATCH[0], history(1, 2, start=1)], "twin 1: the loss before the first step"),
    ],
)
def test_what_cannot_be_compared_is_refused(part, changed, message):
    parts = {"transferred": TRANSFERRED, "scratch": SCRATCH, "control": CONTROL, part: changed}
    with pytest.raises(ArtifactError, match=message):
        comparison.rows(CHILDREN, [0.75, 0.5], **parts)


def test_a_training_that_failed_leaves_its_cells_empty():
    early, late = history(0.9, 0.1, "nan"), history(3.0, "nan")
    first, second = comparison.rows(CHILDREN, [0.75, 0.5], [early, TRANSFERRED[1]], [late, SCRATCH[1]], CONTROL)
    assert (first["transferred_initial"], first["transferred_final"]) == (0.9, None)
    assert (first["scratch_initial"], first["scratch_final"]) == (3.0, None)
    assert (second["transferred_final"], second["scratch_final"], second["control_final"]) == (0.4, 2.5, 0.6)
    at_once = [history("inf", 0.1, 0.5), TRANSFERRED[1]]
    first, _ = comparison.rows(CHILDREN, [0.75, 0.5], at_once, SCRATCH, history("nan", "nan"))
    assert (first["transferred_initial"], first["transferred_final"], first["control_final"]) == (None, None, None)


def test_every_child_needs_its_twin():
    with pytest.raises(ArtifactError, match=r"2 children need as many .*; 2, 2 and 1 are given"):
        comparison.rows(CHILDREN, [0.75, 0.5], TRANSFERRED, SCRATCH[:1], CONTROL)
    with pytest.raises(ArtifactError, match="3, 2 and 2 are given"):
        comparison.rows(CHILDREN, [0.75, 0.5, 0.1], TRANSFERRED, SCRATCH, CONTROL)
    with pytest.raises(ArtifactError, match="control: the loss before the first step was not measured"):
        comparison.rows(CHILDREN, [0.75, 0.5], TRANSFERRED, SCRATCH, [])


def test_channels_are_channels():
    change = {"module": 3, "kind": "channels", "before": 2, "after": 5}
    child = CHILDREN.children[0].model_copy(update={"mutations": (change, OTHER)})
    both = CHILDREN.model_copy(update={"children": (child, CHILDREN.children[1])})
    first, _ = comparison.rows(both, [0.75, 0.5], TRANSFERRED, SCRATCH, CONTROL)
    assert first["mutation"] == "module 3 channels 16->40; module 2 blocks 2->3"
