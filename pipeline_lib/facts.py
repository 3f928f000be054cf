"""What a result has to be read with: the settings behind it, and in what they differ from those that were meant."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline_lib.config import Config, TrainSettings

# Where and how fast something is computed, not what: seeds, threads, and what only makes a step faster.
RUNTIME = ("seed", "cpu_threads", "deterministic", "steps_per_execution", "jit_compile", "evaluate_initial")
# How long a search is and what else is measured in it changes none of its networks.
OF_A_SEARCH = ("enabled", "generations", "convergence", "compare_scratch", "max_failed")
# Of these only their product counts: batch statistics are those of batch / product persons.
PARTS = ("devices", "accumulation")
# Wherever they lie, files of weights are expected to be those of the manual.
FILES = ("pretrained",)
SHORT = 40
"""Characters of a setting that is written out; genotypes are not."""


def final_train(loaded: Config, model: str) -> TrainSettings:
    """The training of a final network. The published program trains HRNet without L2."""
    network = loaded.final.models[model].network or ""
    if loaded.preset == "released" and network.startswith("hrnet"):
        return loaded.final.train.model_copy(update={"l2": 0.0})
    return loaded.final.train


def of(loaded: Config) -> dict[str, Any]:
    """The settings of an experiment, as JSON: data set, preset, seed, test, search, of each final network its training, and the refiner."""
    search, size = loaded.search, loaded.input
    return {
        "dataset": loaded.dataset.name,
        "synthetic": loaded.dataset.synthetic is not None,
        "preset": loaded.preset,
        "seed": loaded.seed,
        "flip_test": loaded.evaluation.flip_test,
        "score_threshold": loaded.evaluation.score_threshold,
        # Crops are compressed once more; of whole images, as the paper has them, nothing is said.
        **({"crops": _crops(loaded)} if loaded.conversion.records == "crops" else {}),
        "search": {"height": size.height, "width": size.width} | search.model_dump(mode="json")
        if search.enabled
        else None,
        "models": {
            name: model.model_dump(mode="json") | {"train": final_train(loaded, name).model_dump(mode="json")}
            for name, model in loaded.final.models.items()
        },
        **({"branch": {"name": loaded.branch, "resume_from": loaded.resume_from}} if loaded.branch is not None else {}),
        # Of no experiment without it: results of former versions have no such key.
        **({"refine": loaded.refine.model_dump(mode="json")} if loaded.refine.enabled else {}),
    }


def _crops(loaded: Config) -> str:
    conversion = loaded.conversion
    words = ["raw"] if conversion.crop_encoding == "raw" else ["JPEG"]
    if conversion.crop_encoding == "jpeg" and conversion.jpeg_quality is not None:
        words.append(str(conversion.jpeg_quality))
    if conversion.crop_resolution != type(conversion)().crop_resolution:
        words.append(f"of resolution {conversion.crop_resolution:g}")
    return " ".join(words)


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """In what the settings `found` differ from those `expected`, in words; a setting that is not known differs."""
    crops = [f"records: crops, {found['crops']}, instead of images"] if "crops" in {*found} - {*expected} else []
    return [*crops, *_differences(found, expected, "")]


def _differences(found: Mapping[str, Any], expected: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, meant in expected.items():
        if key in (*RUNTIME, *OF_A_SEARCH, *PARTS):
            continue
        is_ = found.get(key, "unknown")
        if isinstance(meant, Mapping) and isinstance(is_, Mapping):
            yield from _differences(is_, meant, f"{path}{key}.")
        elif key in FILES and is_ != "unknown":
            if (is_ is None) != (meant is None):
                yield f"{path}{key}: {'new weights' if is_ is None else is_} instead of {meant or 'new weights'}"
        elif is_ != meant:
            known = len(f"{is_}") <= SHORT and len(f"{meant}") <= SHORT
            yield f"{path}{key}: {is_} instead of {meant}" if known else f"{path}{key}: another value"
    if all(part in expected for part in PARTS):
        shares = [
            "unknown" if any(part not in settings for part in PARTS) else settings[PARTS[0]] * settings[PARTS[1]]
            for settings in (found, expected)
        ]
        if shares[0] != shares[1]:
            yield f"{path}batch statistics: over 1/{shares[0]} of the batch instead of 1/{shares[1]}"
