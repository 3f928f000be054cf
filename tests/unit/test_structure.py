"""What holds the parts together: imports run one way, locks agree, profiles are found by name."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts import conda_environment

ROOT = Path(__file__).parents[2]
BACKENDS = {"tensorflow", "keras", "jax", "torch"}
BASE = ("buckets", "mirror", "artifacts", "config", "errors", "explain", "cli", "remote", "facts", "restore", "leases")
# From the bottom: a part imports from its own layer and from those before it.
LAYERS = [
    BASE,
    ("search", "paper", "jax_devices", "hardware"),
    ("data", "nets", "devices"),
    ("plots", "export", "evaluate", "train"),
]
# Beside the layers: the Snakefile's questions, what a run takes, the page of keys.
OUTSIDE = {
    "plan": {*BASE, "search", "nets", "devices", "hardware", "paper"},
    "window": {*BASE, "search", "plan"},
    "changed": {*BASE, "search", "data", "nets", "plan"},
    "price": {*BASE, "search", "nets", "data", "devices", "train", "plots", "plan", "window", "price"},
    "manual": {*BASE},
    "controller": {*BASE},
}
LIBRARY = sorted((ROOT / "pipeline_lib").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
WITHOUT_BACKEND = ["ancestor", "mutate", "initialise", "transfer", "score", "select_parents", "compare", "champion"]
WITHOUT_BACKEND += [
    "download",
    "count_persons",
    "networks",
    "submission",
    "paper",
    "adopt",
    "restore_artifacts",
    "mirror_results",
    "fetch",
    "validate",
]


def imports(path):
    """Full names of what a file imports anywhere in it, functions included."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = [*package[: len(package) + 1 - node.level], node.module] if node.level else [node.module]
            yield from (".".join([*filter(None, module), alias.name]) for alias in node.names)


def part(name):
    """The part of the library that a full name such as pipeline_lib.nets.spec lies in; None outside of the library."""
    names = name.split(".")
    return names[1] if names[0] == "pipeline_lib" and len(names) > 1 else None


def layer(of):
    return next(index for index, parts in enumerate(LAYERS) if of in parts)


def name(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


@pytest.mark.parametrize(
    "path", [path for path in LIBRARY if path.parent.name != "pipeline_lib" or path.stem != "__init__"], ids=name
)
def test_imports_run_one_way(path):
    own = part(name(path))
    for imported in imports(path):
        assert imported.split(".")[0] not in ("scripts", "tests", "snakemake", "workflow"), imported
        other = part(imported)
        if other is None:
            continue
        if own in OUTSIDE:
            assert other in OUTSIDE[own], imported
        elif other != own:
            assert layer(other) <= layer(own), imported
            # Parts of one layer, above the base, do not know each other.
            assert layer(own) == 0 or layer(other) < layer(own), imported


def test_scripts_do_not_import_each_other():
    for path in SCRIPTS:
        assert not [imported for imported in imports(path) if imported.startswith("scripts")], path


def test_the_search_and_what_describes_networks_know_no_backend():
    folder = ROOT / "pipeline_lib"
    pure = [
        *(folder / "search").glob("*.py"),
        *(folder / "paper").glob("*.py"),
        *(folder / f"{base}.py" for base in BASE if base != "config"),
        *(folder / "config").glob("*.py"),
        folder / "plan.py",
        folder / "window.py",
    ]
    pure += [folder / f"nets/{module}.py" for module in ("spec", "inherit", "files", "pretrained", "layers")]
    pure += [folder / "data/augment.py", folder / "data/pose_errors.py", folder / "evaluate/decode.py"]
    assert len(pure) > 15
    for path in pure:
        assert not {imported.split(".")[0] for imported in imports(path)} & BACKENDS, path


@pytest.mark.parametrize("module", ["pipeline_lib.nets.files", "pipeline_lib.data.augment", "pipeline_lib.window"])
def test_modules_load_without_a_backend(module):
    assert_no_backend(f"import {module}")


def assert_no_backend(code):
    check = f"import sys\n{code}\nprint(*sorted(set(sys.modules) & {BACKENDS!r}))"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_search_programs_import_nothing_that_loads_a_backend():
    """Everything that these programs import, wherever in the file, loaded at once."""
    wanted = set()
    for program in WITHOUT_BACKEND:
        tree = ast.parse((ROOT / f"scripts/{program}.py").read_text(encoding="utf-8"))
        nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
        wanted |= {ast.unparse(node) for node in nodes}
    assert any("nets" in line for line in wanted)
    assert_no_backend("\n".join(sorted(wanted)))


def pins(lock):
    """{package: [version and marker, ...]} of a lock file."""
    found = {}
    for package, version in re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\\\n]+?)\s*\\?$", lock, flags=re.MULTILINE):
        found.setdefault(package, []).append(version)
    return found


LOCKS = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "envs").glob("*.txt"))}


def test_conda_environment_is_made_of_the_lock():
    written = (ROOT / "envs/evopose.yaml").read_text(encoding="utf-8")
    assert written == conda_environment.environment(LOCKS["lock.txt"])
    packages = yaml.safe_load(written)["dependencies"][-1]["pip"]
    listed = {}
    for line in packages:
        package, version = line.split("==", 1)
        listed.setdefault(package, []).append(version)
    assert listed == pins(LOCKS["lock.txt"])
    assert "--hash" not in written


def test_conda_environment_keeps_versions_and_markers():
    lock = "a-b==1.2 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nc==3 ; sys_platform == 'win32' \\\n    --hash=sha256:22\n"
    made = conda_environment.environment(lock)
    assert made.endswith("  - pip:\n      - a-b==1.2\n      - c==3 ; sys_platform == 'win32'\n")
    assert yaml.safe_load(made)["channels"] == ["conda-forge", "nodefaults"]


def test_locks_are_exact_hashed_and_name_no_host():
    assert set(LOCKS) == {"lock.txt", "lock-tpu.txt", "lock-jax.txt", "lock-cluster.txt"}
    for text in LOCKS.values():
        assert "://" not in text and "--index" not in text and "--find-links" not in text and " @ " not in text
        for block in re.split(r"\n(?=\S)", text.strip()):
            assert re.match(r"[a-z0-9][a-z0-9._-]*==\S+", block), block[:80]
            assert "--hash=sha256:" in block, block[:80]


def test_locks_differ_in_tensorflow_alone():
    cpu, tpu = pins(LOCKS["lock.txt"]), pins(LOCKS["lock-tpu.txt"])
    assert len(cpu) > 100
    # TensorFlow's own requirements: HDF5, and TensorBoard with what that needs.
    of_tensorflow = {"h5py", "tensorboard", "tensorboard-data-server", "markdown", "werkzeug"}
    different = {package for package in cpu.keys() | tpu.keys() if cpu.get(package) != tpu.get(package)}
    assert different <= {"tensorflow", "tensorflow-tpu", "libtpu"} | of_tensorflow
    assert "tensorflow-tpu" not in cpu and "libtpu" not in cpu and "tensorflow" not in tpu
    assert tpu["libtpu"] == ["0.0.21"] and tpu["tensorflow-tpu"] == ["2.20.0"]
    assert cpu["tensorflow"][0].startswith("2.21.")


def test_the_lock_of_jax_is_the_plain_one_and_jax():
    """One environment trains under JAX and compiles for a TPU."""
    cpu, jax = pins(LOCKS["lock.txt"]), pins(LOCKS["lock-jax.txt"])
    assert {package: versions for package, versions in jax.items() if package in cpu} == cpu
    assert jax.keys() - cpu.keys() == {"jax", "jaxlib", "libtpu", "scipy"}
    assert jax["jax"] == jax["jaxlib"] == ["0.10.2"]


def test_the_lock_of_clusters_goes_beside_the_plain_one():
    """What both have is the same; only executors, Dask, and what tests of clusters need are added."""
    cpu, cluster = pins(LOCKS["lock.txt"]), pins(LOCKS["lock-cluster.txt"])
    assert {package: versions for package, versions in cluster.items() if package in cpu} == {
        package: versions for package, versions in cpu.items() if package in cluster
    }
    added = {package.removeprefix("snakemake-executor-plugin-") for package in cluster.keys() - cpu.keys()}
    of_executors = {"slurm", "slurm-jobstep", "cluster-generic"}
    of_dask = {
        "dask",
        "distributed",
        "click",
        "cloudpickle",
        "importlib-metadata",
        "lazy-importer",
        "locket",
        "msgpack",
        "partd",
    }
    of_dask |= {"sortedcontainers", "tblib", "toolz", "tornado", "zict", "zipp"}
    assert added <= of_executors | of_dask | {"gcp-storage-emulator", "kubernetes-validate", "importlib-resources"}
    assert {*of_executors, "dask", "distributed", "gcp-storage-emulator", "kubernetes-validate"} <= added
    assert not any(package.startswith("snakemake-executor-plugin") for package in cpu)


def test_every_rule_with_an_accelerator_asks_slurm_for_it():
    rules = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "workflow/rules").glob("*.smk"))
    parts = re.split(r"^ *rule (\w+):\n", rules, flags=re.MULTILINE)[1:]
    wanted = {rule for rule, body in zip(parts[::2], parts[1::2], strict=True) if "accelerator=" in body}
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    assert {rule for rule, own in profile["set-resources"].items() if own["gres"] == "'tpu:1'"} == wanted
    assert len(wanted) == 6


def test_profiles():
    """A profile named `default` would be taken by every run."""
    profiles = ROOT / "profiles"
    assert not (profiles / "default").exists() and not (ROOT / "workflow/profiles").exists()
    assert {"local", "tpu"} <= {path.name for path in profiles.iterdir()}
    link = ROOT / "tpu"
    assert link.is_symlink() and str(link.readlink()) == "profiles/tpu"
    device = {
        path.parent.name: yaml.safe_load(path.read_text(encoding="utf-8"))["default-resources"]["device"].strip("'")
        for path in profiles.glob("*/config.yaml")
    }
    assert device["tpu"] == "tpu" and device["local"] == "auto"


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*/config.yaml")), ids=lambda path: path.parent.name)
def test_profiles_repeat_what_was_killed_and_not_what_was_paid_for(path):
    """Retries stand here, never in the rules: those of a rule are applied again inside each job of a cluster."""
    profile = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert profile["rerun-incomplete"] is profile["show-failed-logs"] is True
    local = path.parent.name == "local"
    # An edit of the code does not repeat the trainings that were paid for; a changed parameter does.
    assert profile.get("rerun-triggers") == (None if local else ["mtime", "params", "input"])
    assert profile.get("retries", 0) == (0 if path.parent.name == "local" else 2)
    assert bool(profile.get("keep-going")) is not local
    on_one_machine = path.parent.name in ("local", "tpu", "gpu")
    assert ("executor" in profile) is not on_one_machine
    assert ("accelerator" in profile.get("resources", {})) is on_one_machine  # a cluster counts its own
    assert profile.get("cores") == ("all" if on_one_machine else None)
    assert not any("slurm-array" in key for key in profile)
    rules = "".join(rules.read_text(encoding="utf-8") for rules in (ROOT / "workflow/rules").glob("*.smk"))
    assert not re.search(r"^ +retries:", rules, re.MULTILINE)


@pytest.mark.parametrize("path", sorted((ROOT / "profiles").glob("*/config.yaml")), ids=lambda path: path.parent.name)
def test_every_key_of_a_profile_is_explained(path):
    """On its own line or on the one before; of the resources of single rules, all at once."""
    section, before = "", "#"
    for line in path.read_text(encoding="utf-8").splitlines():
        if key := re.match(r"( *)([\w.-]+):(?= |$)", line):
            section = section if key[1] else key[2]
            within = section == "set-resources" and key[1]
            opens = line.rstrip() in ("default-resources:", "resources:")
            assert within or opens or re.search(r"# \S", line) or re.match(r" *# \S", before), line
        before = line


def test_every_rule_has_the_environment_and_a_log_and_only_what_computes_is_submitted_to_a_cluster():
    rules = {}
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        parts = re.split(r"^ *rule (\w+):\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        bodies = (re.split(r"^ *use rule ", part, flags=re.MULTILINE)[0] for part in parts[1::2])
        rules |= {rule: body for rule, body in zip(parts[::2], bodies, strict=True) if "shell:" in body}
    for rule, body in rules.items():
        assert re.search(r'^ +conda:\n +"../../envs/evopose.yaml"$', body, re.MULTILINE), rule
        assert re.search(r"^ +log:$", body, re.MULTILINE), rule
    submitted = {rule for rule, body in rules.items() if "localrule: True" not in body}
    # A rule made from another one does not inherit that.
    for path in (ROOT / "workflow/rules").glob("*.smk"):
        parts = re.split(r"^ *use rule (\w+) as (\w+) with:\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[
            1:
        ]
        for of, rule, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            assert of in submitted or "localrule: True" in re.split(r"^ *rule ", body, flags=re.MULTILINE)[0], rule
    computing = {"synthesize", "convert", "train_child", "train_model", "predict", "latency", "seed_ancestor"}
    computing |= {"train_refiner", "refine", "validate"}
    assert submitted == computing
