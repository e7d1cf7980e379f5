"""The command line itself: help, exit codes, the layers of settings, and errors that are sentences."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import cxrcad as package
from cxrcad.cli.main import COMMANDS, GROUPS, cli, main
from cxrcad.config import (
    DetectConfig,
    EvaluateConfig,
    ExportConfig,
    PhantomConfig,
    SimulateConfig,
    TrainConfig,
    settings_of,
)

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = {
    **{"train": TrainConfig, "detect": DetectConfig, "evaluate": EvaluateConfig, "froc": EvaluateConfig},
    **{"export": ExportConfig, "phantom": PhantomConfig, "simulate": SimulateConfig},
}


def test_help_lists_every_command_and_where_settings_come_from(cxrcad):
    answer = cxrcad("--help")
    assert (answer.code, answer.err) == (0, "")
    _, *sections = re.split(r"^(\w+):\n", answer.out.split("Options:\n")[1], flags=re.MULTILINE)
    listed = {
        title: re.findall(r"^  ([\w-]+)", rows, re.MULTILINE)
        for title, rows in zip(sections[::2], sections[1::2], strict=True)
    }
    assert listed == {title: list(commands) for title, commands in GROUPS.items()}
    assert [commands[0] for commands in listed.values()] == ["detect", "train", "evaluate", "reproduce"]
    assert "default < cxrcad.toml here < --config FILE < environment" in " ".join(answer.out.split())


@pytest.mark.parametrize("command", list(CONFIGS))
def test_a_command_s_help_shows_every_setting_with_its_default(cxrcad, command):
    answer = cxrcad(command, "--help-all" if any(item.advanced for item in settings_of(CONFIGS[command])) else "--help")
    assert answer.code == 0
    text = " ".join(answer.out.split())
    for item in settings_of(CONFIGS[command]):
        assert any(f"{item.flag}{end}" in answer.out for end in (" ", "/", ","))
        if item.default is not None and item.type is not bool:
            shown = f"{item.default:g}" if isinstance(item.default, float) else str(item.default)
            assert f"[default: {shown}]" in text


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_says_what_it_does(cxrcad, command):
    answer = cxrcad(command, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"Usage: cxrcad {command} ")
    assert cxrcad(command, "-h").out == answer.out


def test_the_version(cxrcad):
    assert cxrcad("--version").out == f"cxrcad, version {package.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["detect", "--help"], ["train", "--help"], ["froc", "--help"]])
def test_help_imports_nothing_heavy(arguments, tmp_path):
    script = (
        f"import sys, json; sys.path.insert(0, {str(ROOT)!r})\n"
        "from cxrcad.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=600)
    loaded = set(json.loads(done.stderr))
    heavy = {"torch", "onnxruntime", "scipy", "pydicom", "matplotlib", "SimpleITK", "rich", "PIL", "kornia"}
    assert not loaded & heavy


def test_ctrl_c_while_the_command_line_still_loads_is_a_sentence(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'click':\n            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from cxrcad.__main__ import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "cxrcad: stopped\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["detct"], "Error: there is no command 'detct'; did you mean detect?"),
        (
            ["xyzzy"],
            "Error: there is no command 'xyzzy'; the commands are detect, listen, watch, queue, merge, models, ",
        ),
        (["detect", "x", "--treshold", "1"], "Error: No such option '--treshold'"),
        (["info"], "Error: Missing argument 'PATHS...'"),
        (["export", "run"], "Error: Missing option '--out'"),
        (["phantom"], "Error: Missing argument 'OUT'"),
        (["phantom", "out", "--cases", "many"], "Error: --cases many: it takes a whole number at least 1"),
        (["demo", "--cases", "0"], "Error: Invalid value for '--cases'"),
    ],
)
def test_wrong_usage_ends_with_2(cxrcad, tmp_path, arguments, sentence):
    answer = cxrcad(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.splitlines()[-1].startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("rank", "job"), [("LOCAL_RANK", "TORCHELASTIC_RUN_ID"), ("SLURM_LOCALID", "SLURM_STEP_ID")])
@pytest.mark.parametrize("words", [["--side", "x"], ["--sied", "64"], ["--config", "no.toml"]])
def test_wrong_usage_of_a_training_in_several_processes_is_told_once(cxrcad, tmp_path, monkeypatch, words, rank, job):
    monkeypatch.setenv(job, "1")
    for number, told in (("0", 1), ("1", 0), ("3", 0)):
        monkeypatch.setenv(rank, number)
        answer = cxrcad("train", "--data", tmp_path, *words)
        assert (answer.code, answer.err.count("Error: ")) == (2, told)
    assert cxrcad("detect", "--sied", 64).err.count("Error: ") == 1, "each task of a batch tells its own errors"
    monkeypatch.delenv(job)
    assert cxrcad("train", "--sied", 64).err.count("Error: ") == 1, "a rank of something else"


def test_no_command_shows_the_help_and_ends_with_2(cxrcad):
    answer = cxrcad()
    assert answer.code == 2
    assert "\nUse:\n  detect " in answer.err


@pytest.fixture
def side(cxrcad, monkeypatch):
    """`side(*flags)` -> the side that reached the training."""
    pytest.importorskip("torch")
    given = []
    monkeypatch.setattr(
        "cxrcad.training.plan.train", lambda config, bar, names, watcher: given.append(config.grid.side) or Path()
    )

    def ask(*flags):
        assert cxrcad("train", *flags).code == 0
        return given.pop()

    return ask


def test_default_file_config_environment_flag_each_goes_before_the_last(side, tmp_path, monkeypatch):
    assert side() == 1024
    (tmp_path / "cxrcad.toml").write_text("side = 100\n")
    assert side() == 100
    (tmp_path / "recipe.toml").write_text("[grid]\nside = 200\n")
    assert side("--config", "recipe.toml") == 200
    monkeypatch.setenv("CXRCAD_SIDE", "300")
    assert side("--config", "recipe.toml") == 300
    assert side("--config", "recipe.toml", "--side", "400") == 400
    monkeypatch.setenv("CXRCAD_SIDE", "")
    assert side("--config", "recipe.toml") == 200


def test_detect_takes_its_settings_from_file_and_environment(cxrcad, make_toy, disc_data, tmp_path, monkeypatch):
    make_toy(tmp_path / "toy")
    image = disc_data / "images" / "JPCLN001.png"

    def threshold(*flags):
        answer = cxrcad("detect", image, "--out", "-", *flags)
        assert answer.code == 0, answer.err
        return json.loads(answer.out)["model"]["threshold"]

    (tmp_path / "cxrcad.toml").write_text('model = "toy"\n[find]\nthreshold = 0.1\n')
    assert threshold() == 0.1
    (tmp_path / "other.toml").write_text("threshold = 0.2\n")
    assert threshold("--config", "other.toml") == 0.2
    monkeypatch.setenv("CXRCAD_THRESHOLD", "0.3")
    assert threshold("--config", "other.toml") == 0.3
    assert threshold("--config", "other.toml", "--threshold", "0.4") == 0.4


def test_the_data_folder_may_come_from_the_environment(cxrcad, make_run, disc_data, tmp_path, monkeypatch):
    make_run(tmp_path / "runs" / "toy")
    monkeypatch.setenv("CXRCAD_DATA", str(tmp_path / "gone"))
    assert "gone: there is no such folder" in cxrcad("evaluate", "--fold", "3").err
    monkeypatch.setenv("CXRCAD_DATA", str(disc_data))
    assert cxrcad("evaluate", "--fold", "3").code == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sied = 3", "there is no setting sied; did you mean side?"),
        ('side = "wide"', "side is 'wide'; it takes a whole number at least 32, at most 4096"),
        ("side = 1.5", "side is 1.5; it takes a whole number"),
        ("threshold = nan", "threshold is nan; it takes a number at least 0, at most 1"),
        ("side = [1, 2]", "side is [1, 2]; it takes a whole number"),
        ("side 3", "not readable as TOML"),
        ("\xff", "not readable as TOML"),
    ],
)
def test_a_bad_settings_file_is_one_sentence_with_exit_code_2(cxrcad, tmp_path, text, sentence):
    (tmp_path / "cxrcad.toml").write_bytes(text.encode("latin-1"))
    answer = cxrcad("train")
    assert (answer.code, answer.out, len(answer.err.splitlines())) == (2, "", 1)
    assert answer.err.startswith(f"Error: {tmp_path / 'cxrcad.toml'}: ")
    assert sentence in answer.err


def test_a_bad_environment_variable_is_named(cxrcad, monkeypatch):
    monkeypatch.setenv("CXRCAD_FOLD", "seven")
    answer = cxrcad("evaluate")
    assert answer.code == 2
    assert answer.err == ("Error: environment variable CXRCAD_FOLD: fold is 'seven'; choose from 1, 2, 3, 4, 5, all\n")


def test_a_mistyped_environment_variable_is_wrong_usage(cxrcad, tmp_path, monkeypatch):
    monkeypatch.setenv("CXRCAD_THRESHHOLD", "0.3")
    answer = cxrcad("detect", "scan.dcm")
    assert (answer.code, answer.out) == (2, "")
    sentence = "there is no setting threshhold; did you mean threshold?"
    assert answer.err == f"Error: environment variable CXRCAD_THRESHHOLD: {sentence}\n"


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (PermissionError(13, "Permission denied", "/closed"), 1, "Error: /closed: Permission denied; check the path"),
        (MemoryError(), 1, "Error: not enough memory"),
        (KeyboardInterrupt(), 130, "cxrcad: stopped"),
    ],
)
def test_what_the_system_refuses_is_a_sentence_too(cxrcad, monkeypatch, error, code, sentence):
    def fail(**arguments):
        raise error

    monkeypatch.setattr("cxrcad.commands.models.describe_models", fail)
    answer = cxrcad("models")
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.splitlines()[-1].startswith(sentence)


def test_a_fault_of_our_own_is_not_hidden(monkeypatch):
    def fail(**arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("cxrcad.commands.models.describe_models", fail)
    with pytest.raises(ZeroDivisionError):
        main(["models"])


def test_the_module_runs_as_the_command_does(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cxrcad", "info", "nowhere.png"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: nowhere.png: there is no such file; check the path\n"


def test_every_command_of_the_table_is_a_command():
    import click

    with click.Context(cli) as context:
        assert cli.list_commands(context) == list(COMMANDS)
        assert cli.get_command(context, "none") is None
        for name in COMMANDS:
            command = cli.get_command(context, name)
            assert command is not None
            assert command.name == name


@pytest.mark.usefixtures("interruptible")
def test_a_time_limit_stops_the_work_as_ctrl_c_does(cxrcad, monkeypatch):
    def stopped(config, note):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(10)

    monkeypatch.setattr("cxrcad.commands.evaluate.report_evaluation", stopped)
    before = signal.getsignal(signal.SIGTERM)
    answer = cxrcad("evaluate")
    assert (answer.code, answer.out, answer.err.strip()) == (143, "", "cxrcad: stopped")
    assert signal.getsignal(signal.SIGTERM) is before
