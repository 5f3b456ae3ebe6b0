"""Pictures of the features of patches, and pictures from files.

Not here: the features themselves (tests/analysis/test_patch_features.py).
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from minivis import viz

ROOT = Path(__file__).parents[2]
RNG = np.random.default_rng(0)
PHOTO = RNG.random((3, 28, 42))
PARTS = RNG.random((2, 3, 3))


def test_equal_components_have_equal_colours_in_all_photos():
    other = PARTS.copy()
    other[1, 2] = 3.0
    masks = [np.ones((2, 3), bool), np.arange(6).reshape(2, 3) > 0]
    fig = viz.patch_components([PHOTO, PHOTO], [PARTS, other], masks, titles=["a", "b"], caption="c")
    first, second = (ax.images[0].get_array() for ax in fig.axes[2:])
    np.testing.assert_array_equal(first[0, 1:], second[0, 1:])
    assert (second[0, 0] == 1).all() and (second[1, 2] == 1).all()  # white outside; the largest inside
    assert first.min() >= 0 and first.max() <= 1
    assert [ax.get_title() for ax in fig.axes[:2]] == ["a", "b"] and fig.caption == "c"
    viz.patch_components([PHOTO], [PARTS], [np.zeros((2, 3), bool)])  # nothing stands out


def test_each_pair_has_a_line_and_two_dots():
    fig = viz.correspondences(PHOTO, PHOTO[:, ::2], [[3, 4], [20, 30]], [[1, 4], [10, 30]], titles=["a", "b"])
    assert [tuple(line.xy1) for line in fig.artists] == [(4, 3), (30, 20)]
    assert [tuple(line.xy2) for line in fig.artists] == [(4, 1), (30, 10)]
    assert [len(ax.lines) for ax in fig.axes] == [2, 2]
    assert len({line.get_edgecolor() for line in fig.artists}) == 2
    fig.png()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.patch_components([PHOTO], []), "1 images, 0 components"),
        (lambda: viz.patch_components([], []), "0 images"),
        (lambda: viz.patch_components([PHOTO], [PARTS[..., :2]]), r"components must be \(rows, columns, 3\)"),
        (
            lambda: viz.patch_components([PHOTO], [PARTS], [np.ones((3, 3), bool)]),
            r"got \(2, 3, 3\) and \(3, 3\)",
        ),
        (lambda: viz.correspondences(PHOTO, PHOTO, [[1, 2]], [[1, 2], [3, 4]]), r"got \(1, 2\) and \(2, 2\)"),
        (lambda: viz.correspondences(PHOTO, PHOTO, [1, 2], [1, 2]), r"must both be \(n, 2\)"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def png(caption):
    about = PngImagePlugin.PngInfo()
    if caption:
        about.add_text("Description", caption)
    out = io.BytesIO()
    Image.new("RGB", (4, 3)).save(out, "PNG", pnginfo=about)
    return out.getvalue()


def test_a_stored_picture_is_shown_as_a_figure_is(tmp_path):
    (tmp_path / "a.png").write_bytes(png("What to look at."))
    picture = viz.stored_picture(tmp_path / "a.png")
    shown, about = picture._repr_mimebundle_()
    assert shown["image/png"] == picture.png() == (tmp_path / "a.png").read_bytes()
    assert about["image/png"]["alt"] == picture.caption == "What to look at."
    (tmp_path / "b.png").write_bytes(png(None))
    with pytest.raises(ValueError, match="has no caption"):
        viz.stored_picture(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match="is not a PNG file"):
        viz.stored_picture(tmp_path / "c.png")
    with pytest.raises(FileNotFoundError, match="there is no picture"):
        viz.stored_picture(tmp_path / "d.png")


def test_the_stored_pictures_of_the_chapters_are_those_they_name():
    stored = {path.name: path for path in (ROOT / "notebooks" / "pictures").iterdir()}
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "notebooks" / "src").glob("*.py"))
    named = {part.split('"')[0] for part in sources.split('stored_picture("pictures/')[1:]}
    assert set(stored) == named
    for path in stored.values():
        picture = viz.stored_picture(path)
        assert path.stat().st_size <= 150_000 and len(picture.caption) > 40
        with Image.open(path) as image:
            assert "Apache-2.0" in image.text["Source"]
