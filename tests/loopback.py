"""A web server on this machine that misbehaves as it is told, and archives in COCO's form for it, some hundred kB long."""

import hashlib
import io
import json
import random
import re
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PERSONS = {"train": 3, "val": 4}  # by the filters of the conversion: of `_people`
IMAGES = 12  # of each split; one is about 30 kB


class Server(ThreadingHTTPServer):
    """Serves `files` (path: bytes).

    Attributes:
        asked: (method, path, first byte) of every request.
        ranges: whether it can send a part of a file.
        statuses: answers that come before any file.
        cuts: after how many bytes each of the next answers is cut.
        wrong: how many answers have a wrong byte at their end.
        added: how many bytes too many it says that a file has.
        hold, hold_after: when set, answers stop after so many bytes until it is released.
    """

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.asked: list[tuple[str, str, int]] = []
        self.ranges = True
        self.statuses: list[int] = []
        self.cuts: list[int] = []
        self.wrong = 0
        self.added = 0
        self.hold: threading.Event | None = None
        self.hold_after = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def begins(self) -> list[int]:
        """The first byte of each GET."""
        return [begin for method, _, begin in self.asked if method == "GET"]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        server = self.server
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        server.asked.append((self.command, self.path, int(wanted[1]) if wanted else 0))
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        if self.path not in server.files:
            self.send_error(404)
            return
        content = server.files[self.path]
        length = len(content) + server.added
        begin = int(wanted[1]) if wanted and server.ranges else 0
        self.send_response(206 if wanted and server.ranges else 200)
        self.send_header("Content-Length", str(length - begin))
        if wanted and server.ranges:
            self.send_header("Content-Range", f"bytes {begin}-{length - 1}/{length}")
        self.end_headers()
        if with_body:
            self.send(content[begin:])

    def send(self, body: bytes) -> None:
        server = self.server
        if server.wrong:
            server.wrong -= 1
            body = body[:-1] + bytes([body[-1] ^ 1])
        if server.hold is not None:
            self.wfile.write(body[: server.hold_after])
            server.hold.wait(60)
            body = body[server.hold_after :]
        elif server.cuts:
            body = body[: server.cuts.pop(0)]
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):  # the client went away or was killed
            self.close_connection = True


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Server]:
    with Server(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            if server.hold is not None:
                server.hold.set()
            server.shutdown()
            thread.join()


def packed(files: dict[str, bytes]) -> bytes:
    """A ZIP archive with entries of its folders, as COCO's."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for folder in sorted({name.rpartition("/")[0] for name in files}):
            archive.mkdir(folder)
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def archives() -> dict[str, bytes]:
    """The archives of a small COCO 2017, by the path on the server."""
    source = random.Random(5)
    pictures = {
        f"{split}2017/{number:012d}.jpg": source.randbytes(30_000 + number)
        for split in ("train", "val", "test")
        for number in range(1, IMAGES + 1)
    }
    annotations = {f"annotations/person_keypoints_{split}2017.json": _annotations(split) for split in ("train", "val")}
    listed = {"annotations/image_info_test-dev2017.json": json.dumps({"images": _images()}).encode()}
    return {
        "/annotations/annotations_trainval2017.zip": packed(
            {**annotations, "annotations/captions_val2017.json": b"{}"}
        ),
        "/annotations/image_info_test2017.zip": packed({**listed, "annotations/image_info_test2017.json": b"{}"}),
        **{
            f"/zips/{split}2017.zip": packed(
                {name: content for name, content in pictures.items() if name.startswith(split)}
            )
            for split in ("train", "val", "test")
        },
    }


def settings(files: dict[str, bytes], url: str, folder: str = "data/coco") -> dict[str, Any]:
    """The section `dataset.download` for such archives."""
    members = {
        "annotations_trainval2017": {f"annotations/person_keypoints_{split}2017.json": 1 for split in ("train", "val")},
        "image_info_test2017": {"annotations/image_info_test-dev2017.json": 1},
        **{f"{split}2017": {f"{split}2017": IMAGES} for split in ("val", "train", "test")},
    }
    listed = {}
    for name, wanted in members.items():
        (path,) = (path for path in files if path.endswith(f"/{name}.zip"))
        size = None if name == "image_info_test2017" else len(files[path])
        md5 = hashlib.md5(files[path]).hexdigest()
        listed[name] = {"path": path[1:], "size": size, "md5": md5, "members": wanted, "optional": name == "test2017"}
    return {
        "base_url": url,
        "folder": folder,
        "archives": listed,
        "persons": dict(PERSONS),
        "images": {"test": IMAGES},
        "detections": "ask for them",
    }


def dataset(files: dict[str, bytes], url: str, folder: str = "data/coco") -> dict[str, Any]:
    """The section `dataset` for such archives, with detections that are not among them."""
    listed = {"train": "person_keypoints_train", "val": "person_keypoints_val", "test": "image_info_test-dev"}
    splits = {
        split: {"images": f"{folder}/{split}2017", "annotations": f"{folder}/annotations/{name}2017.json"}
        for split, name in listed.items()
    }
    for split in ("val", "test"):
        splits[split]["detections"] = f"{folder}/detections_{split}.json"
    return {"name": "coco", **splits, "download": settings(files, url, folder)}


def _images() -> list[dict[str, Any]]:
    return [
        {"id": number, "file_name": f"{number:012d}.jpg", "height": 48, "width": 64} for number in range(1, IMAGES + 1)
    ]


def _annotations(split: str) -> bytes:
    """In train 3 labelled persons, a crowd and one without labels; in val 4 persons, one of them without labels."""
    labelled, unlabelled = [20.0, 20.0, 2.0] * 17, [0.0] * 51
    people = [(labelled, 0)] * 3 + [(unlabelled, 0)] + ([(unlabelled, 1)] if split == "train" else [])
    entries = [
        {
            "id": number,
            "image_id": number,
            "category_id": 1,
            "bbox": [10.0, 10.0, 20.0, 30.0],
            "area": 300.0,
            "iscrowd": crowd,
            "num_keypoints": sum(v > 0 for v in keypoints[2::3]),
            "keypoints": keypoints,
        }
        for number, (keypoints, crowd) in enumerate(people, start=1)
    ]
    return json.dumps({"images": _images(), "annotations": entries}).encode()
