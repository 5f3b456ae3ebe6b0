"""The `minivis` command: what it hands on to whom, its exit codes, and errors in one line.

Not here: the doctor, the laws and the recipes themselves.
"""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import minivis
from minivis import cli

ROOT = Path(__file__).resolve().parent.parent


def stand_in(monkeypatch, name, **members):
    """Put a module of our own in the place of `minivis.name`."""
    module = types.ModuleType(f"minivis.{name}")
    vars(module).update(members)
    # first the attribute: what it was may have to be loaded to be put back
    parent, _, last = name.rpartition(".")
    monkeypatch.setattr(sys.modules[f"minivis.{parent}".rstrip(".")], last, module, raising=False)
    monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture
def runs(monkeypatch):
    """Recipes that only write down how they were called."""
    calls = []

    def run(name, out=None, seed=0, steps=None, resume=False):
        calls.append((name, out, seed, steps, resume))
        print("held-out accuracy 97.5 % (351 of 360)")

    stand_in(monkeypatch, "recipes", names=lambda: ["cnn-digits", "vit-digits"], run=run)
    return calls


def failing(monkeypatch, error):
    def run(*arguments, **options):
        raise error

    stand_in(monkeypatch, "recipes", names=lambda: ["vit-digits"], run=run)


def test_train_hands_its_options_on(runs, capsys):
    assert cli.main("train vit-digits --out there --seed 3 --steps 20 --resume".split()) == 0
    assert runs == [("vit-digits", Path("there"), 3, 20, True)]
    assert capsys.readouterr().out.splitlines()[-1] == "held-out accuracy 97.5 % (351 of 360)"


def test_train_leaves_the_rest_to_the_recipe(runs):
    assert cli.main(["train", "cnn-digits"]) == 0
    assert runs == [("cnn-digits", None, 0, None, False)]


def test_train_without_a_name_lists_the_names(runs, capsys):
    assert cli.main(["train"]) == 0
    assert capsys.readouterr().out.split()[-2:] == ["cnn-digits", "vit-digits"]
    assert runs == []


def test_an_unknown_recipe_is_one_line(capsys):
    assert cli.main(["train", "vit-digit"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert "'vit-digit'" in captured.err and "swin-shapes, unet-shapes, vit-digits" in captured.err


@pytest.mark.parametrize(
    "arguments", ["--seed -1", "--seed x", "--steps 0", "--steps 1.5", "--sead 1", "--out="]
)
def test_a_bad_option_is_refused(runs, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", "vit-digits", *arguments.split()])
    assert stop.value.code == 2 and runs == []
    assert "minivis" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("fit: steps must be positive"),
        FloatingPointError("fit: step 5: the loss is nan"),
        FileNotFoundError(2, "No such file or directory", "there/model.safetensors"),
        PermissionError(13, "Permission denied", "/there"),
        OSError(28, "No space left on device"),
        ImportError("data.digits needs scikit-learn: pip install scikit-learn"),
    ],
)
def test_what_a_user_can_cause_is_one_line(monkeypatch, capsys, error):
    failing(monkeypatch, error)
    assert cli.main(["train", "vit-digits"]) == 2
    captured = capsys.readouterr()
    assert captured.err == f"minivis: {error}\n" and captured.out == ""


def test_traceback_shows_where_it_arose(monkeypatch):
    failing(monkeypatch, ValueError("fit: steps must be positive"))
    with pytest.raises(ValueError, match="fit: steps"):
        cli.main(["--traceback", "train", "vit-digits"])


def test_a_defect_of_ours_is_not_hidden(monkeypatch):
    failing(monkeypatch, ZeroDivisionError("ours"))
    with pytest.raises(ZeroDivisionError):
        cli.main(["train", "vit-digits"])


def test_ctrl_c_is_no_traceback(monkeypatch, capsys):
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["train", "vit-digits"]) == 130
    assert capsys.readouterr().err == "\nminivis: stopped\n"


@pytest.mark.parametrize("verdict", [0, 1])
def test_check_returns_the_verdict(monkeypatch, verdict):
    calls = []
    stand_in(monkeypatch, "laws", names=lambda: ["softmax"])
    stand_in(monkeypatch, "laws.judging.command", check_file=lambda *call: calls.append(call) or verdict)
    assert cli.main(["check", "softmax", "solution.py:mine"]) == verdict
    assert calls == [("softmax", "solution.py:mine")]


def test_check_without_a_name_lists_the_names(monkeypatch, capsys):
    stand_in(monkeypatch, "laws", names=lambda: ["conv2d", "softmax"])
    stand_in(monkeypatch, "laws.judging.command", check_file=None)
    assert cli.main(["check"]) == 0
    assert capsys.readouterr().out.split()[-2:] == ["conv2d", "softmax"]


def test_check_without_a_target_says_how_to_name_one(monkeypatch, capsys):
    stand_in(monkeypatch, "laws", names=lambda: ["softmax"])
    stand_in(monkeypatch, "laws.judging.command", check_file=None)
    assert cli.main(["check", "softmax"]) == 2
    assert "minivis check softmax FILE.py:FUNCTION" in capsys.readouterr().err


def test_doctor_returns_its_exit_code(monkeypatch):
    stand_in(monkeypatch, "doctor", main=lambda: 1)
    assert cli.main(["doctor"]) == 1


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        **options,
    )


def test_python_m_minivis_is_the_command():
    result = run("-m", "minivis", "--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"minivis {minivis.__version__}\n", "")
    result = run("-m", "minivis")
    assert result.returncode == 2 and result.stderr.startswith("usage: minivis ")


def test_help_names_every_command_and_loads_none():
    result = run("-X", "importtime", "-m", "minivis", "--help")
    assert result.returncode == 0
    assert all(f"\n    {name} " in result.stdout for name in ("doctor", "check", "train", "show"))
    loaded = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "minivis.cli" in loaded
    assert not loaded & {
        "minivis.doctor",
        "minivis.laws",
        "minivis.recipes",
        "scipy",
        "hypothesis",
        "matplotlib",
    }


def test_a_reader_that_stops_early_is_no_error():
    code = "import sys; from minivis.cli import main; sys.exit(main(['train']))"
    writer = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    writer.stdout.close()  # as `| head -0` does
    assert (writer.stderr.read(), writer.wait(60)) == (b"", 0)
    writer.stderr.close()
