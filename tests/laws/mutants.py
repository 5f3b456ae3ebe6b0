"""One thing changed at a time in a function's source: an operator, a number, a comparison, a pair, a statement.

Not here: which functions are changed and who must notice (mutation.py).
"""

import ast
import copy

__all__ = ["variants", "changed"]

OTHER_OPERATOR = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mod, ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr,
}  # fmt: skip
OTHER_COMPARISON = {
    ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
OTHER_NAME = {
    "maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max", "argmax": "argmin", "argmin": "argmax",
    "sum": "mean", "mean": "sum", "prod": "sum", "any": "all", "all": "any", "sin": "cos", "cos": "sin",
    "floor": "ceil", "ceil": "floor", "zeros": "ones", "ones": "zeros", "zeros_like": "ones_like", "ones_like": "zeros_like",
    "exp": "expm1", "log": "log1p", "var": "std", "divmod": "_reversed_divmod",
}  # fmt: skip
MAY_BE_LEFT_OUT = {"swapaxes", "transpose", "moveaxis", "clip", "pad", "roll", "flip", "sqrt", "abs", "exp", "log",
                   "isfinite", "maximum", "minimum", "sort", "repeat", "tile"}  # fmt: skip


def variants(node):
    """Other nodes that could stand in the place of this one, each with a few words on the change."""
    make = getattr(_Variants, type(node).__name__.lower(), None)
    return list(make(node)) if make else []


def changed(tree):
    """Syntax trees, each with one change: pairs of (words, tree). Equal texts come once.

    They share with the given tree, and with each other, all nodes but the changed one and those above it.
    """
    above = _above(tree)
    seen = {}  # statement -> texts that it had already
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):  # a docstring or a part of one
            continue
        for words, new in variants(node):
            if not hasattr(new, "lineno") and hasattr(node, "lineno"):
                ast.copy_location(new, node)
            other, statement, text = _replaced(above, node, ast.fix_missing_locations(new))
            texts = seen.setdefault(statement, {ast.unparse(statement)})
            if text not in texts:
                texts.add(text)
                yield f"line {getattr(node, 'lineno', '?')}: {words}", other


def _above(tree):
    """For each node of a tree the one above it, and the field (and the place in a list) where it stands there."""
    found = {}
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for i, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.AST):
                    found[node] = parent, field, i
    return found


def _replaced(above, node, new):
    """The tree with another node in the place of one, the statement where it stands, and that statement's new text."""
    statement = text = None
    while True:
        if statement is None and (isinstance(node, ast.stmt) or node not in above):
            statement = node
            text = ast.unparse(new)
        if node not in above:
            return new, statement, text
        parent, field, i = above[node]
        other = copy.copy(parent)
        value = getattr(parent, field)
        setattr(other, field, new if i is None else [*value[:i], new, *value[i + 1 :]])
        node, new = parent, other


def _with(node, **fields):
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


class _Variants:
    """For each kind of node, what may stand there instead."""

    @staticmethod
    def binop(node):
        if other := OTHER_OPERATOR.get(type(node.op)):
            yield f"{_name(node.op)} becomes {other.__name__}", _with(node, op=other())
        if isinstance(node.op, ast.Sub | ast.Div | ast.MatMult | ast.Pow | ast.FloorDiv | ast.Mod):
            yield f"operands of {_name(node.op)} swapped", _with(node, left=node.right, right=node.left)
        yield f"{_name(node.op)}: the right operand left out", node.left
        if isinstance(node.op, ast.Add | ast.Mult):
            yield f"{_name(node.op)}: the left operand left out", node.right

    @staticmethod
    def compare(node):
        for i, op in enumerate(node.ops):
            for other in OTHER_COMPARISON.get(type(op), ()):
                ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
                yield f"{_name(op)} becomes {other.__name__}", _with(node, ops=ops)

    @staticmethod
    def boolop(node):
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        yield f"{_name(node.op)} becomes {other.__name__}", _with(node, op=other())

    @staticmethod
    def unaryop(node):
        yield f"{_name(node.op)} left out", node.operand

    @staticmethod
    def constant(node):
        value = node.value
        if isinstance(value, bool):
            yield f"{value} becomes {not value}", ast.Constant(not value)
        elif isinstance(value, int):
            yield f"{value} becomes {value + 1}", ast.Constant(value + 1)
            yield f"{value} becomes {value - 1}", ast.Constant(value - 1)
        elif isinstance(value, float):
            yield f"{value} becomes {2 * value}", ast.Constant(2 * value)
            yield f"{value} becomes {value + 1}", ast.Constant(value + 1)

    @staticmethod
    def call(node):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if (other := OTHER_NAME.get(name)) and isinstance(node.func, ast.Attribute):
            yield f"{name} becomes {other}", _with(node, func=_with(node.func, attr=other))
        if name in MAY_BE_LEFT_OUT:
            own = node.func.value if isinstance(node.func, ast.Attribute) else None
            module = isinstance(own, ast.Name) and own.id in ("np", "math")
            if own is not None and not module:
                yield f"{name} left out", own
            elif node.args:
                yield f"{name} left out", node.args[0]
        for i, word in enumerate(node.keywords):
            if word.arg is not None:
                yield (
                    f"{name}: {word.arg} left out",
                    _with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :]),
                )
        for i in range(len(node.args) - 1):
            args = list(node.args)
            args[i], args[i + 1] = args[i + 1], args[i]
            yield f"{name}: arguments {i} and {i + 1} swapped", _with(node, args=args)

    @staticmethod
    def tuple(node):
        for i in range(len(node.elts) - 1):
            elements = list(node.elts)
            elements[i], elements[i + 1] = elements[i + 1], elements[i]
            yield f"elements {i} and {i + 1} swapped", _with(node, elts=elements)

    list = tuple

    @staticmethod
    def slice(node):
        for part in ("lower", "upper", "step"):
            if getattr(node, part) is not None:
                yield f"{part} of a slice left out", _with(node, **{part: None})

    @staticmethod
    def ifexp(node):
        yield "always the first", node.body
        yield "always the second", node.orelse

    @staticmethod
    def comprehension(node):
        if node.ifs:
            yield "the condition left out", _with(node, ifs=[])

    @staticmethod
    def augassign(node):
        if other := OTHER_OPERATOR.get(type(node.op)):
            yield f"{_name(node.op)}= becomes {other.__name__}=", _with(node, op=other())
        yield "= for an augmented assignment", ast.Assign(targets=[node.target], value=node.value)
        yield "statement left out", ast.Pass()

    @staticmethod
    def assign(node):
        if not all(isinstance(target, ast.Name | ast.Tuple) for target in node.targets):
            yield "statement left out", ast.Pass()

    @staticmethod
    def expr(node):
        if not isinstance(node.value, ast.Constant):
            yield "statement left out", ast.Pass()

    # `if x:` in a function: ast.If
    @staticmethod
    def if_(node):
        yield "always", _with(node, test=ast.Constant(True))
        yield "never", _with(node, test=ast.Constant(False))


setattr(_Variants, "if", _Variants.if_)


def _name(op):
    return type(op).__name__
