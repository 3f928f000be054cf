"""The tables of config/README.md: every key of the configuration with type, default and meaning, from its models.

`python -m pipeline_lib.manual` renews them in place, between the marks `<!-- keys: SECTION -->` and `<!-- end -->`; a
test keeps manual and models equal.
"""

import inspect
import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline_lib import config
from pipeline_lib.artifacts import write_text
from pipeline_lib.errors import ConfigError

MANUAL = Path(__file__).resolve().parents[1] / "config" / "README.md"

SECTIONS: dict[str, type[BaseModel]] = {
    "experiment": config.Config,
    "dataset": config.DatasetConfig,
    "dataset.train": config.Split,
    "dataset.validation": config.ValidationConfig,
    "dataset.synthetic": config.SyntheticConfig,
    "dataset.download": config.DownloadConfig,
    "dataset.download.archives": config.Archive,
    "dataset.keypoints": config.KeypointSchema,
    "conversion": config.ConversionSettings,
    "storage": config.StorageConfig,
    "input": config.InputSize,
    "train": config.TrainSettings,
    "train.augmentation": config.Augmentation,
    "only": config.Only,
    "search": config.SearchConfig,
    "search.convergence": config.Convergence,
    "search.space": config.SearchSpace,
    "search.simulation": config.Simulation,
    "final": config.FinalConfig,
    "final.models": config.ModelConfig,
    "refine": config.RefineConfig,
    "refine.train": config.RefinerTraining,
    "evaluation": config.EvaluationConfig,
    "report": config.ReportConfig,
}

# Keys that a section has in common with another one are in that one's table.
BESIDE = {"refine.train": "train"}

_TABLE = re.compile(r"<!-- keys: (?P<section>[\w.]+) -->\n.*?<!-- end -->", re.DOTALL)
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_WORDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}


def table(section: str) -> str:
    """The Markdown table of the keys of `section`."""
    model = SECTIONS[section]
    schema = model.model_json_schema()
    beside = SECTIONS[BESIDE[section]].model_fields if section in BESIDE else {}
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if name in beside and name not in inspect.get_annotations(model):
            continue
        kind = _type(schema["properties"][name]).replace("|", "\\|")
        lines.append(f"| `{name}` | {kind} | {_default(field)} | {_meaning(field)} |")
    return "\n".join(lines)


def _meaning(field: FieldInfo) -> str:
    """The field's description, or else the first line of its section's."""
    return (field.description or (inspect.getdoc(field.annotation) or "").partition("\n")[0]).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return "`coco`" if value == config.COCO_KEYPOINTS else "see its keys"
    return f"`{json.dumps(value)}`"


def _type(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_type, alternatives))
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "$ref" in schema or "allOf" in schema:
        return "section"
    if schema["type"] == "array":
        items = schema.get("prefixItems") or [schema["items"]]
        number = f"{schema['maxItems']} × " if schema.get("maxItems") else ""
        return f"list of {number}{_type(items[0])}"
    if schema["type"] == "object":
        values = schema.get("patternProperties", {"": schema.get("additionalProperties")})
        return f"map to {' or '.join(map(_type, values.values()))}"
    limits = " and ".join(f"{sign} {schema[key]:,}" for key, sign in _LIMITS.items() if key in schema)
    return f"{_WORDS[schema['type']]} {limits}".rstrip()


def renewed(text: str) -> str:
    """The manual `text` with all tables as they are now; raises `ConfigError` for a mark that names no section."""

    def replace(match: re.Match[str]) -> str:
        section = match["section"]
        if section not in SECTIONS:
            raise ConfigError(f"{MANUAL.name}: there is no section {section}; one of {', '.join(SECTIONS)} is expected")
        return f"<!-- keys: {section} -->\n{table(section)}\n<!-- end -->"

    return _TABLE.sub(replace, text)


if __name__ == "__main__":
    write_text(MANUAL, renewed(MANUAL.read_text(encoding="utf-8")))
