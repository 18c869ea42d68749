"""What a function of the ``python`` operation may be written in: a small part of Python.

The same check runs where the job is written and in the measured program. What is not on these
lists does not run: no classes, no exceptions, no names that begin with an underscore, no attribute
that leads from data to the machine, nothing that shows memory nobody has written to.
"""

from __future__ import annotations
import __future__

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from types import CodeType

from clf_sdk.errors import InvalidJob

MOST_CHARACTERS = 20_000
_MOST_LINES = 350
_MOST_LINE_CHARACTERS = 160
"""So that whoever decides about a job sees all of it, also on a card in a notebook."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMPY = _words("""
    abs all any arange argmax argmin argsort array array_equal asarray average bincount ceil
    clip column_stack concatenate corrcoef cos cov cumprod cumsum diag diff digitize dot
    exp expm1 eye flatnonzero float64 floor full histogram hstack inf int64 interp
    isclose isfinite isin isnan linalg linspace log log10 log1p log2 matmul max maximum mean
    median min minimum nan nanmax nanmean nanmin nanstd nansum nanvar nonzero ones outer
    percentile pi power prod quantile repeat round searchsorted sign sin sort sqrt stack std
    sum tan tanh tile trace transpose trapezoid unique var vstack where zeros
""")
LINALG = _words("""
    cholesky det eigh eigvalsh inv lstsq matrix_rank norm pinv qr solve svd
""")
MATH = _words("""
    ceil comb copysign cos e erf exp fabs factorial floor fsum gamma gcd hypot inf isclose
    isfinite isnan lgamma log log10 log1p log2 nan pi pow sin sqrt tan tanh tau trunc
""")
STATISTICS = _words("""
    correlation fmean geometric_mean harmonic_mean linear_regression mean median mode pstdev
    pvariance quantiles stdev variance
""")
PYARROW = _words("""
    array bool_ chunked_array compute concat_tables date32 field float64 int64 large_string
    null nulls repeat scalar schema string table timestamp
""")
BUILTINS = _words("""
    abs all any bool dict divmod enumerate filter float frozenset int isinstance len list
    map max min pow range reversed round set slice sorted str sum tuple zip
""")
_METHODS = _words("""
    T add aggregate append append_column argmax argmin argsort as_py astype capitalize cast
    clip column column_names columns combine_chunks copy count cumprod cumsum date day days
    dictionary dictionary_encode difference dot drop_columns drop_null dtype endswith extend
    field fill_null filter find flatten get group_by hour indices insert intersection
    is_integer is_null is_valid isalpha isdigit isoformat item items join keys kind length
    lower lstrip minute month names ndim null_count num_columns num_rows pop ravel remove
    rename_columns replace reshape reverse rstrip schema second select set_column setdefault
    shape size slice sort sort_by split startswith strip take title to_numpy to_pydict
    to_pylist tolist total_seconds trace transpose type types union unique update upper
    value_counts values weekday year zfill intercept slope
""")

MODULES: Mapping[str, frozenset[str]] = {
    "math": MATH,
    "numpy": NUMPY,
    "numpy.linalg": LINALG,
    "pyarrow": PYARROW,
    "statistics": STATISTICS,
}
"""What may be imported, beside pyarrow.compute, of which every computing function may be used."""

_NODES = (
    ast.Module,
    ast.FunctionDef,
    ast.Lambda,
    ast.arguments,
    ast.arg,
    ast.Return,
    ast.Assign,
    ast.AugAssign,
    ast.AnnAssign,
    ast.For,
    ast.While,
    ast.If,
    ast.Expr,
    ast.Pass,
    ast.Break,
    ast.Continue,
    ast.Import,
    ast.ImportFrom,
    ast.alias,
    ast.BoolOp,
    ast.BinOp,
    ast.UnaryOp,
    ast.IfExp,
    ast.Dict,
    ast.Set,
    ast.List,
    ast.Tuple,
    ast.ListComp,
    ast.SetComp,
    ast.DictComp,
    ast.GeneratorExp,
    ast.comprehension,
    ast.Compare,
    ast.Call,
    ast.keyword,
    ast.JoinedStr,
    ast.FormattedValue,
    ast.Constant,
    ast.Attribute,
    ast.Subscript,
    ast.Starred,
    ast.Name,
    ast.Slice,
    ast.expr_context,
    ast.boolop,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
)


@cache
def compute_functions() -> frozenset[str]:
    """Return the names of pyarrow.compute that compute, and nothing else."""
    import pyarrow.compute as pc  # noqa: PLC0415 - only for jobs with functions

    names = {name for name in pc.list_functions() if name.isidentifier()}
    return frozenset(names - {"random"})  # a repeated run must give the same result


def names_of(module: str) -> frozenset[str] | None:
    """Return what may be used of a module; None where it may not be imported."""
    return compute_functions() if module == "pyarrow.compute" else MODULES.get(module)


def _refuse(node: ast.AST, why: str) -> InvalidJob:
    line = getattr(node, "lineno", None)
    where = "" if line is None else f"line {line}: "
    return InvalidJob(
        f"python: {where}{why}", hint="docs/operations.md says what a function may be written in"
    )


def _check_name(node: ast.AST, name: str) -> None:
    if (name.startswith("_") and name != "_") or not name.isascii():
        raise _refuse(node, f"the name {name[:40]!r} is not allowed")


def _check_import(node: ast.Import | ast.ImportFrom) -> None:
    if isinstance(node, ast.Import):
        for each in node.names:
            if names_of(each.name) is None:
                raise _refuse(node, f"module {each.name[:40]!r} can't be imported")
            if "." in each.name and each.asname is None:
                raise _refuse(node, f"import {each.name[:40]} needs a name of its own: as …")
        return
    known = names_of(node.module or "") if not node.level else None
    for each in node.names:
        whole = f"{node.module}.{each.name}"
        if known is None or (each.name not in known and names_of(whole) is None):
            raise _refuse(node, f"{whole[:60]!r} can't be imported")


def _check_node(node: ast.AST, attributes: frozenset[str]) -> None:
    if not isinstance(node, _NODES):
        raise _refuse(node, f"{type(node).__name__} is not allowed")
    if isinstance(node, ast.Import | ast.ImportFrom):
        _check_import(node)
    elif isinstance(node, ast.alias):
        _check_name(node, node.asname or node.name)
    elif isinstance(node, ast.Name):
        _check_name(node, node.id)
    elif isinstance(node, ast.arg):
        _check_name(node, node.arg)
    elif isinstance(node, ast.keyword):
        # Where a condition is false, numpy leaves memory as it finds it: with anything in it.
        if node.arg is None or node.arg == "where":
            raise _refuse(node, "the arguments **… and where=… are not allowed in calls")
        _check_name(node, node.arg)
    elif isinstance(node, ast.FunctionDef):
        _check_name(node, node.name)
        if node.decorator_list:
            raise _refuse(node, "decorators are not allowed")
    elif isinstance(node, ast.Attribute):
        if node.attr not in attributes:
            raise _refuse(node, f"the attribute {node.attr[:40]!r} is not allowed")
        if not isinstance(node.ctx, ast.Load):
            raise _refuse(node, "attributes can't be set")


def _parts(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node that runs: annotations, which are taken for texts, do not."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for name, value in ast.iter_fields(node):
            if name not in ("annotation", "returns"):
                inner = value if isinstance(value, list) else [value]
                waiting += [each for each in inner if isinstance(each, ast.AST)]


def compiled(tree: ast.Module) -> CodeType:
    """Compile a module that was checked; its annotations are not evaluated.

    Raises
    ------
    InvalidJob
        It is nested too deeply, or says return, break or the like where that means nothing.
    """
    flags = __future__.annotations.compiler_flag
    try:
        made: CodeType = compile(
            tree, "<function of the job>", "exec", flags=flags, dont_inherit=True
        )
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidJob("python: the source can't be compiled") from None
    return made


def check_source(source: str, function: str) -> ast.Module:
    """Parse a function, and check every part of it.

    Parameters
    ----------
    source
        A module of functions, imports and constants.
    function
        Name of the function that is called.

    Raises
    ------
    InvalidJob
        It is no such module; the message names the line.
    """
    lines = source.splitlines()
    if len(lines) > _MOST_LINES or any(len(line) > _MOST_LINE_CHARACTERS for line in lines):
        raise InvalidJob(
            f"python: the source has more than {_MOST_LINES} lines, or one of more than "
            f"{_MOST_LINE_CHARACTERS} characters",
            hint="those who decide about a job must be able to read it",
        )
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        where = "" if line is None else f", line {line}"
        raise InvalidJob(f"python: the source can't be parsed{where}") from None
    attributes = _METHODS | compute_functions() | frozenset().union(*MODULES.values())
    for node in _parts(tree):
        _check_node(node, attributes)
    defined = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef):
            defined.add(statement.name)
        elif not isinstance(statement, ast.Import | ast.ImportFrom) and not (
            isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        ):
            raise _refuse(statement, "beside functions stand imports and constants only")
    if function not in defined:
        raise InvalidJob(f"python: the source has no function {function[:40]!r}")
    compiled(tree)
    return tree
