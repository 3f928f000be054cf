"""Data in a bucket: against a real emulator of Google's storage, whose answers a proxy loses, cuts and refuses."""

import copy
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline_lib import buckets, mirror, remote, restore
from pipeline_lib.config import COCO_KEYPOINTS, ConversionSettings, ValidationConfig
from pipeline_lib.data import records
from pipeline_lib.data.cache import Cache, ReadAhead, Shard
from pipeline_lib.data.convert import convert
from pipeline_lib.data.images import read as read_image
from pipeline_lib.data.validation import validate
from pipeline_lib.errors import ArtifactError, ConfigError, DataError, StorageError
from tests.cluster.conftest import need_package
from tests.cluster.emulator import BUCKET, Fault, Storage, emulating, free_port
from tests.workflow.conftest import ROOT, TINY, Workplace

ROOM = 1e-9  # gigabytes a byte
READING = r"alt=media"
CONTENT = bytes(range(256)) * 1200 + b"\r"


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    need_package("gcp-storage-emulator")
    with emulating(tmp_path_factory.mktemp("emulator")) as storage, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", storage.url)
        yield storage


@pytest.fixture
def storage(emulator: Storage) -> Iterator[Storage]:
    """The running emulator, its bucket empty, with no faults."""
    for name in buckets.names(f"gs://{BUCKET}"):
        buckets.remove(f"gs://{BUCKET}/{name}")
    emulator.faults.clear()
    emulator.asked.clear()
    emulator.met.clear()
    yield emulator
    emulator.faults.clear()


def put(folder: Path, address: str) -> None:
    """Copy a folder into the bucket."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            buckets.upload(path, f"{address}/{path.relative_to(folder).as_posix()}")


@pytest.mark.parametrize("content", [b"", b"\r", b"line\r\n", b"\r" * 3, CONTENT], ids=len)
def test_what_is_written_is_read(storage: Storage, tmp_path: Path, content: bytes) -> None:
    address = f"gs://{BUCKET}/a folder/100% #1.bin"
    (tmp_path / "sent").write_bytes(content)
    buckets.upload(tmp_path / "sent", address)
    assert buckets.read(address) == content
    buckets.fetch(address, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == content
    assert buckets.stat(address).size == len(content)
    assert buckets.names(f"gs://{BUCKET}/a folder") == ["100% #1.bin"]


@pytest.mark.parametrize(
    "fault",
    [Fault("GET", READING, status=503), Fault("GET", READING, cut=999), Fault("GET", READING, lost=True)],
    ids=["503", "cut", "lost"],
)
def test_a_download_that_fails_in_passing_is_tried_again(storage: Storage, tmp_path: Path, fault: Fault) -> None:
    address = f"gs://{BUCKET}/one"
    buckets.write(address, CONTENT)
    storage.faults.append(fault)
    assert buckets.read(address) == CONTENT
    fault.times = 1
    buckets.fetch(address, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == CONTENT
    assert len(storage.met) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", "upload", status=503),
        Fault("POST", "upload_id", status=503),
        Fault("POST", "upload_id", lost=True),
        Fault("POST", "upload_id", cut=10),
    ],
    ids=["503 at its beginning", "503", "lost", "cut"],
)
def test_an_upload_that_fails_in_passing_is_tried_again(storage: Storage, fault: Fault) -> None:
    address = f"gs://{BUCKET}/one"
    storage.faults.append(fault)
    buckets.write(address, CONTENT)
    assert buckets.read(address) == CONTENT and storage.met


def test_an_upload_that_fails_for_good_leaves_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "PATIENCE", 1.0)
    address = f"gs://{BUCKET}/one"
    storage.faults.append(Fault("POST", "upload_id", status=503, times=99))
    with pytest.raises(StorageError, match=rf"^{address}: no answer in time; check the network, and run again$"):
        buckets.write(address, CONTENT)
    assert buckets.names(f"gs://{BUCKET}") == []


def test_what_arrives_changed_is_fetched_again_and_never_taken(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"gs://{BUCKET}/one"
    buckets.write(address, CONTENT)
    original, times = buckets._ask, [1]

    def ask(url: str, method: str, *arguments: Any, **options: Any) -> Any:
        answer = original(url, method, *arguments, **options)
        if method == "get_file" and times[0]:
            times[0] -= 1
            path = Path(arguments[0])
            path.write_bytes(b"x" + path.read_bytes()[1:])
        return answer

    monkeypatch.setattr(buckets, "_ask", ask)
    buckets.fetch(address, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == CONTENT
    times[0] = 99
    with pytest.raises(StorageError, match="does not arrive as it is stored, 3 times"):
        buckets.fetch(address, tmp_path / "got")


def test_what_cannot_be_had_is_one_sentence_with_a_remedy(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"gs://{BUCKET}/one"
    with pytest.raises(FileNotFoundError):
        buckets.read(address)
    with pytest.raises(FileNotFoundError):
        buckets.read("gs://nobodys/one")
    with (
        pytest.raises(ArtifactError, match=rf"^{address}: no such file; correct the address"),
        remote.local_copy(address),
    ):
        pass
    buckets.write(address, CONTENT)
    for status in (401, 403):
        storage.faults.append(Fault("GET", "one", status=status, times=2))
        with pytest.raises(
            StorageError, match=rf"^{address}: you are not allowed .*log in \(gcloud auth .*Storage Object"
        ):
            buckets.read(address)
        storage.faults.clear()
    # Nobody listens there.
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(buckets, "PATIENCE", 2.0)
    import gcsfs

    gcsfs.GCSFileSystem.clear_instance_cache()
    # The wait is bounded: it ends.
    with pytest.raises(StorageError, match=rf"^{address}: no answer in time; check the network"):
        buckets.read(address)
    gcsfs.GCSFileSystem.clear_instance_cache()


# Images, annotations and records


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny synthetic data set, on this machine."""
    folder = tmp_path_factory.mktemp("synthetic")
    settings = json.dumps(TINY["dataset"]["synthetic"])
    command = [
        sys.executable,
        str(ROOT / "scripts/synthesize.py"),
        "--settings",
        settings,
        "--seed",
        "0",
        "--output",
        str(folder),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def annotations(folder: Path) -> Path:
    return folder / "annotations/person_keypoints_train.json"


def converted(manifest: Path, source: Path, images: remote.Place, shards: str | None = None) -> dict[str, Any]:
    return convert(
        manifest,
        annotations=annotations(source),
        images=images,
        split="train",
        purpose="training",
        schema=COCO_KEYPOINTS,
        settings=ConversionSettings(shard_size=4),
        verdict=validate(annotations(source), COCO_KEYPOINTS, ValidationConfig(), images=images),
        shards=shards,
    )


@pytest.fixture
def bucket(storage: Storage, synthetic: Path) -> str:
    """The data set in the bucket."""
    put(synthetic, f"gs://{BUCKET}/data")
    storage.asked.clear()
    return f"gs://{BUCKET}/data"


def test_a_conversion_from_bucket_to_bucket_writes_the_same_bytes(
    storage: Storage, bucket: str, synthetic: Path, tmp_path: Path
) -> None:
    here = converted(tmp_path / "here/manifest.json", synthetic, synthetic / "images/train")
    shards = f"gs://{BUCKET}/shards/train"
    for name in ("00099-of-00100.tfrecord", ".plan-old/00000-of-00001.tfrecord.json", "mine.txt"):
        buckets.write(f"{shards}/{name}", b"left")
    for fault in (
        Fault("GET", rf"images.*{READING}", status=503),
        Fault("GET", rf"images.*{READING}", cut=100, skip=5),
        Fault("POST", r"tfrecord.*upload_id", status=503),
        Fault("POST", r"tfrecord.*upload_id", lost=True, skip=1),
        Fault("GET", rf"plan.*{READING}", cut=5),
    ):
        storage.faults.append(fault)
    there = converted(tmp_path / "there/manifest.json", synthetic, remote.place(f"{bucket}/images/train"), shards)
    assert not any(fault.times for fault in storage.faults), storage.faults
    assert there.pop("folder") == shards
    assert there == here
    names = [shard["file"] for shard in here["shards"]]
    assert buckets.names(shards) == [*names, "mine.txt"], "no plans, nothing old, nothing half-written"
    for name in names:
        assert buckets.read(f"{shards}/{name}") == (tmp_path / "here" / name).read_bytes()
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["manifest.json"]


def test_images_that_are_missing_or_may_not_be_read(storage: Storage, bucket: str, synthetic: Path) -> None:
    images = remote.place(f"{bucket}/images/train")
    name = json.loads(annotations(synthetic).read_text())["images"][3]["file_name"]
    policies = ValidationConfig(missing_image="drop", unreadable_image="drop")
    whole = validate(annotations(synthetic), COCO_KEYPOINTS, policies, images=images)
    buckets.remove(f"{images}/{name}")
    found = validate(annotations(synthetic), COCO_KEYPOINTS, policies, images=images)
    assert found.number_dropped("images") == {"missing_image": 1}
    assert len(found.digests) == len(whole.digests) - 1
    # No policy makes a picture unreadable because the bucket may not be read.
    storage.faults.append(Fault("GET", READING, status=403, times=99))
    with pytest.raises(StorageError, match="you are not allowed"):
        validate(annotations(synthetic), COCO_KEYPOINTS, policies, images=images)
    storage.faults.clear()
    with pytest.raises(DataError, match=r"evo/nowhere: no such folder of images; correct the path"):
        validate(annotations(synthetic), COCO_KEYPOINTS, policies, images=remote.place(f"gs://{BUCKET}/nowhere"))
    with pytest.raises(DataError, match=r"none.jpg: not readable as an image \(No such file"):
        read_image(images / "none.jpg")


def test_records_of_a_bucket_are_those_of_the_disk(
    storage: Storage, bucket: str, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOPOSE_CACHE", str(tmp_path / "cache"))
    shards = f"gs://{BUCKET}/shards"
    here, there = tmp_path / "here/manifest.json", tmp_path / "there/manifest.json"
    converted(here, synthetic, synthetic / "images/train")
    content = converted(there, synthetic, synthetic / "images/train", shards)
    storage.asked.clear()
    storage.faults += [Fault("GET", rf"tfrecord.*{READING}", status=503), Fault("GET", rf"tfrecord.*{READING}", cut=50)]
    for _ in range(2):
        one, other = (
            records.dataset(manifest, height=32, width=24, batch=5, seed=3, epochs=2, shuffle=True, threads=2)
            for manifest in (here, there)
        )
        for left, right in zip(one.as_numpy_iterator(), other.as_numpy_iterator(), strict=True):
            for part, same in zip(left, right, strict=True):
                np.testing.assert_array_equal(part, same)
    assert storage.number("GET", rf"tfrecord.*{READING}") == len(content["shards"]) + 2, "each is fetched once"
    kept = {path.name: path.stat().st_size for path in (tmp_path / "cache").iterdir() if path.name != "lock"}
    assert kept == {shard["sha256"]: shard["bytes"] for shard in content["shards"]}
    # The manifest may be in the bucket, too.
    buckets.upload(here, f"{shards}/manifest.json")
    again = records.read_manifest(f"{shards}/manifest.json")
    assert [str(shard.path) for shard in again.shards] == [f"{shards}/{shard['file']}" for shard in content["shards"]]


def shard(number: int, size: int = 1000) -> Shard:
    """A shard in the bucket, its content told by its number."""
    content = hashlib.sha256(str(number).encode()).digest() * (size // 32 + 1)
    address = f"gs://{BUCKET}/{number:02d}"
    buckets.write(address, content[:size])
    return Shard(remote.Remote(address), 1, size, hashlib.sha256(content[:size]).hexdigest())


def content(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read()


def occupied(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_the_cache_keeps_what_was_used_last_within_its_limit(storage: Storage, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 3500)
    shards = [shard(number) for number in range(5)]
    for number in (0, 1, 2, 0, 3):
        assert hashlib.sha256(content(cache.open(shards[number]))).hexdigest() == shards[number].sha256
        time.sleep(0.01)
    assert [cache.has(one) for one in shards] == [True, False, True, True, False]
    assert occupied(cache.folder) <= 3500
    with pytest.raises(
        ConfigError, match=r"storage\.cache_gb: 3\.5e-06 GB are less than one shard, gs://evo/09; raise it"
    ):
        cache.open(shard(9, 4000))


def test_the_cache_never_takes_another_shard(storage: Storage, tmp_path: Path) -> None:
    cache, one = Cache(tmp_path / "cache", 10_000), shard(1)
    buckets.write(str(one.path), b"x" * 1000)
    with pytest.raises(
        ArtifactError, match=r"^gs://evo/01: not the shard that the manifest lists; run the conversion again"
    ):
        cache.open(one)
    buckets.remove(str(one.path))
    with pytest.raises(ArtifactError, match=r"^gs://evo/01: no such shard in the bucket; run the conversion again"):
        cache.open(one)
    assert [path.name for path in cache.folder.iterdir()] == ["lock"]
    # One that a crash of the machine cut short is fetched anew.
    one = shard(1)
    (cache.folder / one.sha256).write_bytes(b"cut")
    assert len(content(cache.open(one))) == 1000


def test_a_cache_that_cannot_be_written(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"shards cannot be kept here .*storage\.cache_gb, or name another"):
        Cache(tmp_path / "file/cache", 10_000).open(shard(1))


def _use(folder: Path, limit: int, shards: list[Shard], seed: int, ends: Any) -> None:
    """A process that reads shards in an order of its own, and looks whether the cache keeps its limit."""
    cache = Cache(folder, limit)
    largest = 0
    for number in np.random.default_rng(seed).integers(0, len(shards), 60).tolist():
        right = hashlib.sha256(content(cache.open(shards[number]))).hexdigest() == shards[number].sha256
        with_suppressed = [path for path in os.scandir(folder) if path.name != "lock"]
        sizes = 0
        for entry in with_suppressed:
            try:
                sizes += entry.stat().st_size
            except FileNotFoundError:
                continue
        largest = max(largest, sizes)
        if not right:
            ends.put("wrong content")
            return
    ends.put(largest)


def test_processes_share_a_cache(storage: Storage, tmp_path: Path) -> None:
    shards = [shard(number, 20_000) for number in range(8)]
    context = multiprocessing.get_context("spawn")
    ends: Any = context.Queue()
    limit = 70_000
    users = [context.Process(target=_use, args=(tmp_path / "cache", limit, shards, seed, ends)) for seed in range(3)]
    for user in users:
        user.start()
    found = [ends.get(timeout=120) for _ in users]
    for user in users:
        user.join()
    assert all(isinstance(largest, int) and largest <= limit for largest in found), found
    assert not [path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith(".")]


def test_what_a_killed_process_left_of_a_download_is_no_shard_and_goes(storage: Storage, tmp_path: Path) -> None:
    shards = [shard(number, 400_000) for number in range(3)]
    folder = tmp_path / "cache"
    program = (
        "import sys; from pathlib import Path; from pipeline_lib.data.cache import *\n"
        f"Cache(Path({str(folder)!r}), 10**6).open(Shard(Remote({str(shards[0].path)!r}), 1, 400000, {shards[0].sha256!r}))"
    )
    storage.faults.append(Fault("GET", READING, hold=True))
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)})
    while not storage.held:
        time.sleep(0.02)
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    storage.release()
    left = {path.name.rpartition(".")[2] for path in folder.iterdir() if path.name.startswith(".")}
    assert left == {"tmp", "lock"}
    cache = Cache(folder, 10**6)
    for one in shards[1:]:
        assert len(content(cache.open(one))) == 400_000
    assert sorted(path.name for path in folder.iterdir()) == sorted(["lock", *(one.sha256 for one in shards[1:])])
    assert len(content(cache.open(shards[0]))) == 400_000


def test_shards_are_read_ahead_in_the_order_of_use(storage: Storage, tmp_path: Path) -> None:
    shards = [shard(number) for number in range(6)]
    ahead = ReadAhead(shards, Cache(tmp_path / "cache", 4000))
    ahead.together(2)  # two more have room
    order = [4, 1, 5, 0, 2, 3]
    ahead.follow(order)
    content(ahead.open(4))
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not all(
        Cache(tmp_path / "cache", 1).has(shards[number]) for number in (1, 5)
    ):
        time.sleep(0.01)
    fetched = [path for method, path in storage.asked if "alt=media" in path]
    assert sorted(re.search(r"%2F(\d+)|/o/(\d+)\?", path)[0][-3:-1] for path in fetched) == ["01", "04", "05"]
    for number in order:
        assert len(content(ahead.open(number))) == 1000
    with pytest.raises(
        ConfigError, match=r"storage\.cache_gb: 4e-06 GB hold 4 of the shards of gs://evo, but 5 are read"
    ):
        ReadAhead(shards, Cache(tmp_path / "cache", 4000)).together(5)


# The whole workflow


def test_the_workflow_with_its_data_in_a_bucket(
    storage: Storage, bucket: str, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing shows where images, annotations, detections and shards lie."""
    monkeypatch.setenv("EVOPOSE_CACHE", str(tmp_path / "cache"))
    results = {}
    for name, source, shards in (("disk", str(synthetic), None), ("bucket", bucket, f"gs://{BUCKET}/shards")):
        config = copy.deepcopy(TINY)
        config["dataset"] = {
            "name": "tiny",
            "train": {
                "images": f"{source}/images/train",
                "annotations": f"{source}/annotations/person_keypoints_train.json",
            },
            "val": {
                "images": f"{source}/images/val",
                "annotations": f"{source}/annotations/person_keypoints_val.json",
                "detections": f"{source}/annotations/person_detections_val.json",
            },
        }
        config["conversion"] = {"shard_size": 8, "shards": shards}
        (tmp_path / name).mkdir()
        place = Workplace(tmp_path / name)
        place.configure(config)
        if name == "bucket":
            storage.faults += [
                Fault("GET", rf"annotations.*{READING}", status=503),
                Fault("GET", rf"annotations.*{READING}", cut=999, skip=1),
                Fault("GET", rf"tfrecord.*{READING}", cut=999),
                Fault("POST", r"tfrecord.*upload_id", status=503),
            ]
        targets = ["search/gen_000/population.csv", "mean_pose/metrics_ground_truth.json"]
        asked = [f"results/tiny/{target}" for target in targets]
        done = place.snakemake(*asked, "results/data/tiny/images/val_detections/manifest.json")
        assert done.returncode == 0, done.stderr[-6000:]
        results[name] = place.folder / "results"
        if name == "bucket":
            assert not any(fault.times for fault in storage.faults), storage.faults
            assert "Nothing to be done" in place.snakemake(*asked).stderr
    for path in (*targets, "search/gen_000/parents/0.safetensors"):
        assert (results["disk"] / "tiny" / path).read_bytes() == (results["bucket"] / "tiny" / path).read_bytes(), path
    manifests = [
        json.loads((at / "data/tiny/images/val_detections/manifest.json").read_text()) for at in results.values()
    ]
    assert manifests[1].pop("folder").startswith(f"gs://{BUCKET}/shards") and manifests[0] == manifests[1]
    assert not list((results["bucket"] / "data").rglob("*.tfrecord"))


def test_a_job_that_cannot_read_the_bucket_says_why(storage: Storage, bucket: str, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    config = copy.deepcopy(TINY)
    config["dataset"] = {
        "name": "tiny",
        **{
            split: {"images": f"{bucket}/images/{split}", "annotations": f"{bucket}/annotations/nobody_{split}.json"}
            for split in ("train", "val")
        },
    }
    place.configure(config)
    done = place.snakemake("data")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert (
        f"{bucket}/annotations/nobody_val.json: no such object, or no such bucket; correct the address" in done.stderr
    )
    storage.faults.append(Fault("GET", "nobody", status=403, times=99))
    done = place.snakemake("data")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    assert "you are not allowed to read or write there; log in" in done.stderr
    shutil.rmtree(place.folder / ".snakemake")


# The mirror


def test_a_search_is_mirrored_as_it_grows_and_restored_elsewhere(storage: Storage, tmp_path: Path) -> None:
    config = copy.deepcopy(TINY)
    config["search"] |= {"children": 1, "parents": 1, "compare_scratch": False}
    config["storage"] = {"mirror": f"gs://{BUCKET}/mirror"}
    for name in ("made", "restored"):
        (tmp_path / name).mkdir()
    made, restored = Workplace(tmp_path / "made"), Workplace(tmp_path / "restored")
    made.configure(config)
    # The copy of the first generation fails for good, an upload of a later one in passing.
    storage.faults += [
        Fault("POST", "upload.*gen_000", status=403, times=1),
        Fault("POST", "upload_id.*gen_001", lost=True),
    ]
    done = made.snakemake()
    assert done.returncode == 0, done.stderr[-6000:]
    assert not any(fault.times for fault in storage.faults), storage.faults
    assert "you are not allowed to read or write there" in done.stderr and "makes up for it" in done.stderr
    problems = [
        json.loads(path.read_text())["problem"] for path in sorted((made.folder / RESULTS / "mirror").iterdir())
    ]
    assert [problem is None for problem in problems] == [True, False, True]  # all, generations 0 and 1
    there = {name for name in buckets.names(f"gs://{BUCKET}/mirror") if not name.endswith("artifacts.json")}
    here = {
        path.relative_to(made.folder / "results").as_posix()
        for path in (made.folder / "results").rglob("*")
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(made.folder).parts)
    }
    assert there == here
    assert "Nothing to be done" in made.snakemake().stderr

    restored.configure(config)
    storage.faults.append(Fault("GET", rf"champion.safetensors.*{READING}", cut=99))
    folders = ["results/data/tiny", "results/tiny"]
    command = [
        sys.executable,
        str(ROOT / "scripts/restore_artifacts.py"),
        "--source",
        f"gs://{BUCKET}/mirror",
        *folders,
    ]
    for _ in range(2):
        done = subprocess.run(command, cwd=restored.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert "results/tiny: 0 files fetched" in done.stderr
    for name in here:
        assert (restored.folder / "results" / name).read_bytes() == (made.folder / "results" / name).read_bytes(), name
    assert "Nothing to be done" in restored.snakemake().stderr


RESULTS = "results/tiny"


def test_a_mirror_that_is_damaged_is_never_restored_from(storage: Storage, tmp_path: Path) -> None:
    folder, to = tmp_path / "results/mine", f"gs://{BUCKET}/mirror/mine"
    (folder / "search").mkdir(parents=True)
    for name in ("one", "search/two", "search/three"):
        (folder / name).write_text(name)
    assert mirror.address(f"gs://{BUCKET}/mirror", folder) == to
    assert mirror.copy(folder, to, ["search/"]).new == 2
    assert mirror.copy(folder, to).new == 1
    (folder / "one").write_text("changed")
    (folder / "search/two").unlink()
    assert mirror.copy(folder, to) == mirror.Copied(2, 1, 7)
    other = tmp_path / "other/results/mine"
    assert mirror.fetch(to, other) == 3
    assert {
        path.name: path.read_text() for path in other.rglob("*") if path.is_file() and path.name != "artifacts.json"
    } == {
        "one": "changed",
        "two": "search/two",
        "three": "search/three",
    }
    restore.restore([other])
    # One that was changed there behind our back is fetched, and refused.
    buckets.write(f"{to}/one", b"chanced")
    (other / "one").unlink()
    mirror.fetch(to, other)
    with pytest.raises(ArtifactError, match=r"not as listed in artifacts\.json: one"):
        restore.restore([other])
    buckets.remove(f"{to}/one")
    with pytest.raises(ArtifactError, match=rf"^{to}/one: listed, but not there"):
        mirror.fetch(to, other)
    buckets.write(f"{to}/artifacts.json", b'{"files": {"../../x": {"sha256": "' + b"0" * 64 + b'", "bytes": 1}}}')
    with pytest.raises(ArtifactError, match="it lists what is not in"):
        mirror.fetch(to, other)
    with pytest.raises(ArtifactError, match=r"nowhere/artifacts\.json: no such file; name the mirror"):
        mirror.fetch(f"gs://{BUCKET}/nowhere", other)
