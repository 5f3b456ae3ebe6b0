"""Names come from users: one with dollar signs and braces is drawn as it is, and never read as a formula.

Not here: what each picture shows (the other files), names in a terminal (pretrained/test_prediction.py).
"""

import ast
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

from minivis import viz

VIZ = Path(viz.__file__).parent
# method -> at which place it takes a text, or a list of texts
DRAWS = {"text": 2, "annotate": 0, "set_title": 0, "set_xlabel": 0, "set_ylabel": 0, "set_label": 0, "suptitle": 0, "supxlabel": 0,
         "supylabel": 0, "set_xticks": 1, "set_yticks": 1, "set_xticklabels": 0, "set_yticklabels": 0}  # fmt: skip


# (file, text): numbers, and words of the code itself
NO_NAMES = {
    ("attention.py", "number"),
    ("charts.py", "[f'{x:g}' for x in measured]"),
    ("computation_graph.py", "f'×{count}'"),
    ("confusion.py", "f'No mistake among {total} pictures'"),
    ("confusion.py", "text"),
    ("detection.py", "channel + 1"),
    ("matching.py", "_sum(cost[rows, columns], fig.get_figwidth())"),
    ("pictures.py", "text"),
    ("segmenter.py", "f'{value:.1f}'.replace('-0.0', '0.0')"),
    ("segmenter.py", "[_span(int(d), end) for d, end in zip(distance, ends, strict=True)]"),
    ("self_distillation.py", "f'view {i + 1}: {who}'"),
    ("self_distillation.py", "name"),
    ("squares.py", "f'×{_number(weight)}'"),
    ("squares.py", "_number(value)"),
    ("squares.py", "text"),
    ("windows.py", "'ABCDEFGHI'[place]"),
}


def fixed(node):
    """Whether a text is written in the code, numbers apart."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.JoinedStr):
        parts = [part for part in node.values if isinstance(part, ast.FormattedValue)]
        return all(part.format_spec is not None for part in parts)
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "str":
        return True  # of a number; names are texts already
    return isinstance(node, ast.List | ast.Tuple) and all(map(fixed, node.elts))


def formulas(source):
    """Calls that draw a text of unknown content, and do not say that it is no formula."""
    tree = ast.parse(source)
    said = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and "**LITERAL" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        method = getattr(getattr(node, "func", None), "attr", None)
        if method == "legend":  # style.legend does it
            yield ast.unparse(node)
        if method not in DRAWS or len(node.args) <= DRAWS[method] or fixed(node.args[DRAWS[method]]):
            continue
        spread = [ast.unparse(k.value) for k in node.keywords if k.arg is None]
        if not any(text == "LITERAL" or text in said or "**LITERAL" in text for text in spread):
            yield ast.unparse(node.args[DRAWS[method]])


def test_no_picture_reads_a_name_as_a_formula():
    files = [path for path in sorted(VIZ.glob("*.py")) if path.name != "style.py"]
    found = {(path.name, text) for path in files for text in formulas(path.read_text(encoding="utf-8"))}
    assert found - NO_NAMES == set(), "give **LITERAL to these, or list them above if no name can be in them"
    assert NO_NAMES - found == set(), "these are gone"


def test_the_search_finds_what_is_forgotten():
    drawn = (
        "look = {**LITERAL}\nax.text(0, 0, name, **look)\nax.set_title('loss')\nax.set_title(f'{x:.2f}')\n"
    )
    assert list(formulas(drawn)) == []
    for forgotten in (
        "ax.text(0, 0, name)",
        "ax.set_yticks(places, names, fontsize=8)",
        "ax.set_title(f'a {name}')",
    ):
        assert len(list(formulas(drawn + forgotten))) == 1


ODD = [
    "$5 and $10",
    "$",
    r"$\frac{$",
    "x^2_{",
    "a$$b",
    "line\nbreak",
    "<b>",
    "\u72ac",
    "",
    "   ",
    "a" * 300,
    "%s {x}",
    "\x00nul",
]


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")  # not every font has every letter
def test_odd_names_are_drawn_as_they_are(tmp_path):
    """A name with dollar signs is as wide as its letters say: matplotlib does not take it for a formula."""
    image = np.full((3, 40, 60), 0.5, np.float32)
    count = len(ODD)
    names = dict(enumerate(ODD))
    numbers = np.arange(count)
    boxes = np.tile([5.0, 5, 30, 30], (count, 1))
    ids = np.arange(40 * 60).reshape(40, 60) * count // (40 * 60)
    segments = [
        {"id": i + 1, "category_id": i, "isthing": True, "score": 0.9, "area": 100} for i in range(count)
    ]
    name = ODD[0]
    figures = [
        viz.boxes_on_image(image, boxes, numbers, np.full(count, 0.9), names),
        viz.boxes_on_images([image], [boxes[:1]], titles=[name]),
        viz.classes_on_image(image, ODD, np.full(count, 0.9)),
        viz.masks_on_image(image, np.ones((count, 40, 60), bool), numbers, np.full(count, 0.9), names),
        viz.panoptic_on_image(image, 1 + ids, segments, names),
        viz.semantic_map(ids, names, image),
        viz.bars({name: {name: 1.0}, "b": {name: 2.0}}, name),
        viz.curves({name: [1, 2], "b": [2, 1]}, name, name, level={name: 1.5}),
        viz.dots({name: [1.0, 2.0]}, name, title=name, caption=name),
        viz.heatmap(np.eye(2), x_names=[name, "b"], y_names=["a", name], bar_label=name),
    ]
    for number, fig in enumerate(figures):
        fig.save(tmp_path / f"{number}.png")
        odd = [text for text in fig.findobj(Text) if "$" in text.get_text()]
        assert odd and not any(text.get_parse_math() for text in odd)
