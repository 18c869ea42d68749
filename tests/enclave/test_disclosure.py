"""What may come out is what every owner allows, at every moment of the run."""

from __future__ import annotations

import importlib
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, ClassVar

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clf_sdk as clf
from clf_enclave import _owners, _run
from clf_enclave._alignment import align
from clf_enclave._operations import Context
from clf_enclave._run import EnclaveRun
from clf_enclave._workspace import Workspace
from clf_sdk import operations
from clf_sdk.errors import InvalidJob, NotReady, PolicyRefused
from clf_sdk.protocol import Dominance, Endpoint, InputKeys, InputNode, Rules
from clf_testing import Simulation, demand, demanding, job_input, make_job, run_request
from clf_testing.policies import IDENTITIES

RULES = st.builds(
    Rules,
    smallest_group=st.integers(1, 20),
    dominance=st.lists(
        st.builds(Dominance, largest=st.integers(1, 2), percent=st.sampled_from([50, 85])),
        max_size=1,
    ),
    round_counts=st.sampled_from([1, 3, 5, 10]),
    output_rows=st.none() | st.integers(1, 3),
    output_bytes=st.none() | st.integers(1, 3),
    differencing=st.sampled_from(["off", "review", "refuse"]),
    row_level=st.sets(st.sampled_from(IDENTITIES)).map(sorted),
    release=st.sampled_from(["at_once", "review"]),
)


@given(every=st.lists(RULES, min_size=1, max_size=5))
def test_tightest_rules_demand_what_any_demands(every: list[Rules]) -> None:
    tightest = Rules.tightest(every)
    for each in every:
        assert tightest.smallest_group >= each.smallest_group
        assert all(rule in tightest.dominance for rule in each.dominance)
        assert tightest.round_counts % each.round_counts == 0
        for limit in ("output_rows", "output_bytes"):
            least, own = getattr(tightest, limit), getattr(each, limit)
            assert own is None or least <= own
        assert set(tightest.row_level) <= set(each.row_level)
        assert tightest.release == "review" or each.release == "at_once"
        assert Rules.tightest([tightest, each]) == tightest
    assert Rules.tightest(reversed(every)) == tightest


def test_result_about_too_few_people_is_refused_without_their_number() -> None:
    disclosure = demanding(demand(smallest_group=3), demand(smallest_group=7))
    with Workspace() as workspace:
        tree = InputNode(kind="input", input="t")
        enough = align(workspace, tree, {"t": pa.table({"x": range(7)})}, entities={}).data
        disclosure.check_group(enough)
        few = enough.where(f"{enough.sql('x')} > 0")
        with pytest.raises(PolicyRefused) as caught:
            disclosure.check_group(few)
    assert caught.value.rule == "smallest_group"
    assert not any(character.isdigit() for character in str(caught.value))


def test_rows_of_people_go_only_where_every_owner_allows_it() -> None:
    readers = [clf.Identity.create().public for _ in range(2)]
    job = make_job([job_input("0a" * 32, "t")], recipients=readers)
    first, second = (reader.id for reader in readers)
    both = demand(row_level=sorted([first, second]))
    demanding(both, both).check_outputs(job, {"rows"})
    for owners in (
        [demand()],
        [both, demand()],
        [both, demand(row_level=[first])],
        [demand(row_level=[first]), demand(row_level=[second])],
        [demand(row_level=["1a" * 32])],
    ):
        with pytest.raises(PolicyRefused) as caught:
            demanding(*owners).check_outputs(job, {"rows"})
        assert caught.value.rule == "row_level"
        demanding(*owners).check_outputs(job, set())


def test_later_session_can_only_tighten() -> None:
    disclosure = demanding(demand(smallest_group=5))
    disclosure.add("0a" * 32, demand(smallest_group=1))
    assert disclosure.rules.smallest_group == 5
    disclosure.add("0b" * 32, demand(smallest_group=9, release="review"))
    assert disclosure.rules == demand(smallest_group=9, release="review")
    disclosure.add("0b" * 32, demand())
    assert disclosure.reviewers == ["0b" * 32]


def test_every_operation_says_which_outputs_hold_rows_of_people() -> None:
    for name in operations.OPERATIONS:
        parameters = operations.parameters_class(name)
        assert parameters.operation == name
        assert parameters.reveals
        assert importlib.import_module(f"clf_enclave._operations._{name}").run
    with pytest.raises(InvalidJob, match="no operation 'dump'"):
        operations.parameters_class("dump")


# -- a run --------------------------------------------------------------------------------------


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What servers answer, in turn: rules, or an error."""
    answers: list[Any] = []

    def open_session(_identity: object, endpoint: Endpoint, **_secrets: object) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        session = ModuleType("session")
        session.__dict__.update(session="ab" * 16, rules=answer, server=endpoint.server, inputs=[])
        opened = ModuleType("opened")
        keys: defaultdict[str, InputKeys] = defaultdict(
            lambda: InputKeys(manifest_key=bytes(32), columns={})
        )
        opened.__dict__.update(session=session, endpoint=endpoint, keys=keys, memory=None)
        return opened

    monkeypatch.setattr(_owners, "open_session", open_session)
    monkeypatch.setattr(_owners, "_PAUSE_SECONDS", 0.0)
    return answers


@pytest.fixture
def begin(simulation: Simulation) -> Callable[..., tuple[EnclaveRun, list[str]]]:
    def make(*servers: str, **options: Any) -> tuple[EnclaveRun, list[str]]:
        job = make_job([job_input(server, f"t{n}") for n, server in enumerate(servers)], **options)
        endpoints = [Endpoint(server=server, url="https://h", ca="") for server in servers]
        events: list[str] = []
        request = run_request(job, endpoints)
        run = EnclaveRun(request, simulation.provider(), lambda event, _: events.append(event))
        return run, events

    return make


class Rows(operations.Parameters):
    """Parameters of an operation that gives out its rows."""

    operation: ClassVar[str] = "rows"
    reveals: ClassVar[str] = "everything"

    def row_level_outputs(self) -> frozenset[str]:
        return frozenset({"rows"})


@pytest.fixture
def rows_operation(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the name of an operation that gives out its rows."""
    parameters, computes = ModuleType("_rows"), ModuleType("_rows")

    def run(context: Context[Rows]) -> Any:
        return {"rows": context.data.table()}

    parameters.__dict__.update(Rows=Rows)
    computes.__dict__.update(run=run)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "clf_sdk.operations._rows", parameters)
        patch.setitem(sys.modules, "clf_enclave._operations._rows", computes)
        patch.setattr(operations, "OPERATIONS", {**operations.OPERATIONS, "rows": "Rows"})
        yield "rows"


def test_job_that_breaks_a_rule_ends_before_anything_is_pulled(
    sessions: list[Any],
    begin: Callable[..., tuple[EnclaveRun, list[str]]],
    rows_operation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = clf.Identity.create().public
    sessions += [demand(row_level=[reader.id]), demand()]
    run, events = begin(
        "0a" * 32, "0b" * 32, operation=rows_operation, parameters={}, recipients=[reader]
    )
    monkeypatch.setattr(_run, "TablePull", None)
    with pytest.raises(PolicyRefused, match="'rows'"):
        run.execute()
    assert events == ["started", "session", "session"]


def test_rules_that_tighten_while_tables_are_pulled_hold(
    sessions: list[Any],
    begin: Callable[..., tuple[EnclaveRun, list[str]]],
    rows_operation: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reader = clf.Identity.create().public
    sessions += [demand(row_level=[reader.id]), demand()]
    run, events = begin("0a" * 32, operation=rows_operation, parameters={}, recipients=[reader])

    class Pull:
        pulled_bytes = 0

        def __init__(
            self, _name: str, _session: object, renew: Callable[[], object], **_options: object
        ) -> None:
            self._renew = renew

        def table(self) -> pa.Table:
            self._renew()
            return pa.table({"id": [1, 2], "x": [3, 4]})

    monkeypatch.setattr(_run, "TablePull", Pull)
    with pytest.raises(PolicyRefused, match="rows of single people"):
        run.execute()
    assert "delivered" not in events


def test_run_waits_for_a_server_that_is_not_ready(
    sessions: list[Any], begin: Callable[..., tuple[EnclaveRun, list[str]]]
) -> None:
    sessions += [
        NotReady("soon"),
        NotReady("soon"),
        demand(smallest_group=4),
        InvalidJob("the end"),
    ]
    run, events = begin("0a" * 32, "0b" * 32)
    with pytest.raises(InvalidJob, match="the end"):
        run.execute()
    assert events == ["started", "waiting", "waiting", "session"]
    assert run._disclosure.rules.smallest_group == 4


def test_run_does_not_wait_for_ever(
    sessions: list[Any],
    begin: Callable[..., tuple[EnclaveRun, list[str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_owners, "_MOST_ATTEMPTS", 3)
    sessions += [NotReady("soon") for _ in range(4)]
    run, events = begin("0a" * 32)
    with pytest.raises(NotReady):
        run.execute()
    assert events == ["started", *["waiting"] * 3]
