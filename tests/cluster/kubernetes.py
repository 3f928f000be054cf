"""What stands for a Kubernetes cluster: the part of its API that the profile asks for, over HTTP, and a node of this machine.

Jobs are held against the API's published schemas. Their containers are processes here: their image and volumes are not looked
at; accelerators are counted; the first process alone hears that it shall end, as in a container.
"""

import json
import os
import re
import signal
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kubernetes_validate

TPUS = 2
VERSIONS = ("1.27", "1.30", "1.33", "1.37")
JOBS, PODS = "/apis/batch/v1/namespaces/default/jobs", "/api/v1/namespaces/default/pods"

RESOURCES = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {
                "name": "batch",
                "versions": [{"groupVersion": "batch/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "batch/v1", "version": "v1"},
            }
        ],
    },
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [
            {"name": "pods", "singularName": "pod", "namespaced": True, "kind": "Pod", "verbs": ["get", "list"]}
        ],
    },
    "/apis/batch/v1": {
        "kind": "APIResourceList",
        "groupVersion": "batch/v1",
        "resources": [
            {
                "name": "jobs",
                "singularName": "job",
                "namespaced": True,
                "kind": "Job",
                "verbs": ["create", "delete", "get", "list"],
            }
        ],
    },
}


class Job:
    """A Job, and its Pod, which waits for accelerators, runs, and ends."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.body = body
        self.spec = body["spec"]["template"]["spec"]
        (container,) = self.spec["containers"]
        self.command = [*container["command"], *container["args"]]
        self.tpus = int(container["resources"].get("limits", {}).get("google.com/tpu", 0))
        self.process: subprocess.Popen[bytes] | None = None
        self.deleted = False
        self.ended: float | None = None

    @property
    def name(self) -> str:
        return str(self.body["metadata"]["name"])

    @property
    def runs(self) -> bool:
        return self.process is not None and self.ended is None


class Cluster(ThreadingHTTPServer):
    """Listens on this machine alone; `environment` is that of programs which use it.

    Attributes:
        jobs: all there ever were, in their order.
        most: TPUs that were in use at once.
        silent: answers that are still to be errors of the server.
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.jobs: list[Job] = []
        self.most = 0
        self.silent = 0
        self.lock = threading.RLock()
        self._ended = threading.Event()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{self.server_address[1]}"}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
            "users": [{"name": "me", "user": {}}],
            "current-context": "here",
        }
        (folder / "config").write_text(json.dumps(config))
        # What it validates is validated by this server; the descriptions that kubectl would do it with are not served.
        (folder / "bin").mkdir()
        (folder / "bin/kubectl").write_text(
            "#!/bin/bash\n"
            'PATH=${PATH#*:}; [[ "$1" != create ]] || set -- "$@" --validate=false\n'
            f'exec kubectl --cache-dir={folder}/cache "$@"\n'
        )
        (folder / "bin/kubectl").chmod(0o755)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("KUBE", "SNAKEMAKE"))},
            "KUBECONFIG": str(folder / "config"),
            "PATH": f"{folder}/bin:{os.environ['PATH']}",
        }

    def __enter__(self) -> "Cluster":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        threading.Thread(target=self._work, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self.shutdown()
        self.server_close()
        for job in self.jobs:
            if job.runs and job.process is not None:
                os.killpg(job.process.pid, signal.SIGKILL)

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        for version in VERSIONS:
            kubernetes_validate.validate(body, version, strict=True)
        with self.lock:
            metadata = body["metadata"]
            metadata["name"] = f"{metadata.pop('generateName')}{len(self.jobs):05d}"
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", metadata["name"]) and len(metadata["name"]) < 64
            self.jobs.append(Job({**body, "status": {"conditions": []}}))
        return body

    def find(self, name: str) -> Job | None:
        return next((job for job in self.jobs if job.name == name and not job.deleted), None)

    def delete(self, job: Job) -> None:
        """Its first process is told to end."""
        with self.lock:
            job.deleted = True
            if job.process is not None:
                job.process.terminate()

    def pods(self, selector: str) -> list[dict[str, Any]]:
        """Those of the Job that is asked for."""
        name = selector.removeprefix("job-name=")
        found = [job for job in self.jobs if job.name == name and job.runs]
        return [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{job.name}-x"}} for job in found]

    def _work(self) -> None:
        while not self._ended.wait(0.1):
            with self.lock:
                for job in self.jobs:
                    if job.runs and job.process is not None and job.process.poll() is not None:
                        job.ended = time.monotonic()
                        kind = "Failed" if job.process.returncode else "Complete"
                        conditions = [{"type": "Suspended", "status": "False"}, {"type": kind, "status": "True"}]
                        job.body["status"]["conditions"] = conditions
                for job in self.jobs:
                    used = sum(other.tpus for other in self.jobs if other.runs)
                    if job.process is None and not job.deleted and used + job.tpus <= TPUS:
                        job.process = subprocess.Popen(
                            job.command, cwd="/", start_new_session=True, stdin=subprocess.DEVNULL
                        )
                        self.most = max(self.most, used + job.tpus)


class _Handler(BaseHTTPRequestHandler):
    server: Cluster
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.server.silent:
            self.server.silent -= 1
            self.fail(503, "ServiceUnavailable")
        elif url.path in RESOURCES:
            self.answer(200, RESOURCES[url.path])
        elif url.path == PODS:
            (selector,) = parse_qs(url.query)["labelSelector"]
            self.answer(200, {"apiVersion": "v1", "kind": "PodList", "items": self.server.pods(selector)})
        elif job := self.job():
            self.answer(200, job.body)
        else:
            self.fail(404, "NotFound")

    def do_POST(self) -> None:
        body = self.body()
        if urlsplit(self.path).path != JOBS:
            self.fail(404, "NotFound")
            return
        try:
            self.answer(201, self.server.create(body))
        except kubernetes_validate.ValidationError as error:
            self.fail(422, "Invalid", str(error))

    def do_DELETE(self) -> None:
        self.body()
        if job := self.job():
            self.server.delete(job)
            self.answer(200, {"apiVersion": "v1", "kind": "Status", "status": "Success"})
        else:
            self.fail(404, "NotFound")

    def job(self) -> Job | None:
        path = urlsplit(self.path).path
        return self.server.find(path.removeprefix(f"{JOBS}/")) if path.startswith(JOBS) else None

    def body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "{}")

    def fail(self, code: int, reason: str, message: str = "") -> None:
        status = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code}
        self.answer(code, {**status, "message": message or reason})

    def answer(self, code: int, body: Any) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *values: object) -> None:
        """Nothing on the console."""
