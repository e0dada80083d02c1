"""Measuring a Python file: lines of each kind, functions, classes, and how branched its code is."""

import ast
import io
import threading
import time
import tokenize
from dataclasses import dataclass
from pathlib import Path

_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NO_CODE = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENCODING,
        tokenize.ENDMARKER,
    }
)

# CPython 3.11 counts the depth of a parse for all threads together, and two at once confuse it.
_parsing = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """What a file is made of.

    Attributes:
        lines: All of its lines.
        code: Lines with code on them.
        comments: Lines with a comment on them.
        functions: Its functions and methods.
        classes: Its classes.
        complexity: Paths through its functions: one each, and one more for each branch in it.
        hardest: The function with the most paths; empty when it has none.
        hardest_complexity: How many that are.
        seconds: How long the measuring took.
    """

    lines: int
    code: int
    comments: int
    functions: int
    classes: int
    complexity: int
    hardest: str
    hardest_complexity: int
    seconds: float


def measure_file(path: Path) -> Measures:
    """Measure one file.

    Raises:
        OSError: It cannot be read.
        SyntaxError: It is no Python of this release.
        UnicodeDecodeError: It is not written in the encoding that it claims.
    """
    began = time.perf_counter()
    source = path.read_bytes()
    with _parsing:
        tree = ast.parse(source, filename=path.name)
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    nodes = list(ast.walk(tree))
    paths = {node.name: _paths(node) for node in nodes if isinstance(node, _FUNCTIONS)}
    hardest = max(paths, key=lambda name: paths[name], default="")
    functions = [node for node in nodes if isinstance(node, _FUNCTIONS)]
    return Measures(
        lines=source.count(b"\n") + (not source.endswith(b"\n") and bool(source)),
        code=len(code),
        comments=len(comments),
        functions=len(functions),
        classes=sum(isinstance(node, ast.ClassDef) for node in nodes),
        complexity=sum(_paths(node) for node in functions),
        hardest=hardest,
        hardest_complexity=paths.get(hardest, 0),
        seconds=time.perf_counter() - began,
    )


def _paths(function: ast.AST) -> int:
    """Count the paths through a function; functions inside it count for themselves, too."""
    paths = 1
    for node in ast.walk(function):
        if isinstance(node, _BRANCHES):
            paths += 1
        elif isinstance(node, ast.BoolOp):
            paths += len(node.values) - 1
    return paths
