"""The table of all problems that `minivis doctor` can find, with its advice, read from its source code so that it is complete.

Not here: examining this machine, and advice written by hand (troubleshooting.md).
"""

import ast
import builtins
import inspect

from book.generate.markdown import escape, head, row
from minivis import doctor

STATES = {"_note": "note", "_broken": "broken"}
COMMANDS = ("_pip(", "_setenv(")  # functions of doctor.py that make a command


def table():
    """The text of the table: every possible problem, in the order of doctor.py."""
    lines = head("about", "the doctor says", "what to do")
    for kind, subject, says, todo in findings():
        lines.append(row(escape(subject), f"{STATES[kind]}: {escape(says)}", f"`{todo}`" if todo else ""))
    return "\n".join(lines) + "\n"


def findings():
    """Yield (kind, subject, says, todo) of every problem in doctor.py; ``<name>`` stands for a part that varies."""
    for function in ast.parse(inspect.getsource(doctor)).body:
        if isinstance(function, ast.FunctionDef):
            calls = [
                n
                for n in ast.walk(function)
                if isinstance(n, ast.Call) and getattr(n.func, "id", "") in STATES
            ]
            for call in sorted(calls, key=lambda call: call.lineno):
                texts = [words(argument, function, call.lineno) for argument in call.args]
                yield call.func.id, *texts, *[""] * (3 - len(texts))


def words(node, function, line):
    """The text of an expression of doctor.py, as far as it is known without running it."""

    def again(part):
        return words(part, function, line)

    match node:
        case ast.Constant():
            return str(node.value)
        case ast.JoinedStr():
            return "".join(map(again, node.values))
        case ast.FormattedValue():
            return again(node.value)
        case ast.BinOp(op=ast.Add()):
            return again(node.left) + again(node.right)
        case ast.IfExp():
            return again(node.body)
        case ast.Call(func=ast.Name(id="_pip")):
            return f"python -m pip install {again(node.args[0])}"
        case ast.Call(func=ast.Name(id="_setenv")):
            return "export {}={}".format(*map(again, node.args))
        case ast.Name() if text := assigned(node.id, function, line):
            return text
        case ast.Name() | ast.Attribute():
            return f"<{getattr(node, 'id', None) or node.attr}>"
        case ast.Subscript(slice=ast.Constant(value=key)):
            return f"<{key}>"
        case ast.Call(func=ast.Attribute(value=ast.Subscript() as value)):
            return again(value)
    names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id not in dir(builtins)]
    return f"<{names[-1]}>"


def assigned(name, function, line):
    """The text that a variable of a function has at a line, if it was made from texts; otherwise an empty string."""
    text = ""
    for node in sorted((n for n in ast.walk(function) if isinstance(n, ast.stmt)), key=lambda n: n.lineno):
        if node.lineno >= line:
            break
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            value = node.value
            several = isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=True) if several else [(target, value)]
            for one, part in pairs:
                says = isinstance(part, ast.Constant | ast.JoinedStr) or ast.unparse(part).startswith(
                    COMMANDS
                )
                if getattr(one, "id", "") == name and says:
                    text = words(part, function, node.lineno)
        elif isinstance(node, ast.AugAssign) and getattr(node.target, "id", "") == name:
            text += words(node.value, function, node.lineno)
    return text
