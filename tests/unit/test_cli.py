"""What programs share: one message for a user's error, progress on the console, settings as JSON."""

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline_lib import cli
from pipeline_lib.config import KeypointSchema, TrainSettings
from pipeline_lib.errors import ConfigError

ROOT = Path(__file__).parents[2]

PROGRAM = """
import argparse, logging, sys
from pipeline_lib import cli
from pipeline_lib.errors import DataError
def main(arguments):
    logging.getLogger("anything").info("working on %s", arguments.what)
    print("result")
    if arguments.what == "user":
        raise DataError("images/1.jpg: not an image; put one there")
    if arguments.what == "bug":
        raise RuntimeError("a bug")
    if arguments.what == "half":
        logging.info("half %s", chr(0xD800))
    if arguments.what == "full":
        with open("/dev/full", "w") as stream:
            stream.write("x")
    if arguments.what == "absent":
        open("/nope")
    if arguments.what == "library":
        raise OSError("of a library")
    if arguments.what == "long":
        import time
        print("waiting", flush=True)
        while True:
            time.sleep(0.01)
    if arguments.what == "many":
        for number in range(100_000):
            print(number)
options = argparse.ArgumentParser()
options.add_argument("what")
cli.run(main, options)
"""


def run(*arguments, console=None, **options):
    environment = {key: value for key, value in os.environ.items() if key != cli.CONSOLE_VARIABLE}
    environment["PYTHONPATH"] = str(ROOT)
    if console is not None:
        environment[cli.CONSOLE_VARIABLE] = str(console)
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], text=True, check=False, env=environment,
        **({"capture_output": True} | options),
    )  # fmt: skip


def test_results_go_to_stdout_and_messages_to_stderr():
    done = run("well")
    assert (done.returncode, done.stdout) == (0, "result\n")
    assert done.stderr.endswith("INFO working on well\n") and done.stderr.count("\n") == 1


def test_a_users_error_is_one_line_and_exit_code_2():
    done = run("user")
    assert done.returncode == cli.USER_ERROR == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[1:] == [done.stderr.splitlines()[-1]]
    assert done.stderr.endswith("ERROR images/1.jpg: not an image; put one there\n")


def test_a_bug_keeps_its_traceback():
    done = run("bug")
    assert done.returncode == 1 and "Traceback" in done.stderr and "a bug" in done.stderr


def test_what_the_system_refuses_is_one_line():
    done = run("full")
    assert done.returncode == 2 and done.stderr.endswith(
        "ERROR No space left on device; make room, or write elsewhere\n"
    )
    done = run("absent")
    assert done.returncode == 2 and "ERROR /nope: No such file or directory; check the path" in done.stderr
    assert "Traceback" not in done.stderr
    done = run("library")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_an_interrupt_is_one_line_and_exit_code_130():
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # Behind `&` of a shell script, Ctrl-C is ignored from the start.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", heard + PROGRAM, "long"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as done:
        while done.stdout.readline() != "waiting\n":
            pass
        done.send_signal(signal.SIGINT)
        stderr = done.stderr.read()
    assert done.returncode == 130
    assert stderr.endswith("ERROR interrupted\n") and "Traceback" not in stderr


def test_a_silent_program_says_that_it_is_at_work(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cli, "SILENCE", 0.01)
    with cli.never_silent("program"):
        while not caplog.messages:
            time.sleep(0.01)
    assert caplog.messages[0].startswith("program: at work for ")
    handlers = logging.getLogger().handlers
    assert not any(isinstance(handler, cli._Spoken) for handler in handlers)


def test_a_program_that_speaks_is_not_interrupted(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(cli, "SILENCE", 3600.0)
    with cli.never_silent("program"):
        logging.getLogger("anything").info("a message")
    assert caplog.messages == ["a message"]


def test_a_closed_reader_is_no_error():
    command = f"{sys.executable} -c '{PROGRAM}' many | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "result\n" and "Traceback" not in done.stderr
    assert done.returncode == 141  # as of any program that a closed pipe ends


def test_messages_go_to_the_console_too(tmp_path):
    log, console = tmp_path / "log", tmp_path / "console"
    with log.open("w") as stream, console.open("w") as copy:
        done = run(
            "user", console=copy.fileno(), pass_fds=[copy.fileno()], capture_output=False, stderr=stream,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
    assert done.returncode == 2
    for path in (log, console):
        assert path.read_text().count("working on user") == 1
        assert path.read_text().count("put one there") == 1


def test_messages_are_not_doubled_without_a_redirection(tmp_path):
    log = tmp_path / "log"
    with log.open("w") as stream:
        run(
            "well",
            console=stream.fileno(),
            pass_fds=[stream.fileno()],
            capture_output=False,
            stderr=stream,
            stdout=stream,
        )
    assert log.read_text().count("working on well") == 1


def test_the_console_shows_half_a_character(tmp_path):
    """Names of files from JSON may have such; the log of a job would else have a traceback."""
    console, log = tmp_path / "console", tmp_path / "log"
    with console.open("w") as first, log.open("w") as second:
        done = run(
            "half",
            console=first.fileno(),
            pass_fds=[first.fileno()],
            capture_output=False,
            stderr=second,
            stdout=second,
        )
    assert done.returncode == 0
    assert console.read_text().endswith("half \\ud800\n")
    assert "Traceback" not in log.read_text()


def test_a_console_that_is_closed_is_left_alone():
    assert run("well", console=77).returncode == 0


def test_settings_are_parsed_and_errors_named():
    assert cli.settings(TrainSettings, '{"epochs": 3, "precision": "bfloat16"}').epochs == 3
    with pytest.raises(
        ConfigError, match=r"^--settings: epoch: unknown key, is epochs meant\? correct it or leave it out$"
    ):
        cli.settings(TrainSettings, '{"epoch": 3}')
    with pytest.raises(ConfigError, match="--settings"):
        cli.settings(TrainSettings, "{")
    with pytest.raises(ConfigError, match=r"^--keypoints: names: Field required"):
        cli.settings(KeypointSchema, "{}", "--keypoints")


def test_every_program_explains_itself():
    """Every option of every program has a help text, and programs start without loading TensorFlow."""
    programs = sorted((ROOT / "scripts").glob("*.py"))
    script = (
        "import argparse, importlib.util, json, sys\n"
        "for path in sys.argv[1:]:\n"
        "    spec = importlib.util.spec_from_file_location('program', path)\n"
        "    module = importlib.util.module_from_spec(spec)\n"
        "    spec.loader.exec_module(module)\n"
        "    assert module.__doc__, path\n"
        "    parsers = [module.parser()]\n"
        "    while parsers:\n"
        "        for action in (parser := parsers.pop())._actions:\n"
        "            if isinstance(action, argparse._SubParsersAction):\n"
        "                parsers += action.choices.values()\n"
        "            else:\n"
        "                assert action.help, (path, action.dest)\n"
        "        parser.format_help()\n"
        "    assert not {'tensorflow', 'keras', 'apache_beam', 'matplotlib'} & set(sys.modules), path\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, programs)], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


def test_wrong_usage_is_explained_by_argparse(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["program", "--nothing"])
    with pytest.raises(SystemExit) as caught:
        cli.run(lambda arguments: None, argparse.ArgumentParser())
    assert caught.value.code == 2 and "unrecognized arguments: --nothing" in capsys.readouterr().err
