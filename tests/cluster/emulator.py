"""A real emulator of Google's storage as a process on this machine, and in front of it a proxy that fails as it is told."""

import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

BUCKET = "evo"
HOST = "127.0.0.1"


@dataclass
class Fault:
    """What happens to the next `times` requests of a kind.

    Attributes:
        method, path: of the requests; `path` is a pattern.
        status: the answer; without one the answer is that of the emulator, cut after `cut` bytes.
        lost: the answer is lost altogether, after the emulator did what it was asked to.
        hold: the answer stops in its middle until `Storage.release`.
        skip: requests of the kind that pass before.
    """

    method: str
    path: str
    status: int | None = None
    cut: int = 0
    lost: bool = False
    hold: bool = False
    times: int = 1
    skip: int = 0


@dataclass
class Storage:
    """The emulator behind its proxy."""

    url: str
    faults: list[Fault] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    met: list[Fault] = field(default_factory=list)
    held: int = 0
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let go on what was held."""
        self.released.set()

    def fault(self, method: str, path: str) -> Fault | None:
        """What is to happen to a request."""
        for fault in self.faults:
            if fault.times and fault.method == method and re.search(fault.path, path):
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                self.met.append(fault)
                return fault
        return None

    def number(self, method: str, path: str) -> int:
        """How many such requests there were."""
        return sum(one == method and bool(re.search(path, where)) for one, where in self.asked)


class _Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((HOST, 0), _Handler)
        self.port = port
        self.storage = Storage(f"http://{HOST}:{self.server_address[1]}")
        self.lock = threading.Lock()


class _Handler(BaseHTTPRequestHandler):
    server: _Proxy

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        storage = self.server.storage
        with self.server.lock:
            storage.asked.append((self.command, self.path))
            fault = storage.fault(self.command, self.path)
        if fault is not None and fault.status is not None:
            self.send_error(fault.status)
            return
        connection = http.client.HTTPConnection(HOST, self.server.port, timeout=60)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault is not None and fault.lost:
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault is not None and fault.hold:
            self.wfile.write(content[: len(content) // 2])
            storage.held += 1
            storage.released.wait(60)
            content = content[len(content) // 2 :]
        elif fault is not None:
            content = content[: fault.cut]
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

    def log_message(self, *arguments: Any) -> None:
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except (BrokenPipeError, ConnectionResetError):  # the client was killed
            self.close_connection = True


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def await_port(port: int, process: "subprocess.Popen[Any]", seconds: float = 30) -> None:
    """Wait until somebody listens on a port."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as one:
            if one.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError(f"nobody listens on port {port}")


@contextmanager
def emulating(folder: Path) -> Iterator[Storage]:
    """An emulator with an empty bucket, kept in memory; what it prints goes to `folder`."""
    port = free_port()
    program = Path(sys.executable).parent / "gcp-storage-emulator"
    command = [str(program), "start", "-H", HOST, "--port", str(port), "--default-bucket", BUCKET, "-M"]
    with (folder / "emulator.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        await_port(port, process)
        with _Proxy(port) as proxy:
            thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield proxy.storage
            finally:
                proxy.shutdown()
                thread.join()
    finally:
        process.terminate()
        process.wait(10)
