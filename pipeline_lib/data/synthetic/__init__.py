"""The synthetic data set: pictures of articulated people with COCO annotations, all from one seed."""

from pipeline_lib.data.synthetic.dataset import SPLITS, synthesize

__all__ = ["SPLITS", "synthesize"]
