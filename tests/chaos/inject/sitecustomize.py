"""Kills a program of the workflow at a chosen moment; Python imports this before the program where a chaos test says so.

EVOPOSE_CHAOS names a JSON file: `program` (train.py), `moment`, `victim`, `log` (a file that the kill is noted in). It is removed
by the process whose moment comes first, so that each kill happens once; of several processes of a program, those that write
another file leave it alone. Moments:

    start            before the program's own first line
    inside:NAME      while the file NAME is written: half of its temporary file is there
    before:NAME      the temporary file is whole, and not renamed yet
    after:NAME       right after the renaming

A NAME is matched with the end of the path; `state` stands for the folder of a training's state.
"""

import json
import os
import signal
import sys
from pathlib import Path


def _die(plan, half=None):
    try:
        Path(os.environ["EVOPOSE_CHAOS"]).unlink()
    except FileNotFoundError:
        return  # another process was faster, or it is over
    with Path(plan["log"]).open("a", encoding="utf-8") as stream:
        stream.write(f"{plan['phase']}\n")
    if half is not None:
        for path in [half, *half.glob("*")]:
            if path.is_file():
                os.truncate(path, path.stat().st_size // 2)
    victims = [os.getpid()]
    if plan["victim"] != "child":
        import psutil

        ancestors = psutil.Process().parents()
        controller = next(one for one in ancestors if any("snakemake" in word for word in one.cmdline()))
        victims = [controller.pid]
        if plan["victim"] == "machine":
            victims += [one.pid for one in controller.children(recursive=True) if one.pid != os.getpid()]
            victims.append(os.getpid())
    for victim in victims:
        os.kill(victim, signal.SIGKILL)


def _armed(plan):
    """Rename as usual, and die at the chosen one."""
    moment, _, name = plan["moment"].partition(":")

    def meant(target):
        path = Path(target)
        return path.parent.parent.name == ".training" if name == "state" else path.name == name

    def wrap(rename):
        def renamed(source, target, *arguments, **options):
            hit = meant(target)
            if hit and moment in ("inside", "before"):
                _die(plan, Path(source) if moment == "inside" else None)
            done = rename(source, target, *arguments, **options)
            if hit and moment == "after":
                _die(plan)
            return done

        return renamed

    os.rename, os.replace = wrap(os.rename), wrap(os.replace)


def _take():
    place = os.environ.get("EVOPOSE_CHAOS")
    if not place or not any(word.startswith("scripts/") for word in sys.orig_argv[1:2]):
        return
    try:
        with Path(place).open(encoding="utf-8") as stream:
            plan = json.load(stream)
    except (OSError, ValueError):
        return
    if sys.orig_argv[1] != f"scripts/{plan['program']}":
        return
    if plan["moment"] == "start":
        _die(plan)
    else:
        _armed(plan)


_take()
