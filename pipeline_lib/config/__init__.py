"""The typed configuration: one pydantic model per section of config/config.yaml.

`workflow/schemas/config.schema.yaml` is generated from here (`python -m pipeline_lib.config`), config/README.md explains
every key, and tests keep the three equal. Models are frozen and refuse unknown keys.
"""

from pipeline_lib.config.dataset import (
    Archive,
    ConversionSettings,
    DatasetConfig,
    DownloadConfig,
    Split,
    SyntheticConfig,
)
from pipeline_lib.config.experiment import Config, load, schema
from pipeline_lib.config.fields import HEAD_STRIDE, MODULES, SEED, STEM_STRIDE, Genotype, NonNegative, Positive, Section
from pipeline_lib.config.final import EvaluationConfig, FinalConfig, InputSize, ModelConfig, ReportConfig
from pipeline_lib.config.keypoints import COCO_KEYPOINTS, POSETRACK_KEYPOINTS, KeypointSchema
from pipeline_lib.config.refine import RefineConfig, RefinerTraining
from pipeline_lib.config.search import (
    PAPER_ANCESTOR,
    PAPER_SPACE,
    Convergence,
    SearchConfig,
    SearchSpace,
    overall_stride,
)
from pipeline_lib.config.simulation import Simulation
from pipeline_lib.config.storage import StorageConfig
from pipeline_lib.config.training import FLIP_ONLY, Augmentation, Reach, TrainSettings
from pipeline_lib.config.validation import ValidationConfig
from pipeline_lib.config.window import Only

__all__ = [
    "COCO_KEYPOINTS",
    "FLIP_ONLY",
    "HEAD_STRIDE",
    "MODULES",
    "PAPER_ANCESTOR",
    "PAPER_SPACE",
    "POSETRACK_KEYPOINTS",
    "SEED",
    "STEM_STRIDE",
    "Archive",
    "Augmentation",
    "Config",
    "Convergence",
    "ConversionSettings",
    "DatasetConfig",
    "DownloadConfig",
    "EvaluationConfig",
    "FinalConfig",
    "Genotype",
    "InputSize",
    "KeypointSchema",
    "ModelConfig",
    "NonNegative",
    "Only",
    "Positive",
    "Reach",
    "RefineConfig",
    "RefinerTraining",
    "ReportConfig",
    "SearchConfig",
    "SearchSpace",
    "Section",
    "Simulation",
    "Split",
    "StorageConfig",
    "SyntheticConfig",
    "TrainSettings",
    "ValidationConfig",
    "load",
    "overall_stride",
    "schema",
]
