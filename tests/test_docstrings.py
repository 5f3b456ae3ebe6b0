"""Every public function and class has a docstring by the template: what it does, its parameters, what it returns and raises.

Not here: whether the examples run (they are doctests), the ops' own rule of examples (ops/test_every_op.py).
"""

import dataclasses
import importlib
import inspect
import re

import pytest

MODULES = (
    "ops nn nn.init optim data data.cifar data.coco data.color data.digits data.examples data.folders data.geometry "
    "data.images data.label_maps data.loader data.mnist data.multi_crop data.paired data.photos data.shapes data.subsets data.transforms vision models "
    "pretrained recipes recipes.ablations recipes.collapse recipes.depth recipes.detection_road tasks train storage "
    "metrics data.byte_pairs "
    "gradcheck analysis laws viz losses"
).split()


def public():
    """(name, object) of every public function and class, each once; errors are named by what raises them."""
    found = {}
    for module in MODULES:
        home = importlib.import_module(f"minivis.{module}")
        for name in getattr(home, "__all__", [n for n in vars(home) if not n.startswith("_")]):
            thing = getattr(home, name)
            ours = getattr(thing, "__module__", "").startswith("minivis") and callable(thing)
            if ours and not (isinstance(thing, type) and issubclass(thing, BaseException)):
                found.setdefault(id(thing), (f"{module}.{name}", thing))
    return list(found.values())


def sections(thing):
    """The numpydoc sections of a docstring: title -> text; the summary has the empty title."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}$", inspect.getdoc(thing) or "", flags=re.MULTILINE)
    return {"": parts[0].strip(), **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented(text):
    """The names at the left margin of a Parameters section: ``a, b : int`` or ``**options``."""
    margin = [line.split(" :")[0] for line in text.splitlines() if line[:1].strip()]
    return {name.strip().lstrip("*") for line in margin for name in line.split(",")}


def lacking(thing):
    """What a docstring lacks, in words."""
    told = sections(thing)
    raised = told.get("Raises")
    own = inspect.unwrap(thing)
    if isinstance(thing, type):  # a dataclass has its __init__ from nowhere, and checks in __post_init__
        own = vars(thing).get("__post_init__" if dataclasses.is_dataclass(thing) else "__init__")
    source = inspect.getsource(own) if inspect.isfunction(own) else ""
    complaints = [] if told[""] and thing.__doc__ else ["what it does"]
    # made for the user
    if not (isinstance(thing, type) and "Attributes" in told and "Parameters" not in told):
        wanted = set(inspect.signature(thing).parameters) - {"self"}
        have = documented(told.get("Parameters", ""))
        complaints += [f"parameter {name}" for name in sorted(wanted - have)]
        complaints += [f"{name}, which is no parameter" for name in sorted(have - wanted)]
    if not isinstance(thing, type) and re.search(r"\n    (?:    )*(?:return|yield) (?!None)", source):
        complaints += [] if {"Returns", "Yields"} & set(told) else ["Returns"]
    if re.search(r"^\s+raise \w", source, re.MULTILINE) and not raised:
        complaints.append("Raises")
    return complaints


@pytest.mark.parametrize("name, thing", [pytest.param(*pair, id=pair[0]) for pair in public()])
def test_a_docstring_tells_parameters_results_and_errors(name, thing):
    assert lacking(thing) == [], f"the docstring of {name} lacks {', '.join(lacking(thing))}"


def test_the_rule_finds_what_is_missing():
    def tells_half(x, y):
        """Do something.

        Parameters
        ----------
        x, z : int
            Numbers.
        """
        if y:
            raise ValueError("no")
        return x

    assert lacking(tells_half) == ["parameter y", "z, which is no parameter", "Returns", "Raises"]
    assert len(public()) > 150
