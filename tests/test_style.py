"""How the code reads: sizes, one thought a statement, comments where they belong, nothing unused, nothing written twice.

Not here: who may import whom (test_project.py), docstrings (test_docstrings.py), what ruff looks at.
"""

import ast
import functools
import io
import re
import tokenize
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted(ROOT.joinpath("minivis").rglob("*.py"))
CODE = sorted(
    path
    for folder in ("minivis", "tests", "scripts", "notebooks/src", "book/generate")
    for path in ROOT.joinpath(folder).rglob("*.py")
)


def name_of(path):
    """A file as the lists below name it."""
    return path.relative_to(ROOT).as_posix()


# what people read and run: not the tests, whose tables of cases are long
PROGRAMS = [path for path in CODE if name_of(path).startswith(("minivis/", "scripts/", "book/"))]


def read(path):
    return path.read_text(encoding="utf-8")


def each(paths):
    """A test for each file."""
    return pytest.mark.parametrize("path", paths, ids=name_of)


def test_exceptions_name_files_that_exist():
    named = {*LONG_FUNCTIONS, *WRITTEN_TWICE}
    assert [name for name in sorted(named) if not (ROOT / name.partition(":")[0]).is_file()] == []


# ---------------------------------------------------------------------------------------------------------------------
# Size: a function fits a screen, a file is read in one sitting

LONGEST_FUNCTION = 40  # lines, without the docstring
# file -> lines of code at most; files of ops/ and models/ have one limit each
LINES_OF_CODE = {"minivis/autograd.py": 200, "minivis/ops/": 250, "minivis/models/": 350}
LINES = {"minivis/autograd.py": 300}  # with docstrings, comments and blank lines

# "file:function" -> why it is longer; none of autograd.py, ops/ or models/
LONG_FUNCTIONS = {}


def docstring_lines(tree):
    """The numbers of the lines on which docstrings stand."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                found |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return found


@functools.cache
def code_lines(text):
    """The numbers of the lines of code: no docstrings, comments or blank lines."""
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in nothing and token.type != tokenize.ENDMARKER:
            found |= set(range(token.start[0], token.end[0] + 1))
    return frozenset(found - docstring_lines(ast.parse(text)))


def long_functions(text, limit=LONGEST_FUNCTION):
    """The functions, methods and inner functions that do not fit a screen: {name: lines without the docstring}."""
    found = {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            own = ast.get_docstring(node, clean=False) is not None
            docstring = node.body[0].end_lineno - node.body[0].lineno + 1 if own else 0
            lines = node.end_lineno - node.lineno + 1 - docstring
            if lines > limit:
                found[node.name] = lines
    return found


def too_long(name, text):
    """What is too long about a file as a whole."""
    found = []
    code = len(code_lines(text))
    for part, limit in LINES_OF_CODE.items():
        if name.startswith(part) and code > limit:
            found.append(f"{name}: {code} lines of code, at most {limit}")
    lines = len(text.splitlines())
    if lines > LINES.get(name, lines):
        found.append(f"{name}: {lines} lines, at most {LINES[name]}")
    return found


@each(PROGRAMS)
def test_a_function_fits_a_screen(path):
    found = long_functions(read(path))
    assert {f: n for f, n in found.items() if f"{name_of(path)}:{f}" not in LONG_FUNCTIONS} == {}


@each(LIBRARY)
def test_a_file_is_read_in_one_sitting(path):
    assert too_long(name_of(path), read(path)) == []


def test_exceptions_are_few_and_not_where_learners_read_first():
    assert len(LONG_FUNCTIONS) < 10
    first = ("minivis/autograd.py", "minivis/ops/", "minivis/models/")
    assert [name for name in LONG_FUNCTIONS if name.startswith(first)] == []
    gone = [
        name
        for name in LONG_FUNCTIONS
        if name.split(":")[1] not in long_functions(read(ROOT / name.split(":")[0]))
    ]
    assert gone == []


LINE = "    x = 1\n"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("def f():\n" + 39 * LINE, {}),
        ("def f():\n" + 40 * LINE, {"f": 41}),
        ('def f():\n    """One.\n\n    Two.\n    """\n' + 39 * LINE, {}),  # the docstring does not count
        ("def f():\n    # why\n\n" + 38 * LINE, {"f": 41}),  # comments and blank lines do
        ("class A:\n    async def f(self):\n" + 40 * ("    " + LINE), {"f": 41}),
        ("def f():\n    def g():\n" + 40 * ("    " + LINE), {"f": 42, "g": 41}),
    ],
)
def test_a_long_function_is_found(text, found):
    assert long_functions(text) == found


def test_a_long_file_is_found():
    text = '"""Here.\n\nNot here.\n"""\n\n# why\nimport math\n\n\ndef f():\n    """What."""\n    return (\n        1\n    )\n'
    assert code_lines(text) == {7, 10, 12, 13, 14}
    assert len(code_lines('x = """one\ntwo\n"""\n')) == 3  # a text is no docstring
    for name, limit in (("minivis/ops/bad.py", 250), ("minivis/models/bad.py", 350)):
        assert too_long(name, limit * "x = 1\n" + "# why\n" * 100) == []
        assert too_long(name, (limit + 1) * "x = 1\n") == [
            f"{name}: {limit + 1} lines of code, at most {limit}"
        ]
    assert too_long("minivis/autograd.py", 200 * "x = 1\n" + 100 * "\n") == []
    assert len(too_long("minivis/autograd.py", 201 * "x = 1\n" + 100 * "\n")) == 2
    assert too_long("minivis/data/large.py", 900 * "x = 1\n") == []


# ---------------------------------------------------------------------------------------------------------------------
# One statement, one thought: `a, b = x, y` only for exchanges, and for values of one form


def packed(text):
    """The assignments of several unrelated values in one statement: their line numbers."""
    statements = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Assign)]
    return [node.lineno for node in statements if is_packed(node)]


def is_packed(statement):
    targets = statement.targets[0]
    values = statement.value
    if not (isinstance(targets, ast.Tuple) and isinstance(values, ast.Tuple)):
        return False
    if any(isinstance(part, ast.Starred) for part in [*targets.elts, *values.elts]):
        return False
    of_one_form = len({form(value) for value in values.elts}) == 1
    return not of_one_form and not is_exchange(targets.elts, values.elts)


def form(value):
    """An expression without its names, attributes and constants: `f(x, 1)` and `g(y, 2)` are of one form."""
    copy = ast.parse(ast.unparse(value), mode="eval")
    for node in ast.walk(copy):
        if isinstance(node, ast.Name):
            node.id = "_"
        elif isinstance(node, ast.Attribute):
            node.attr = "_"
        elif isinstance(node, ast.Constant):
            node.value = type(node.value).__name__
    return ast.dump(copy)


def is_exchange(targets, values):
    """Whether a later value reads what an earlier target binds, so that two statements would do something else."""
    for i, target in enumerate(targets):
        bound = {ast.unparse(node) for node in places(target) if isinstance(node.ctx, ast.Store)}
        later = {ast.unparse(node) for value in values[i + 1 :] for node in places(value)}
        if bound & later:
            return True
    return False


def places(node):
    """The names, attributes and elements in an expression."""
    return [n for n in ast.walk(node) if isinstance(n, ast.Name | ast.Attribute | ast.Subscript)]


@each(CODE)
def test_a_statement_assigns_one_thing(path):
    assert packed(read(path)) == []


@pytest.mark.parametrize(
    "line",
    ["a, b = 1, f(x)", "self.a, self.b = a, b[0]", "x, y = x.T, None", "i, (a, b) = 1, (x, y)"],
)
def test_a_packed_assignment_is_found(line):
    assert packed(f"{line}\n") == [1]
    assert packed(f"def f():\n    if x:\n        {line}\n") == [3]


@pytest.mark.parametrize(
    "line",
    [
        "a, b = b, a",
        "a, b = b, a % b",  # an exchange
        "x[i], x[j] = x[j] + 1, x[i]",
        "low, high = 0, 1",
        "w, b = np.zeros(n), self.ones(m)",  # values of one form
        "B, N, D = x.shape",
        "a = 1, f(x)",
        "first, *rest = 0, *x",
    ],
)
def test_exchanges_and_values_of_one_form_may_share_a_line(line):
    assert packed(f"{line}\n") == []


# ---------------------------------------------------------------------------------------------------------------------
# A comment that makes the formatter break a line stands above it

WIDTH = 110


def exploded(text):
    """The statements that are broken over lines only because a comment stands at their end: their line numbers."""
    lines = text.splitlines()
    return [first for first, last, comment in broken_statements(text) if fits(lines, first, last, comment)]


def broken_statements(text):
    """Yield (first line, last line, comment token) of each statement of several lines whose only comment ends one."""
    statement = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            comments = [t for t in statement if t.type == tokenize.COMMENT]
            first = statement[0].start[0]
            last = statement[-1].end[0]
            of_lines = all(t.start[0] == t.end[0] for t in statement)  # no text of several lines in it
            at_an_end = len(comments) == 1 and comments[0].start[0] in (first, last)
            if first < last and of_lines and at_an_end and "fmt:" not in comments[0].string:
                yield first, last, comments[0]
            statement = []
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            if statement or token.type != tokenize.COMMENT:
                statement.append(token)


def fits(lines, first, last, comment):
    """Whether a statement would fit into one line without its comment."""
    line, column = comment.start
    bare = [lines[n - 1][:column] if n == line else lines[n - 1] for n in range(first, last + 1)]
    joined = bare[0].rstrip()
    for part in (part.strip() for part in bare[1:]):
        if part[0] in ")]}":
            joined = joined.removesuffix(",")
        tight = joined[-1] in "([{" or part[0] in ")]}."
        joined += part if tight else f" {part}"
    return len(joined) <= WIDTH


@each(CODE)
def test_comments_do_not_break_lines(path):
    assert exploded(read(path)) == []


@pytest.mark.parametrize(
    "text",
    [
        "x = f(\n    a, b\n)  # why\n",
        "x = f(  # why\n    a,\n    b,\n)\n",
        "y = 1  # what\nif x:\n    if (\n        a\n        and b\n    ):  # why\n        pass\n",
    ],
)
def test_a_line_broken_by_a_comment_is_found(text):
    assert len(exploded(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "# why\nx = f(a, b)\n",
        "x = f(a, b)  # why\n",
        "x = f(\n    a,  # one\n    b,  # two\n)\n",
        f"x = f(\n    {'a' * 60},\n    {'b' * 60},\n)  # why\n",
        "x = [\n    1, 2,\n    3, 4,\n]  # fmt: skip\n",
        "x = f('''\n''')  # why\n",
    ],
)
def test_comments_that_break_no_line_are_left_alone(text):
    assert exploded(text) == []


# ---------------------------------------------------------------------------------------------------------------------
# Every public name is used, or offered by a package


def public_names(text):
    """The public functions and classes of a module, and what its ``__all__`` names."""
    tree = ast.parse(text)
    found = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    return found | set(exported(tree))


def exported(tree):
    """The names in the ``__all__`` of a module, as far as they are written there."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [c.value for c in ast.walk(node.value) if isinstance(c, ast.Constant)]
    return []


# what has functions of the same names: np.zeros is no use of init.zeros
ELSEWHERE = {"np", "xp", "cp", "cupy", "numpy", "math", "torch", "torch.nn.functional", "F", "self", "cls"}


@functools.cache
def uses(text):
    """What a module uses: (names that it reads, names that it takes from elsewhere), but not those in ``__all__``.

    From elsewhere it takes what it imports, attributes (``ops.softmax``) and whole strings (a table of names). What a
    function or class says of itself in its own body is no use; what a decorator registers is used.
    """
    own, taken = set(), set()

    def visit(node, within):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in within:
            own.add(node.id)
        elif isinstance(node, ast.Attribute) and node.attr not in within:
            if ast.unparse(node.value) not in ELSEWHERE:
                taken.add(node.attr)
        elif isinstance(node, ast.alias):
            taken.update(node.name.split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in within:
            taken.add(node.value)
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            own.update({node.name} if any(map(registers, node.decorator_list)) else ())
            within = within | {node.name}
        for child in ast.iter_child_nodes(node):
            visit(child, within)

    visit(ast.parse(text), frozenset())
    return own, taken


def registers(decorator):
    """Whether a decorator puts a function on a list: `@family.law(...)`, `@faster(op, ...)`."""
    return isinstance(decorator, ast.Call) and ast.unparse(decorator.func).split(".")[-1] in {"law", "faster"}


def unused(modules, others):
    """The public names that nothing uses: "file: name".

    Parameters
    ----------
    modules : dict
        {file: text} of a library; what an ``__init__.py`` exports counts as used.
    others : iterable of str
        Texts of programs that use it.
    """
    taken = set().union(*(uses(text)[1] for text in [*modules.values(), *others]))
    for file, text in modules.items():
        if file.endswith("__init__.py"):
            taken |= set(exported(ast.parse(text)))
    return [
        f"{file}: {name}"
        for file, text in modules.items()
        for name in sorted(public_names(text) - uses(text)[0] - taken)
    ]


def test_every_public_name_is_used():
    library = {name_of(path): read(path) for path in LIBRARY}
    others = [read(path) for path in CODE if path not in LIBRARY]
    assert unused(library, others) == []


@pytest.mark.parametrize(
    ("modules", "others", "found"),
    [
        ({"a.py": "__all__ = ['f']\ndef f(): pass\n"}, [], ["a.py: f"]),
        ({"a.py": "def f(n): return f(n - 1)\n"}, [], ["a.py: f"]),  # of itself alone
        ({"a.py": "@family.law('x')\ndef f(): pass\n@faster(op)\ndef g(): pass\n"}, [], []),
        ({"a.py": "@functools.cache\ndef f(): pass\n"}, [], ["a.py: f"]),
        ({"a.py": "class A: pass\ndef _g(): pass\n"}, [], ["a.py: A"]),
        ({"a.py": "__all__ = ['X']\nX = 1\n", "b.py": "Y = 2\n"}, ["import a"], ["a.py: X"]),
        ({"a.py": "def f(): pass\nx = f()\n"}, [], []),
        ({"a.py": "def f(): pass\n"}, ["from a import f"], []),
        ({"a.py": "def f(): pass\n"}, ["import a\na.f()"], []),
        ({"a.py": "def zeros(): pass\n"}, ["np.zeros(3)"], ["a.py: zeros"]),
        ({"a.py": "def f(): pass\n"}, ["getattr(a, 'f')"], []),
        ({"__init__.py": "from a import f\n__all__ = ['f']\n", "a.py": "def f(): pass\n"}, [], []),
    ],
)
def test_an_unused_name_is_found(modules, others, found):
    assert unused(modules, others) == found


# ---------------------------------------------------------------------------------------------------------------------
# A file is named as no function: `from minivis.ops import softmax` gives the function, whatever was imported before


def shadowed(folder, root):
    """The functions and classes of a folder's files that have the name of a module beside them."""
    files = sorted(folder.glob("*.py"))
    modules = {path.stem for path in files} | {path.parent.name for path in folder.glob("*/__init__.py")}
    return [
        f"{path.relative_to(root).as_posix()}: {node.name}"
        for path in files
        for node in ast.parse(read(path)).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in modules
    ]


def test_no_file_is_named_as_a_function_beside_it():
    assert [line for folder in {path.parent for path in LIBRARY} for line in shadowed(folder, ROOT)] == []


def test_a_function_named_as_a_module_is_found(tmp_path):
    (tmp_path / "nms.py").write_text("def nms(): pass\n")
    (tmp_path / "other.py").write_text("class judging: pass\ndef good():\n    def nms(): pass\n")
    (tmp_path / "judging").mkdir()
    (tmp_path / "judging" / "__init__.py").write_text("")
    assert shadowed(tmp_path, tmp_path) == ["nms.py: nms", "other.py: judging"]


# ---------------------------------------------------------------------------------------------------------------------
# Nothing is written twice

RUN = 6  # lines of code in a row

# "file" -> how it may repeat another, and why
WRITTEN_TWICE = {}


# a row of a table: a setting of one plain value
VALUE = r"""-?[\d._e]+|"[^"]*"|True|False|None"""
ROW = re.compile(rf"""(\w+ ?= ?|"[^"]+": )?({VALUE}),?( *\#.*)?""")


def counted_lines(text):
    """[(number, stripped line)] of a file's code without imports, parameter lists, tables and brackets alone.

    Parameter lists repeat on purpose: layers that are torch's namesakes take what torch's take, in its order.
    """
    left_out = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, node.end_lineno + 1))
        elif isinstance(node, ast.FunctionDef):
            left_out |= set(range(node.lineno, node.body[0].lineno))
    lines = text.splitlines()
    kept = [(n, lines[n - 1].strip()) for n in sorted(code_lines(text) - left_out)]
    return [(n, line) for n, line in kept if re.search(r"\w", line) and not ROW.fullmatch(line)]


def repeats(texts, run=RUN):
    """The places where `run` lines stand a second time: ["file:line repeats file:line", ...], one for each stretch."""
    places = defaultdict(list)
    for name, text in texts.items():
        lines = counted_lines(text)
        for start in range(len(lines) - run + 1):
            window = lines[start : start + run]
            places[tuple(line for _, line in window)].append((name, start, window[0][0]))
    pairs = [(there, here) for found in places.values() if len(found) > 1 for there, here in pairwise(found)]
    known = {(a[0], a[1], b[0], b[1]) for a, b in pairs}
    # of a longer stretch the beginning
    begins = [(a, b) for a, b in pairs if (a[0], a[1] - 1, b[0], b[1] - 1) not in known]
    return [f"{b[0]}:{b[2]} repeats {a[0]}:{a[2]}" for a, b in begins]


@functools.cache
def repeats_of_the_library():
    return repeats({name_of(path): read(path) for path in LIBRARY})


@each(LIBRARY)
def test_nothing_is_written_twice(path):
    own = [line for line in repeats_of_the_library() if line.startswith(f"{name_of(path)}:")]
    assert name_of(path) in WRITTEN_TWICE or own == []


BODY = "".join(f"    {name} = f({name})\n" for name in "abcdef")


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"a.py": f"def f():\n{BODY}", "b.py": f"def g():\n{BODY}"}, ["b.py:2 repeats a.py:2"]),
        ({"a.py": f"def f():\n{BODY}\n\ndef g():\n    if x:\n{BODY.replace('    ', '        ')}"}, 1),
        ({"a.py": f"def f():\n{BODY}    g = 1\n", "b.py": f"def g():\n{BODY}    g = 1\n"}, 1),  # one stretch
        ({"a.py": f"def f():\n{BODY}", "b.py": f"def g():\n{BODY.replace('c = ', 'c += ')}"}, []),
        (
            {
                "a.py": "import a\nimport b\nimport c\nx = f(\n)\n" * 3,
                "b.py": "def f():\n    '''A.\n\n    B.\n    C.\n    D.\n    E\n    '''\n" * 2,
            },
            [],
        ),
    ],
)
def test_lines_written_twice_are_found(texts, found):
    assert (len(repeats(texts)) if isinstance(found, int) else repeats(texts)) == found
