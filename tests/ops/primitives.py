"""Every differentiable primitive of the library, in whatever file: the case tables must have rows for each.

Not here: the rows (tests/ops/cases).
"""

import ast
import functools
import importlib
from pathlib import Path

import minivis as mv

LIBRARY = Path(mv.__file__).parent


@functools.cache
def primitives(library=LIBRARY):
    """Find each function under ``@primitive``, also private ones and those outside ops: {name: module}."""
    found = {}
    for path in sorted(library.rglob("*.py")):
        module = ".".join(["minivis", *path.relative_to(library).with_suffix("").parts])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and any(map(makes_a_primitive, node.decorator_list)):
                found[node.name] = module
    return found


def hidden(library=LIBRARY):
    """Find where a primitive is made in a way that `primitives` does not see: "file:line"."""
    found = []
    for path in sorted(library.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        decorators = [part for node in ast.walk(tree) for part in getattr(node, "decorator_list", [])]
        seen = {id(part) for decorator in decorators for part in ast.walk(decorator)}
        found += [
            f"{path.relative_to(library).as_posix()}:{node.lineno}"
            for node in ast.walk(tree)
            if (is_primitive(node) and id(node) not in seen) or is_renamed(node)
        ]
    return found


def makes_a_primitive(decorator):
    return is_primitive(decorator.func if isinstance(decorator, ast.Call) else decorator)


def is_primitive(node):
    if isinstance(node, ast.Attribute):
        return node.attr == "primitive"
    return isinstance(node, ast.Name) and node.id == "primitive"


def is_renamed(node):
    return isinstance(node, ast.alias) and node.name == "primitive" and node.asname is not None


def op_named(name):
    """The public op of that name in `mv.ops`, or the primitive in another module."""
    if name in mv.ops.__all__:
        return getattr(mv.ops, name)
    return getattr(importlib.import_module(primitives()[name]), name)
