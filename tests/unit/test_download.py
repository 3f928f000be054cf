"""Getting a data set: from a server that misbehaves, after kills, and with what lies there. Nothing is got twice."""

import fcntl
import hashlib
import json
import logging
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest
import yaml

from pipeline_lib import config
from pipeline_lib.config import DatasetConfig, DownloadConfig
from pipeline_lib.data import download, obtain, unpack
from pipeline_lib.data.download import Client
from pipeline_lib.data.inventory import inventory
from pipeline_lib.errors import DataError
from tests import loopback

ROOT = Path(__file__).parents[2]
ARCHIVES = loopback.archives()
VAL = ARCHIVES["/zips/val2017.zip"]
CUT = 150_000  # bytes: longer than what is written at once, and less than half of an archive of images


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server():
    with loopback.serving(dict(ARCHIVES)) as one:
        yield one


@pytest.fixture
def client():
    with Client(attempts=3, pause=0) as one:
        yield one


@pytest.fixture
def settings(server, tmp_path):
    return DownloadConfig.model_validate(loopback.settings(ARCHIVES, server.url, str(tmp_path / "data/coco")))


def changed(settings, name="val2017", /, **values):
    """Settings with other values of one archive."""
    archive = settings.archives[name].model_copy(update=values)
    return settings.model_copy(update={"archives": {**settings.archives, name: archive}})


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def images(split="val"):
    names = zipfile.ZipFile(loopback.io.BytesIO(ARCHIVES[f"/zips/{split}2017.zip"]))
    return {name: names.read(name) for name in names.namelist() if not name.endswith("/")}


def fetch(client, server, target, **values):
    given = {"size": len(VAL), "md5": hashlib.md5(VAL).hexdigest()} | values
    client.fetch(f"{server.url}/zips/val2017.zip", target, **given)


# One file


def test_a_file_is_fetched_at_once(client, server, tmp_path):
    fetch(client, server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == VAL
    assert server.begins == [0]


def test_cut_connections_are_gone_on_with(client, server, tmp_path):
    # More cuts than attempts: what counts is that each got further.
    server.cuts = [80_000] * 4
    fetch(client, server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == VAL
    assert len(server.begins) == 5
    assert server.begins == sorted(set(server.begins)) and server.begins[1] > 0


def test_what_an_earlier_run_has_fetched_is_not_fetched_again(client, server, tmp_path):
    (tmp_path / "a.zip").write_bytes(VAL[:100_001])
    fetch(client, server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == VAL
    assert server.begins == [100_001]
    fetch(client, server, tmp_path / "a.zip")
    assert server.begins == [100_001]


def test_a_server_that_gets_no_further_is_given_up_and_the_part_kept(client, server, tmp_path):
    server.cuts = [1000] * 99
    (tmp_path / "a.zip").write_bytes(VAL[:70_000])
    with pytest.raises(DataError, match=r"cut 3 times without getting beyond 70,000 of .* try again later"):
        fetch(client, server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == VAL[:70_000]
    assert server.begins == [70_000] * 3


def test_a_server_without_ranges_starts_over(client, server, tmp_path, caplog):
    server.ranges = False
    server.cuts = [CUT] * 2
    fetch(client, server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == VAL
    assert len(server.begins) == 3
    assert "starting over" in caplog.text


def test_a_server_without_ranges_that_is_always_cut_is_given_up(client, server, tmp_path):
    server.ranges = False
    server.cuts = [CUT] * 99
    with pytest.raises(DataError, match="cut 3 times without getting beyond"):
        fetch(client, server, tmp_path / "a.zip")
    assert len(server.begins) == 4  # the first came further than nothing


def test_getting_less_far_than_before_is_no_progress(client, server, tmp_path):
    server.ranges = False
    server.cuts = [CUT, 80_000, CUT - 1, CUT, 300_000, 99]
    with pytest.raises(DataError, match="cut 3 times without getting beyond"):
        fetch(client, server, tmp_path / "a.zip")
    assert len(server.begins) == 4


def test_a_wrong_byte_is_fetched_once_more(client, server, tmp_path, caplog):
    server.wrong = 1
    fetch(client, server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == VAL
    assert server.begins == [0, 0]
    assert "wrong bytes have come" in caplog.text


def test_bytes_that_stay_wrong_are_an_error_and_not_kept(client, server, tmp_path):
    server.wrong = 99
    md5 = hashlib.md5(VAL).hexdigest()
    with pytest.raises(DataError, match=rf"the MD5 is [0-9a-f]{{32}}, {md5} is expected, twice"):
        fetch(client, server, tmp_path / "a.zip")
    assert server.begins == [0, 0]
    assert not (tmp_path / "a.zip").exists()


def test_a_file_that_is_too_long_is_another(client, server, tmp_path):
    (tmp_path / "a.zip").write_bytes(VAL + b"more")
    fetch(client, server, tmp_path / "a.zip")
    assert server.begins == [0]


def test_passing_answers_are_waited_for(client, server, tmp_path):
    server.statuses = [503, 429]
    fetch(client, server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == VAL
    assert len(server.begins) == 3


def test_a_server_that_stays_away_is_an_error(client, server, tmp_path):
    server.statuses = [503] * 99
    (tmp_path / "a.zip").write_bytes(VAL[:10])
    with pytest.raises(DataError, match=r"val2017.zip: the server answers 503 .*3 times; try again later"):
        fetch(client, server, tmp_path / "a.zip")
    assert len(server.begins) == 3
    assert (tmp_path / "a.zip").read_bytes() == VAL[:10]


@pytest.mark.parametrize("status", [403, 404])
def test_an_answer_that_stays_is_an_error_at_once(client, server, tmp_path, status):
    server.statuses = [status]
    with pytest.raises(DataError, match=rf"the server answers {status} .*; correct the address .*by hand"):
        fetch(client, server, tmp_path / "a.zip")
    assert len(server.begins) == 1
    assert not (tmp_path / "a.zip").exists()


def test_nobody_there(client, server, tmp_path):
    with loopback.serving({}) as gone:
        address = gone.url
    with pytest.raises(DataError, match=r"no answer after 3 attempts \(.*refused.*\); check the network"):
        client.fetch(f"{address}/a.zip", tmp_path / "a.zip", size=1, md5="0" * 32)


@pytest.mark.parametrize("already", [0, 1000])
def test_a_server_that_has_another_file(client, server, tmp_path, already):
    server.added = 7
    (tmp_path / "a.zip").write_bytes(VAL[:already])
    with pytest.raises(DataError, match=rf"has {len(VAL) + 7:,} bytes, {len(VAL):,} are expected"):
        fetch(client, server, tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == VAL[:already]


def test_the_size_is_asked_for(client, server):
    assert client.size(f"{server.url}/zips/val2017.zip") == len(VAL)
    assert server.begins == []  # nothing is fetched for it
    server.files["/empty"] = b""
    with pytest.raises(DataError, match="does not say how long"):
        client.size(f"{server.url}/empty")


def test_a_full_disk_is_one_message(tmp_path):
    with (
        pytest.raises(DataError, match=r"a\.zip: No space left on device; make room"),
        download.full_disk_explained(tmp_path / "a.zip"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"a")
    with pytest.raises(FileNotFoundError), download.full_disk_explained(tmp_path):
        (tmp_path / "nothing").read_bytes()


def test_progress_is_told(client, server, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(download, "INTERVAL", 0)
    (tmp_path / "a.zip").write_bytes(VAL[:100_000])
    fetch(client, server, tmp_path / "a.zip")
    lines = [record.getMessage() for record in caplog.records]
    fetching = [line for line in lines if line.startswith("fetching a.zip: ")]
    assert re.fullmatch(r"fetching a.zip: \d+ %, 0\.\d\d MB of 0\.36 MB, \d+\.\d MB/s, 0:00:00 left", fetching[0])
    shares = [int(re.search(r"(\d+) %", line)[1]) for line in fetching]
    assert shares == sorted(shares) and shares[0] > 27 and shares[-1] == 100
    assert any(line.startswith("verifying a.zip: 100 %") for line in lines)


@pytest.mark.parametrize(
    ("number", "text"), [(19_336_861_798, "19.34 GB"), (252_907_541, "0.25 GB"), (1_100_000, "1.10 MB")]
)
def test_sizes_for_people(number, text):
    assert download.gigabytes(number) == text


# An archive


def test_an_archive_becomes_the_files_that_are_wanted(client, server, settings):
    folder = Path(settings.folder)
    record = obtain.obtain(settings, "val2017", client)
    assert files_below(folder) == images()
    assert record["source"] == "downloaded" and record["members"] == {"val2017": loopback.IMAGES}
    assert record["url"] == f"{server.url}/zips/val2017.zip"
    # Other members of an archive stay in it; two archives fill one folder.
    obtain.obtain(settings, "annotations_trainval2017", client)
    obtain.obtain(settings, "image_info_test2017", client)
    assert sorted(path.name for path in (folder / "annotations").iterdir()) == [
        "image_info_test-dev2017.json", "person_keypoints_train2017.json", "person_keypoints_val2017.json",
    ]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == ["annotations", "val2017"]


def test_what_is_there_is_used(client, server, settings):
    obtain.obtain(settings, "val2017", client)
    server.asked.clear()
    folder = Path(settings.folder) / "val2017"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    (folder / ".DS_Store").touch()
    assert obtain.obtain(settings, "val2017", client)["source"] == "there"
    assert server.asked == []
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir() if path.name[0] != "."} == before


def test_a_folder_put_there_by_hand_needs_no_writing(client, server, settings, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    for name, content in images().items():
        (elsewhere / name).parent.mkdir(parents=True, exist_ok=True)
        (elsewhere / name).write_bytes(content)
    Path(settings.folder).mkdir(parents=True)
    (Path(settings.folder) / "val2017").symlink_to(elsewhere / "val2017")
    Path(settings.folder).chmod(0o555)
    assert obtain.obtain(settings, "val2017", client)["source"] == "there"
    assert server.asked == [] and [path.name for path in Path(settings.folder).iterdir()] == ["val2017"]


def test_an_archive_put_there_by_hand_is_verified_used_and_kept(client, server, settings):
    folder = Path(settings.folder)
    folder.mkdir(parents=True)
    (folder / "val2017.zip").write_bytes(VAL)
    assert obtain.obtain(settings, "val2017", client)["source"] == "archive"
    assert server.asked == []
    assert files_below(folder) == {**images(), "val2017.zip": VAL}


def test_a_wrong_archive_put_there_by_hand_is_named_and_not_touched(client, server, settings):
    given = Path(settings.folder) / "val2017.zip"
    given.parent.mkdir(parents=True)
    wrong = VAL[:-1] + b"?"
    given.write_bytes(wrong)
    with pytest.raises(DataError, match=rf"val2017.zip: its MD5 is {hashlib.md5(wrong).hexdigest()}, .*delete it"):
        obtain.obtain(settings, "val2017", client)
    assert given.read_bytes() == wrong and server.asked == []


def test_half_an_archive_put_there_by_hand_can_be_completed(client, server, settings):
    given = Path(settings.folder) / "val2017.zip"
    given.parent.mkdir(parents=True)
    given.write_bytes(VAL[:CUT])
    with pytest.raises(DataError, match=rf"{CUT:,} bytes, {len(VAL):,} are expected; .* move it to (\S+) to") as caught:
        obtain.obtain(settings, "val2017", client)
    given.rename(re.search(r"move it to (\S+) to", str(caught.value))[1])
    obtain.obtain(settings, "val2017", client)
    assert server.begins == [CUT]
    assert files_below(given.parent) == images()


@pytest.mark.parametrize("number", [1, loopback.IMAGES + 1])
def test_a_folder_that_is_not_complete_is_named_and_not_touched(client, server, settings, number):
    folder = Path(settings.folder) / "val2017"
    folder.mkdir(parents=True)
    for index in range(number):
        (folder / f"{index}.jpg").touch()
    with pytest.raises(DataError, match=rf"{number} files are there, 12 are expected; complete it, or move it away"):
        obtain.obtain(settings, "val2017", client)
    assert len(list(folder.iterdir())) == number and server.asked == []


def test_an_empty_folder_and_an_empty_file_are_as_none(client, settings):
    folder = Path(settings.folder)
    (folder / "val2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    (folder / "annotations/person_keypoints_val2017.json").touch()
    obtain.obtain(settings, "val2017", client)
    obtain.obtain(settings, "annotations_trainval2017", client)
    assert unpack.number_of_files(folder / "val2017") == loopback.IMAGES
    assert json.loads((folder / "annotations/person_keypoints_val2017.json").read_bytes())


def test_one_of_two_members_put_there_by_hand_stays(client, settings):
    own = Path(settings.folder) / "annotations/person_keypoints_val2017.json"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    obtain.obtain(settings, "annotations_trainval2017", client)
    assert own.read_text() == "mine"
    assert own.with_name("person_keypoints_train2017.json").stat().st_size > 100


def test_archives_are_kept_when_asked(client, server, settings):
    settings = settings.model_copy(update={"keep_archives": True})
    obtain.obtain(settings, "val2017", client)
    assert files_below(Path(settings.folder)) == {**images(), "val2017.zip": VAL}


def test_the_size_may_be_the_servers(client, server, settings):
    obtain.obtain(settings, "image_info_test2017", client)
    assert [method for method, _, _ in server.asked] == ["HEAD", "GET"]


def test_two_at_once_do_not_write_into_the_same_file(client, server, settings):
    work = Path(settings.folder) / ".download/val2017"
    work.mkdir(parents=True)
    other = os.open(work, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_SH)
    with pytest.raises(DataError, match="another download is at work here"):
        obtain.obtain(settings, "val2017", client)
    assert server.asked == []
    os.close(other)
    obtain.obtain(settings, "val2017", client)


def test_a_folder_that_cannot_be_made(client, settings):
    Path(settings.folder).parent.mkdir()
    Path(settings.folder).touch()
    with pytest.raises(DataError, match="cannot be made"):
        obtain.obtain(settings, "val2017", client)


# Room on the disk


def test_room_is_looked_for_before_the_first_byte(client, server, settings, tmp_path):
    # Room for the archive alone, but not for what is unpacked of it, too.
    settings = changed(settings, "train2017", size=int(0.7 * obtain.shutil.disk_usage(tmp_path).free))
    # For everything that is not there, whichever archive comes first.
    with pytest.raises(DataError, match=r"GB are needed for .*\(.*train2017 .* GB.*\), .* GB are free; make room"):
        obtain.obtain(settings, "val2017", client)
    assert server.begins == []


def test_room_that_is_needed(settings):
    size, folder, places = len(VAL), Path(settings.folder), loopback.IMAGES * obtain.BLOCK

    def needed():
        return obtain._Place(settings, "val2017").needed(None)

    assert needed() == 2 * size + places
    fetched = folder / ".download/val2017/val2017.zip"
    fetched.parent.mkdir(parents=True)
    fetched.write_bytes(VAL[:1000])
    assert needed() == 2 * size + places - 1000
    (fetched.parent / "unpacked/val2017").mkdir(parents=True)
    (fetched.parent / "unpacked/val2017/a.jpg").write_bytes(b"12345")
    assert needed() == 2 * size + places - 1005
    (folder / "val2017.zip").write_bytes(VAL)
    assert needed() == size + places - 5
    for number in range(loopback.IMAGES):
        (folder / "val2017").mkdir(exist_ok=True)
        (folder / f"val2017/{number}.jpg").touch()
    assert needed() == 0


def test_what_has_room_is_fetched(client, settings, tmp_path):
    settings = changed(settings, "train2017", size=int(0.3 * obtain.shutil.disk_usage(tmp_path).free))
    assert obtain.obtain(settings, "val2017", client)["source"] == "downloaded"


def test_optional_archives_need_no_room_unless_asked_for(client, settings):
    settings = changed(settings, "test2017", size=obtain.shutil.disk_usage("/").total)
    obtain.obtain(settings, "val2017", client)
    with pytest.raises(DataError, match="make room"):
        obtain.obtain(settings, "test2017", client)
    assert obtain.default_archives(settings) == [
        "annotations_trainval2017", "image_info_test2017", "val2017", "train2017",
    ]  # fmt: skip


# Unpacking


def served(server, settings, content, **values):
    """Settings of an archive with this content."""
    server.files["/zips/val2017.zip"] = content
    return changed(settings, "val2017", size=len(content), md5=hashlib.md5(content).hexdigest(), **values)


@pytest.mark.parametrize("name", ["val2017/../../evil.jpg", "val2017/../evil.jpg"])
def test_a_member_that_leads_out_is_refused(client, server, settings, name):
    content = loopback.packed({"val2017/a.jpg": b"a", name: b"b"})
    with pytest.raises(DataError, match=rf"{re.escape(name)} leads out of its folder"):
        obtain.obtain(served(server, settings, content, members={"val2017": 2}), "val2017", client)
    outside = Path(settings.folder).parent
    assert not [path for path in outside.rglob("*") if path.name in ("evil.jpg", "a.jpg")]


def test_a_link_in_an_archive_is_refused(client, server, settings):
    stream = loopback.io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        link = zipfile.ZipInfo("val2017/link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="leads out"):
        obtain.obtain(served(server, settings, stream.getvalue(), members={"val2017": 1}), "val2017", client)


def test_another_number_of_files_is_refused(client, settings):
    with pytest.raises(DataError, match="12 files of val2017 are in it, 5,000 are expected"):
        obtain.obtain(changed(settings, members={"val2017": 5000}), "val2017", client)
    assert not (Path(settings.folder) / "val2017").exists()


def test_names_that_begin_alike_are_not_confused(client, server, settings):
    content = loopback.packed({"val2017/a.jpg": b"a", "val2017_more/b.jpg": b"b", "annotations/c.json.bak": b"c"})
    obtain.obtain(served(server, settings, content, members={"val2017": 1}), "val2017", client)
    assert files_below(Path(settings.folder)) == {"val2017/a.jpg": b"a"}


@pytest.mark.parametrize("content", [b"no archive at all", VAL[:-30]])
def test_what_is_no_archive_is_one_message(client, server, settings, content):
    with pytest.raises(DataError, match="not a readable ZIP archive"):
        obtain.obtain(served(server, settings, content), "val2017", client)


def test_an_archive_with_a_damaged_member_is_one_message(client, server, settings):
    place = VAL.index(images()["val2017/000000000003.jpg"][100:200])
    content = VAL[:place] + bytes([VAL[place] ^ 1]) + VAL[place + 1 :]
    with pytest.raises(DataError, match=r"not a readable ZIP archive .*CRC"):
        obtain.obtain(served(server, settings, content), "val2017", client)
    assert not (Path(settings.folder) / "val2017").exists()


def test_unpacking_goes_on_with_what_is_right(tmp_path):
    archive, workspace = tmp_path / "a.zip", tmp_path / "work"
    archive.write_bytes(VAL)
    contents = dict(sorted(images().items()))
    whole, half, other, *_ = contents
    (workspace / "val2017").mkdir(parents=True)
    (workspace / whole).write_bytes(contents[whole])
    (workspace / half).write_bytes(contents[half][:100])
    (workspace / other).write_bytes(bytes(len(contents[other])))
    inode, written = (workspace / whole).stat().st_ino, (workspace / whole).stat().st_mtime_ns
    unpack.unpack(archive, tmp_path / "out", {"val2017": loopback.IMAGES}, workspace)
    assert files_below(tmp_path / "out") == contents
    kept = (tmp_path / "out" / whole).stat()
    assert (kept.st_ino, kept.st_mtime_ns) == (inode, written)
    assert not workspace.exists()


# Kills


def program(settings, record, *options, before=""):
    """scripts/download.py of val2017, after some Python code."""
    code = f"import runpy, sys\n{before}\nrunpy.run_path({str(ROOT / 'scripts/download.py')!r}, run_name='__main__')"
    arguments = ["--settings", settings.model_dump_json(), "--archive", "val2017", "--record", str(record), *options]
    return [sys.executable, "-c", code, *arguments]


def environment():
    return os.environ | {"PYTHONPATH": str(ROOT)}


def test_a_download_that_is_killed_goes_on(server, settings, tmp_path):
    server.hold_after, server.hold = CUT, threading.Event()
    command = program(settings, tmp_path / "record.json")
    running = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    fetched = Path(settings.folder) / ".download/val2017/val2017.zip"
    while download.length(fetched) < CUT // 2:
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    server.hold.set()
    server.hold = None
    there = download.length(fetched)
    assert not (tmp_path / "record.json").exists() and VAL.startswith(fetched.read_bytes())
    server.asked.clear()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert server.begins == [there] and there > 0
    assert files_below(Path(settings.folder)) == images()
    assert json.loads((tmp_path / "record.json").read_text())["source"] == "downloaded"


@pytest.mark.parametrize(
    "before",
    [
        # in the middle of the sixth file
        "import os, shutil\ncalls = []\n"
        "def copy(source, stream):\n"
        "    calls.append(stream.write(source.read()[:100 if len(calls) == 5 else None]))\n"
        "    stream.flush()\n"
        "    len(calls) == 6 and os.kill(os.getpid(), 9)\n"
        "shutil.copyfileobj = copy",
        # when everything is there, and nothing is cleared away
        "import os, shutil\nshutil.rmtree = lambda *a, **k: os.kill(os.getpid(), 9)",
    ],
    ids=["in a file", "before clearing away"],
)
def test_unpacking_that_is_killed_goes_on(server, settings, tmp_path, before):
    killed = subprocess.run(program(settings, tmp_path / "r", before=before), env=environment(), check=False)
    assert killed.returncode == -signal.SIGKILL
    folder = Path(settings.folder)
    assert list((folder / ".download/val2017").iterdir())
    assert unpack.number_of_files(folder / "val2017") in (0, loopback.IMAGES)
    server.asked.clear()
    subprocess.run(program(settings, tmp_path / "r"), env=environment(), check=True)
    assert server.asked == []
    assert files_below(folder) == images()
    assert not (folder / ".download").exists()


def test_the_program_says_what_is_wrong_and_fetches_from_a_mirror(server, settings, tmp_path):
    away = settings.model_copy(update={"base_url": "http://127.0.0.1:9/coco"})
    options = ("--base-url", f"{server.url}/", "--attempts", "1", "--pause", "0")
    mirrored = subprocess.run(program(away, tmp_path / "r", *options), env=environment(), check=False)
    assert mirrored.returncode == 0
    assert json.loads((tmp_path / "r").read_text())["url"].startswith(f"{server.url}/zips")
    wrong = [*program(settings, tmp_path / "s"), "--archive", "val"]
    done = subprocess.run(wrong, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "ERROR --archive: val is none of annotations_trainval2017, image_info_test2017" in done.stderr
    server.statuses = [404]
    failed = subprocess.run(
        program(changed(settings, members={"other": 1}), tmp_path / "s"),
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode == 2 and "Traceback" not in failed.stderr and "404" in failed.stderr
    assert not (tmp_path / "s").exists()


# Counting


@pytest.fixture
def got(client, server, tmp_path):
    """The data set, with annotations and without images."""
    dataset = loopback.dataset(ARCHIVES, server.url, str(tmp_path / "coco"))
    settings = DownloadConfig.model_validate(dataset["download"])
    for name in ("annotations_trainval2017", "image_info_test2017"):
        obtain.obtain(settings, name, client)
    return dataset


def counted(dataset):
    return inventory(DatasetConfig.model_validate(dataset))["splits"]


def detections(dataset, split, *images):
    entries = [{"image_id": image, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5} for image in images]
    entries.append({"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5})
    Path(dataset[split]["detections"]).write_text(json.dumps(entries))


def test_persons_are_counted_by_the_filters_of_the_conversion_without_images(got, caplog):
    caplog.set_level(logging.INFO)
    splits = counted(got)
    assert (splits["train"]["persons"], splits["val"]["persons"]) == (3, 4)
    assert splits["train"]["dropped"] == {"crowd": 1, "no_labelled_keypoints": 1} and splits["val"]["dropped"] == {}
    assert splits["test"]["images"] == loopback.IMAGES and "persons" not in splits["test"]
    assert "train: 3 persons" in caplog.text and "test: 12 images" in caplog.text


@pytest.mark.parametrize(
    ("kind", "split", "said"),
    [
        ("persons", "train", r"person_keypoints_train2017.json: 3 persons .* 149,813 are expected.*make coco"),
        ("persons", "val", r"person_keypoints_val2017.json: 4 persons .* 149,813 are expected"),
        ("images", "test", r"image_info_test-dev2017.json: 12 images .* 149,813 are expected"),
    ],
)
def test_other_numbers_are_an_error(got, kind, split, said):
    got["download"][kind] = {**got["download"][kind], split: 149813}
    with pytest.raises(DataError, match=said):
        counted(got)


def test_numbers_are_compared_only_when_they_are_expected(got):
    assert counted({**got, "download": None})["train"]["persons"] == 3


def test_missing_detections_are_told_in_one_message_with_the_way_to_them(got, caplog):
    splits = counted(got)
    assert splits["val"]["detections"] is splits["test"]["detections"] is None
    (message,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert f"not there: {got['val']['detections']}, {got['test']['detections']}. " in message
    assert "ask for them. Everything works without them on ground truth boxes" in message


def test_detections_are_counted_by_split(got, caplog):
    detections(got, "val", 1, 2, 2, 99)
    detections(got, "test", 3)
    splits = counted(got)
    assert (splits["val"]["detections"], splits["test"]["detections"]) == (3, 1)
    assert "not there" not in caplog.text


def test_detections_of_other_images_are_an_error(got):
    detections(got, "val", 99)
    with pytest.raises(DataError, match=r"detections_val.json: no person in the images of .*unknown_image': 1"):
        counted(got)


def test_a_detection_file_that_is_none_is_an_error(got):
    Path(got["val"]["detections"]).write_text("<html>")
    with pytest.raises(DataError, match=r"detections_val.json: not JSON"):
        counted(got)


# The data set's file


def test_the_catalogue_of_coco():
    """Sizes, checksums and counts as they were confirmed against the server and the paper."""
    raw = yaml.safe_load((ROOT / "config/datasets/coco2017.yaml").read_text())
    dataset = DatasetConfig.model_validate(raw)
    got = dataset.download
    assert got.base_url == "http://images.cocodataset.org"
    assert {archive.path: (archive.size, archive.md5[:6], archive.optional) for archive in got.archives.values()} == {
        "annotations/annotations_trainval2017.zip": (252907541, "f4bbac", False),
        "annotations/image_info_test2017.zip": (None, "85da70", False),
        "zips/val2017.zip": (815585330, "442b8d", False),
        "zips/train2017.zip": (19336861798, "cced6f", False),
        "zips/test2017.zip": (6646970404, "77ad2c", True),
    }
    numbers = {member: number for archive in got.archives.values() for member, number in archive.members.items()}
    assert {f"{split}2017": numbers[f"{split}2017"] for split in ("train", "val", "test")} == {
        "train2017": 118287, "val2017": 5000, "test2017": 40670,
    }  # fmt: skip
    assert (got.persons, got.images) == ({"train": 149813, "val": 11004}, {"test": 20288})
    assert dataset.test.annotations.endswith("annotations/image_info_test-dev2017.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": {"images": "elsewhere", "annotations": "a.json"}}, "train.images: elsewhere is not among"),
        ({"synthetic": {}}, "synthetic and download exclude each other"),
    ],
)
def test_paths_are_those_that_are_got(change, said):
    with pytest.raises(ValueError, match=said):
        DatasetConfig.model_validate(loopback.dataset(ARCHIVES, "http://host") | change)


@pytest.mark.parametrize("member", ["../up", "/etc", "a/../b", ".download/x", ""])
def test_members_stay_in_the_folder(member):
    with pytest.raises(ValueError, match="members"):
        config.Archive(path="a.zip", md5="0" * 32, members={member: 1})
