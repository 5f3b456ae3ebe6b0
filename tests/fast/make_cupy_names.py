"""Write tests/fast/cupy_names.json: the public names of CuPy and their parameters, so that tests need no CuPy.

Run from the repository's root, where CuPy is installed (a GPU is not needed):  python -m tests.fast.make_cupy_names
"""

import ast
import inspect
import json
import re
import types
from pathlib import Path

PATH = Path(__file__).parent / "cupy_names.json"
SUBMODULES = ("linalg", "lib.stride_tricks")


def parameters(value):
    """The parameters as text: positional names, `*` for any number, then `|` and keyword-only names.

    `**` takes any keyword. None where nothing is known but the name (constants, types).
    """
    if isinstance(value, type) or not callable(value):
        return None
    try:
        found = list(inspect.signature(value).parameters.values())
        groups = {kind: [p.name for p in found if p.kind is kind] for kind in inspect._ParameterKind}
        positional = (
            groups[inspect.Parameter.POSITIONAL_ONLY] + groups[inspect.Parameter.POSITIONAL_OR_KEYWORD]
        )
        keywords = groups[inspect.Parameter.KEYWORD_ONLY]
        many, any_keyword = groups[inspect.Parameter.VAR_POSITIONAL], groups[inspect.Parameter.VAR_KEYWORD]
    except ValueError:  # compiled: the first line of the docstring is the signature
        line = (value.__doc__ or "").strip().split("\n")[0].replace("\\", "").split(" -> ")[0]
        line = re.sub(r"(?<=[(, ])\w+ (?=\w)", "", line.removeprefix("_ndarray_base."))  # without the C types
        try:
            args = ast.parse(f"def {line}: pass").body[0].args
        except SyntaxError:
            return None
        positional = [a.arg for a in (*args.posonlyargs, *args.args)]
        keywords = [a.arg for a in args.kwonlyargs]
        many, any_keyword = args.vararg, args.kwarg
    left = [*(p for p in positional if p != "self"), *(["*"] if many else [])]
    right = [*keywords, *(["**"] if any_keyword else [])]
    return " ".join(left) + (" | " + " ".join(right) if right else "")


def names(cupy):
    """Name -> parameters, for everything public in CuPy, in two of its submodules and in its arrays."""
    found = {}
    places = [("", cupy), ("ndarray.", cupy.ndarray)]
    for path in SUBMODULES:
        module = cupy
        for part in path.split("."):
            module = getattr(module, part)
        places.append((path + ".", module))
    for prefix, place in places:
        for name in dir(place):
            value = getattr(place, name)
            if not name.startswith("_") and not isinstance(value, types.ModuleType):
                found[prefix + name] = parameters(value)
    return found


if __name__ == "__main__":
    import cupy

    stored = {"version": cupy.__version__, "names": names(cupy)}
    PATH.write_text(json.dumps(stored, indent=0, sort_keys=True) + "\n")
    print(
        f"CuPy {cupy.__version__}: {len(stored['names'])} names, {PATH.stat().st_size / 1024:.0f} KB: {PATH}"
    )
