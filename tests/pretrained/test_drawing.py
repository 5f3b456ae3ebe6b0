"""`minivis show`: which model a name or folder means, what picture is passed through it, and what is written.

Not here: the drawing itself (tests/viz/test_model_drawing.py).
"""

from pathlib import Path

import pytest
from PIL import Image

import minivis as mv
from minivis import cli, storage
from minivis.pretrained import drawing

PUBLISHED = Path(__file__).parent.parent / "parity" / "published"


def size(path):
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_shipped_model_is_drawn_and_said_where(capsys):
    assert cli.main(["show", "detr-shapes"]) == 0
    assert capsys.readouterr().out == (
        "DETR, passed a picture (1, 3, 64, 64): drawn on detr-shapes-architecture.png\n"
    )
    assert size("detr-shapes-architecture.png")[0] == 360


def test_the_suffix_decides_on_the_format():
    assert cli.main("show vit-digits --out a.svg".split()) == 0
    assert Path("a.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert cli.main("show vit-digits --out a.pdf".split()) == 0
    assert Path("a.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cnn-digits", (1, 1, 8, 8)),
        ("vit-scattered-digits", (1, 1, 16, 16)),
        ("swin-shapes", (1, 3, 64, 64)),
        ("mask2former-shapes", (1, 3, 64, 64)),
        ("resnet20", (1, 3, 32, 32)),
    ],
)
def test_a_card_or_the_table_of_sizes_says_what_a_model_is_shown(name, shape, capsys):
    drawing.show(name)
    assert f"passed a picture {shape}: " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["clip-shapes", "mlm-captions"])
def test_a_shipped_model_that_reads_text_is_shown_an_example(name, capsys):
    drawing.show(name, out="a.svg")
    assert "passed an example of its input: " in capsys.readouterr().out


def test_a_model_of_films_is_shown_a_film(capsys):
    drawing.show("non-local-films")
    assert "passed a film (1, 4, 3, 64, 64): " in capsys.readouterr().out


@pytest.mark.parametrize("kind", sorted(path.name for path in PUBLISHED.iterdir()))
def test_every_kind_of_published_folder_is_drawn(kind, capsys):
    assert drawing.show(PUBLISHED / kind) == Path(f"{kind}-architecture.png")
    assert Path(f"{kind}-architecture.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_of_ones_own_is_drawn_by_its_folder(capsys):
    mv.save(mv.models.ViT(12, 4, 8, 2, 2, num_classes=3, channels=2), "mine")
    assert cli.main(["show", "mine/"]) == 0
    assert capsys.readouterr().out.startswith("ViT, passed a picture (1, 2, 12, 12): drawn on mine-arch")


def test_published_sizes_are_drawn_without_their_weights(capsys, monkeypatch):
    assert cli.main("show resnet18 --size 32".split()) == 0
    assert (
        "ResNet, passed a picture (1, 3, 32, 32): drawn on resnet18-architecture.png"
        in capsys.readouterr().out
    )


def test_modules_can_be_closed(capsys):
    assert cli.main("show detr-shapes --closed backbone transformer --out a.png".split()) == 0
    assert cli.main("show detr-shapes --out b.png".split()) == 0
    assert size("a.png")[1] < size("b.png")[1] / 2


def test_a_model_that_takes_no_picture_is_drawn_with_an_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("sagan-digits", "sngan32_generator"):
        assert cli.main(["show", name]) == 0
        assert "passed an example of its input: drawn on" in capsys.readouterr().out
        assert (tmp_path / f"{name}-architecture.png").stat().st_size > 1000
    assert cli.main(["show", "sagan-digits", "--size", "8"]) == 2
    assert "SAGAN takes no picture" in capsys.readouterr().err


def test_without_a_name_the_names_are_listed(capsys):
    assert cli.main(["show"]) == 0
    listed = capsys.readouterr().out.split()
    assert set(storage.names()) | {"vit_b16", "swin_t", "detr_r50", "mask2former_swin_t", "resnet50"} <= set(
        listed
    )
    assert "attended_pixels" not in listed and "ViT" not in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("detr-shape", "no folder detr-shape and no model of that name; did you mean 'detr-shapes'?"),
        ("nothing-like-it", "(there are: clip-shapes, cnn-digits, "),
        (
            "google/vit-base",
            "https://huggingface.co/google/vit-base, `minivis fetch google/vit-base` brings it",
        ),
        ("vit-digits --out a.gif", "a.gif must end in .png, .svg or .pdf"),
        ("vit-digits --out there/a.png", "to write a.png into"),
        (
            "vit-digits --size 9",
            "show: vit-digits with a picture (1, 1, 9, 9): ViT: patches of 2 x 2 do not fill",
        ),
        ("cnn-digits --size 9000000", "show: cnn-digits with a picture (1, 1, 9000000, 9000000): Unable to"),
        ("vit-digits --closed nose", "architecture: closed names 'nose', which is no module of ViT"),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys, here):
    assert cli.main(["show", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""
    assert list(here.iterdir()) == []
