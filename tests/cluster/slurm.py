"""A real Slurm on this machine: its daemons, two TPUs that are only counted, and nothing that is reached from outside."""

import getpass
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

TPUS = 2
PARTITION = "main"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scancel", "scontrol")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"

# More cores and memory than there are, so that gres alone decide what runs at once.
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={run}/munge.sock
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
ReturnToService=2
MinJobAge=300
KillWait=20
JobCompType=jobcomp/filetxt
JobCompLoc={run}/completed.txt
GresTypes=tpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=tpu:{tpus}
PartitionName={partition} Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class Ran(NamedTuple):
    """A job that is over, as Slurm's own record has it."""

    number: int
    name: str
    state: str
    tpus: int
    start: datetime
    end: datetime


class Slurm:
    """The daemons; `environment` is that of programs which use them."""

    def __init__(self, folder: Path) -> None:
        self._run = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        wrappers = folder / "bin"
        for name in ("state", "spool", "bin"):
            (folder / name).mkdir(parents=True)
        host = socket.gethostname().partition(".")[0]
        (folder / "gres.conf").write_text(f"NodeName={host} Name=tpu Count={TPUS} Flags=CountOnly\n")
        # Of a Slurm that has no such file, slurmd wants to know of systemd; control groups are never touched.
        (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
        (folder / "slurm.conf").write_text(
            CONFIG.format(
                host=host,
                user=getpass.getuser(),
                run=folder,
                tpus=TPUS,
                partition=PARTITION,
                controller=free_port(),
                node=free_port(),
            )
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SNAKEMAKE"))},
            "PATH": f"{wrappers}:{PATH}",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }
        # Snakemake's executor hides SLURM_CONF from the srun in its jobs, since a cluster has it in /etc/slurm.
        srun = shutil.which("srun", path=PATH)
        (wrappers / "srun").write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {srun} "$@"\n')
        (wrappers / "srun").chmod(0o755)

    def __enter__(self) -> "Slurm":
        run = self._run
        key = run / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o600)
        try:
            self._start("munged", "--foreground", "--force", "--num-threads=2", f"--key-file={key}",
                *(f"--{option}={run}/munge.{end}" for option, end in
                  (("socket", "sock"), ("pid-file", "pid"), ("log-file", "log"), ("seed-file", "seed"))))  # fmt: skip
            wait_for(lambda: (run / "munge.sock").exists(), "munged", self.logs)
            self._start("slurmctld", "-D", "-f", str(run / "slurm.conf"))
            self._start("slurmd", "-D", "-f", str(run / "slurm.conf"))
            wait_for(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"), "a node", self.logs)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        for job in self.ask("squeue", "-h", "-o", "%A").split():
            self.ask("scancel", job)
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, *command: str) -> None:
        with (self._run / f"{command[0]}.out").open("wb") as out:
            process = subprocess.Popen(command, env=self.environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        self._processes.append(process)

    def ask(self, *command: str) -> str:
        """What a program of Slurm prints; nothing when it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout if done.returncode == 0 else ""

    def submit(self, command: str, *options: str) -> int:
        """A job of a shell command."""
        words = ["sbatch", "--parsable", f"--partition={PARTITION}", "--mem=100", *options, f"--wrap={command}"]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    def running(self) -> dict[int, str]:
        """The numbers and names of running jobs."""
        lines = self.ask("squeue", "-h", "-t", "running", "-o", "%A %j").splitlines()
        return {int(line.split()[0]): line.split()[1] for line in lines}

    def completed(self, since: int = 0) -> list[Ran]:
        """Every job with a number over `since` that has ended."""
        path = self._run / "completed.txt"
        found = []
        for line in path.read_text().splitlines() if path.exists() else []:
            job = dict(part.split("=", 1) for part in line.split() if "=" in part)
            start, end = (datetime.fromisoformat(job[key]) for key in ("StartTime", "EndTime"))
            asked = re.search(r"TresPerNode=gres:tpu:(\d+)", self.ask("scontrol", "-o", "show", "job", job["JobId"]))
            tpus = int(asked[1]) if asked else 0
            found.append(Ran(int(job["JobId"]), job["Name"], job["JobState"], tpus, start, end))
        return [job for job in found if job.number > since]

    def logs(self) -> str:
        """The ends of the daemons' messages."""
        paths = sorted([*self._run.glob("*.log"), *self._run.glob("*.out")])
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in paths)


def at_once(jobs: list[Ran]) -> int:
    """How many of the jobs ran at the same time, at most; one may begin in the second in which another ended."""
    changes = sorted(
        [(job.start, 1) for job in jobs] + [(job.end, -1) for job in jobs], key=lambda each: (each[0], each[1])
    )
    most = now = 0
    for _, change in changes:
        now += change
        most = max(most, now)
    return most


def wait_for(condition, what: str, logs=lambda: "", seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s for {what}\n{logs()}")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
