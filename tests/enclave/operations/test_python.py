"""The ``python`` operation, from the side of honest functions and of others."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._sandbox import Limits, call
from clf_enclave._sandbox._limits import Stopped, nothing_but_computing
from clf_sdk.errors import ClfError, InvalidJob, PolicyRefused
from clf_testing import demand, operate

TABLE = pa.table(
    {"x": [float(n) for n in range(40)], "g": ["a", "b"] * 20, "secret": ["s3cr3t-4711"] * 40}
)


def _source(body: str) -> str:
    return "def it(table, arguments):\n" + textwrap.indent(textwrap.dedent(body), "    ")


def _run(body: str, **asked: Any) -> dict[str, Any]:
    parameters = {"source": _source(body), "function": "it", "outputs": ["out"]} | asked
    return operate(clf.Python(**parameters), TABLE)


def winsorised_mean(table: pa.Table, arguments: dict[str, Any]) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415 - the source of this function is the job
    import pyarrow as pa  # noqa: PLC0415 - the same

    values = np.array(table["x"].to_pylist())
    low, high = np.quantile(values, [arguments["cut"], 1 - arguments["cut"]])
    cut = np.clip(values, low, high)
    groups = table.group_by("g").aggregate([("x", "mean")]).sort_by("g")
    return {
        "mean": {"value": float(cut.mean()), "cut": arguments["cut"]},
        "groups": pa.table({"g": groups["g"], "mean": groups["x_mean"]}),
    }


def test_function_gets_table_and_arguments_and_returns_its_outputs() -> None:
    parameters = clf.Python.of(
        winsorised_mean, outputs=["mean", "groups"], arguments={"cut": 0.1}, columns=["x", "g"]
    )
    found = operate(parameters, TABLE)
    x = np.arange(40.0)
    expected = np.clip(x, *np.quantile(x, [0.1, 0.9])).mean()
    assert found["mean"] == {"value": pytest.approx(expected), "cut": 0.1}
    assert isinstance(found["groups"], pa.Table)
    assert found["groups"].to_pydict() == {"g": ["a", "b"], "mean": [19.0, 20.0]}
    assert parameters.row_level_outputs() == {"mean", "groups"}


@pytest.mark.parametrize(
    "body",
    [
        "return {'out': {'n': open('/etc/passwd').read()}}",
        "import os\nreturn {'out': {}}",
        "import socket\nreturn {'out': {}}",
        "import ctypes\nreturn {'out': {}}",
        "import subprocess\nreturn {'out': {}}",
        "import sys\nreturn {'out': {}}",
        "import numpy.ctypeslib as c\nreturn {'out': {}}",
        "from numpy import ctypeslib\nreturn {'out': {}}",
        "from pyarrow import fs\nreturn {'out': {}}",
        "import pyarrow as pa\nreturn {'out': {'n': pa.memory_map('/etc/passwd').read()}}",
        "import numpy as np\nreturn {'out': {'n': np.fromfile('/etc/passwd').size}}",
        "import numpy as np\nnp.array([1]).tofile('/tmp/x')\nreturn {'out': {}}",
        "import numpy as np\nreturn {'out': {'n': np.array([1]).ctypes}}",
        "return {'out': {'n': __import__('os').getpid()}}",
        "return {'out': {'n': eval('1')}}",
        "exec('1')\nreturn {'out': {}}",
        "return {'out': {'n': getattr(table, 'to_' + 'pandas')}}",
        "return {'out': {'n': globals()}}",
        "return {'out': {'n': vars()}}",
        "return {'out': {'n': type(table)}}",
        "return {'out': {'n': ().__class__.__base__.__subclasses__()}}",
        "return {'out': {'n': '{0.__class__}'.format(table)}}",
        "return {'out': {'n': '{0.__class__}'.format_map(table)}}",
        "return {'out': {'n': f'{table.__class__}'}}",
        "return {'out': {'n': (x for x in [1]).gi_frame.f_back}}",
        "return {'out': {'n': it.func_globals}}",
        "def inner(a=__builtins__): return a\nreturn {'out': {'n': inner()}}",
        "try:\n    while True: pass\nexcept BaseException: pass\nreturn {'out': {}}",
        "with table as t: pass\nreturn {'out': {}}",
        "class A: pass\nreturn {'out': {}}",
        "raise ValueError(table['secret'][0])",
        "assert False, table['secret'][0]",
        "yield {'out': {}}",
        "async def a(): pass\nreturn {'out': {}}",
        "global x\nreturn {'out': {}}",
        "import numpy as np\nnp.mean = 3\nreturn {'out': {}}",
        "print(table)\nreturn {'out': {}}",
        "table.schema.metadata\nreturn {'out': {}}",
        "return {'out': {'n': input()}}",
        "return {'out': {'n': breakpoint()}}",
        "return {'out': {'n': memoryview(b'x')}}",
        "import numpy as np\nreturn {'out': {'n': np.empty(10 ** 6).tolist()}}",
        "import numpy as np\nreturn {'out': {'n': np.log([1.0], where=[False]).tolist()}}",
        "import numpy as np\nreturn {'out': {'n': np.log([1.0], **{'where': [False]}).tolist()}}",
        "import pyarrow.compute as pc\nreturn {'out': {'n': pc.random(3).to_pylist()}}",
        "break",
        "return " + "(" * 300 + ")" * 300,
        "return " + "-" * 9000 + "1",
        "\u202ereturn {'out': {}}",
    ],
)
def test_source_that_reaches_for_more_than_data_is_refused(body: str) -> None:
    with pytest.raises(InvalidJob):
        _run(body)


def test_decorators_and_statements_beside_functions_are_refused() -> None:
    for source in ("@it\ndef it(a, b): return {}", "x = [1]\ndef it(a, b): return {}", "1 +", "x"):
        with pytest.raises(InvalidJob):
            clf.Python(source=source, function="it", outputs=["out"])


@pytest.mark.parametrize(
    "act",
    [
        lambda: open("/etc/passwd", encoding="utf-8"),  # noqa: SIM115, PTH123 - an attack
        lambda: __import__("socket").socket(),
        lambda: __import__("ctypes").CDLL(None),
        lambda: __import__("subprocess").Popen(["true"]),
        lambda: __import__("os").listdir("/"),
        lambda: compile("1", "x", "eval"),
        sys._getframe,
        lambda: __import__("antigravity_of_nobody"),
    ],
)
def test_audit_hook_refuses_what_gets_past_the_source_check(act: Any) -> None:
    import ctypes  # noqa: F401, PLC0415 - loaded before, so that not only its import is refused
    import socket  # noqa: F401, PLC0415 - the same

    with pytest.raises(Stopped), nothing_but_computing():
        act()
    with pytest.raises(Stopped), nothing_but_computing(), contextlib.suppress(BaseException):
        act()  # a library that swallows the refusal does not hide it
    assert sys.version  # and afterwards all is as before
    with open("/dev/null", encoding="utf-8"):  # noqa: PTH123 - the same call
        pass


@pytest.mark.parametrize(
    "body",
    [
        "while True: pass",
        "for _ in range(10 ** 12):\n    n = 0",
        "return {'out': {'n': len([0 for _ in range(10 ** 12)])}}",
        "return {'out': {'n': sum(1 for _ in range(10 ** 12))}}",
        "return {'out': {'n': len(list(map(lambda n: 0, range(10 ** 12))))}}",
        "def twice(n): return n and twice(n - 1) + twice(n - 1)\nreturn {'out': {'n': twice(99)}}",
    ],
)
def test_endless_loops_are_stopped(body: str) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidJob, match="longer"):
        _run(body, time_limit_seconds=0.1)
    assert time.monotonic() - started < 4


def test_call_that_never_comes_back_ends_the_process() -> None:
    program = (
        "from clf_enclave._sandbox import _limits\n"
        "_limits._GRACE_SECONDS = 0.1\n"
        "with _limits.TimeLimit(0.1, end_process=True): sum(range(10 ** 13))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert b"10 ** 13" not in done.stderr
    assert b"Timeout" not in done.stderr


@pytest.mark.parametrize(
    "body",
    [
        "return {'out': {'n': len([0] * 10 ** 10)}}",
        "return {'out': {'n': len('x' * 10 ** 11)}}",
        "import numpy as np\nreturn {'out': {'n': float(np.ones(10 ** 10).sum())}}",
        "return {'out': {'n': f'{1:>100000000000}'}}",
    ],
)
def test_memory_bombs_are_stopped(body: str) -> None:
    with pytest.raises(InvalidJob, match="memory"):
        _run(body, memory_limit_bytes=2**28)
    assert len(bytes(2**28 + 2**20)) > 2**28  # and afterwards there is memory again


def test_values_in_exceptions_stay_inside() -> None:
    for body in (
        "return {'out': {'n': int(table['secret'][0].as_py())}}",
        "return {}[table['secret'][0].as_py()]",
        "return table.column(table['secret'][0].as_py())",
        "return {'out': {'n': [1][len(table['secret'][0].as_py())]}}",
    ):
        with pytest.raises(InvalidJob) as caught:
            _run(body)
        error: BaseException | None = caught.value
        assert str(error) == str(InvalidJob(caught.value.message, hint=caught.value.hint))
        assert "s3cr3t" not in str(error)
        assert "Error" not in caught.value.message
        assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ("return {'other': {}}", {}),
        ("return {'out': {}, 'more': {}}", {}),
        ("return [1]", {}),
        ("return {'out': 1}", {}),
        ("return {'out': {'n': 1e308 * 1e308}}", {}),
        ("import numpy as np\nreturn {'out': {'n': np.array([1])}}", {}),
        ("return {'out': table}", {"most_rows": 39}),
        ("return {'out': table}", {"most_bytes": 100}),
        ("return {'out': {'n': 'x' * 1000}}", {"most_bytes": 1000}),
    ],
)
def test_outputs_that_are_not_as_the_job_says_are_refused(body: str, asked: dict[str, Any]) -> None:
    with pytest.raises(InvalidJob):
        _run(body, **asked)


def test_sliced_table_takes_nothing_else_along() -> None:
    found = _run("return {'out': table.slice(0, 1)}", columns=["x"])["out"]
    assert found.get_total_buffer_size() <= 64


def test_arguments_can_not_be_changed_for_later_runs() -> None:
    parameters = clf.Python(
        source=_source("arguments['a'].append(1)\nreturn {'out': arguments}"),
        function="it",
        outputs=["out"],
        arguments={"a": []},
    )
    assert operate(parameters, TABLE)["out"] == {"a": [1]}
    assert operate(parameters, TABLE)["out"] == {"a": [1]}


def test_smallest_group_holds_for_the_table() -> None:
    parameters = clf.Python(source=_source("return {'out': {}}"), function="it", outputs=["out"])
    with pytest.raises(PolicyRefused):
        operate(parameters, TABLE, rules=[demand(smallest_group=41)])


def test_limits_end_with_the_call() -> None:
    assert call("def it(a): return a + 1", "it", [1], Limits(5, 2**30)) == 2
    with pytest.raises(ClfError):
        call("def it(a): return a.b", "it", [1], Limits(5, 2**30))


def test_rehearsal_on_mock_data_tells_errors_in_full() -> None:
    with pytest.raises(InvalidJob, match="KeyError: 'nothing'"):
        call("def it(a): return a['nothing']", "it", [{}], Limits(5, 2**30, rehearsal=True))
    with pytest.raises(InvalidJob, match="longer"):
        call("def it():\n while 1: pass", "it", [], Limits(0.1, 2**30, rehearsal=True))
