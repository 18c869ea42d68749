"""``private_statistics``: what goes in, how much noise comes on it, and what nobody can provoke."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opendp import domains, metrics, transformations

import clf_sdk as clf
from clf_enclave._disclosure import Disclosure
from clf_enclave._privacy._noise import LIBRARY, Noise
from clf_sdk.align import first, join, member, union
from clf_sdk.errors import InvalidJob
from clf_sdk.operations import PrivateStatistics
from clf_sdk.protocol import AlignNode, Dominance, GrantedInput, PrepareStep, inputs_of
from clf_testing import demand, operate

EXACTLY = 100.0
"""An epsilon at which counts have no noise: all but one of e^100 draws are zero."""


def ask(*statistics: Any, rows: int = 1) -> PrivateStatistics:
    return PrivateStatistics(statistics=statistics, max_rows_per_person=rows)


def values(outputs: dict[str, Any]) -> dict[str, float]:
    """Return the numbers by name, of histograms by name and cell."""
    found = outputs["statistics"].to_pandas()
    return {
        f"{row['name']}:{row.cell}" if row.statistic == "histogram" else row["name"]: row.value
        for _, row in found.iterrows()
    }


def entity(name: str, column: str, columns: list[str]) -> GrantedInput:
    return GrantedInput(
        name=name,
        table=name,
        version_id="00" * 16,
        version="00" * 32,
        source=None,
        columns=columns,
        entity=column,
        epsilon_millionths=0,
        manifest_bytes=1,
    )


def owners(tables: dict[str, pa.Table], entities: dict[str, str], **rules: Any) -> Disclosure:
    disclosure = Disclosure()
    for number, (name, table) in enumerate(tables.items()):
        granted = [entity(name, entities[name], table.column_names)] if name in entities else []
        disclosure.add(f"{number:064x}", demand(**rules), granted)
    return disclosure


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Noise, list[int]]]:
    """Take the noise away, and return what it would have been added to."""
    seen: list[tuple[Noise, list[int]]] = []

    def add(noise: Noise, numbers: list[int]) -> list[int]:
        seen.append((noise, list(numbers)))
        return list(numbers)

    monkeypatch.setattr(Noise, "add", add)
    return seen


# -- the numbers -------------------------------------------------------------------------------

ODD = pa.table(
    {
        "age": [10.0, 20.0, 200.0, -5.0, None, math.nan, math.inf, -math.inf],
        "n": pa.array([1, 2, 2**63, 2**64 - 1, None, 5, 6, 7], pa.uint64()),
        "low": pa.array([-(2**63), 2**63 - 1, 0, 1, None, 5, 6, 7], pa.int64()),
        "ill": [True, False, True, None, True, False, True, True],
        "sex": ["m", "f", None, "x", "m", "'; DROP", "f", "m"],
        "money": pa.array([None, *["1.25"] * 7]).cast(pa.decimal128(38, 10)),
    }
)


@pytest.mark.usefixtures("exact")
def test_values_are_moved_into_bounds_and_missing_ones_are_left_out_or_count_as_told() -> None:
    asked = ask(
        clf.private.count(epsilon=1),
        clf.private.count("ages", column="age", epsilon=1),
        clf.private.sum("age", lower=0, upper=100, epsilon=1),
        clf.private.sum("age", lower=0, upper=100, missing=50, epsilon=1, name="filled"),
        clf.private.mean("age", lower=0, upper=100, epsilon=1),
        clf.private.mean("age", lower=0, upper=100, missing=-9, epsilon=1, name="mean_filled"),
        clf.private.sum("n", lower=0, upper=10, epsilon=1),
        clf.private.sum("low", lower=-10, upper=10, epsilon=1),
        clf.private.sum("ill", lower=0, upper=1, epsilon=1),
        clf.private.mean("money", lower=0, upper=2, epsilon=1),
    )
    found = values(operate(asked, ODD))
    inside = [10, 20, 100, 0, 100, 0]
    assert found == pytest.approx(
        {
            "count": 8,
            "ages": 6,
            "sum_age": sum(inside),
            "filled": sum(inside) + 100,
            "mean_age": sum(inside) / 6,
            "mean_filled": sum(inside) / 8,
            "sum_n": 1 + 2 + 10 + 10 + 5 + 6 + 7,
            "sum_low": -10 + 10 + 0 + 1 + 5 + 6 + 7,
            "sum_ill": 5,
            "mean_money": 1.25,
        },
        abs=1e-6,
    )


@pytest.mark.usefixtures("exact")
def test_cells_of_histograms_come_from_the_job_alone() -> None:
    asked = ask(
        clf.private.histogram("sex", categories=["m", "'; DROP", "nobody"], epsilon=1),
        clf.private.histogram("age", edges=[0, 15, 1e6], epsilon=1),
        clf.private.histogram("ill", categories=["true"], epsilon=1),
    )
    assert values(operate(asked, ODD)) == {
        "histogram_sex:m": 3,
        "histogram_sex:'; DROP": 1,
        "histogram_sex:nobody": 0,
        "histogram_sex:(others)": 3,
        "histogram_sex:(missing)": 1,
        "histogram_age:below 0": 2,
        "histogram_age:[0, 15)": 1,
        "histogram_age:[15, 1000000)": 2,
        "histogram_age:from 1000000": 1,
        "histogram_age:(missing)": 2,
        "histogram_ill:true": 5,
        "histogram_ill:(others)": 2,
        "histogram_ill:(missing)": 1,
    }


@pytest.mark.usefixtures("exact")
def test_nothing_is_a_result_too() -> None:
    asked = ask(
        clf.private.count(epsilon=1),
        clf.private.sum("age", lower=-5, upper=5, epsilon=1),
        clf.private.mean("age", lower=10, upper=20, epsilon=1),
        clf.private.histogram("age", edges=[0], epsilon=1),
    )
    rules = demand(smallest_group=1000, round_counts=5, dominance=[Dominance(largest=1, percent=1)])
    found = values(operate(asked, ODD.slice(0, 0), rules=[rules]))
    assert found["count"] == found["sum_age"] == 0
    assert found["mean_age"] == 15
    table = pa.table({"id": [1, 2], "age": [3.0, 4.0]})
    apart = {"a": table, "b": pa.table({"id": [7, 8]})}
    found = values(operate(asked, apart, align=join("a", "b", on="id"), rules=[rules]))
    assert found["count"] == 0
    none = [clf.prepare.filter("age > 1000")]
    assert values(operate(asked, table, prepare=none, rules=[rules]))["count"] == 0


def _pieces() -> tuple[pd.DataFrame, dict[str, dict[str, pa.Table]], dict[str, AlignNode]]:
    people = pd.DataFrame({"id": range(900), "age": [20 + n % 60 for n in range(900)]})
    people["costs"] = [(n * 37) % 1000 / 2 for n in range(900)]
    people["sex"] = ["m" if n % 3 else "f" for n in range(900)]

    def arrow(frame: pd.DataFrame) -> pa.Table:
        return pa.Table.from_pandas(frame, preserve_index=False)

    left, right = people[["id", "age"]], people[["id", "costs", "sex"]]
    tables = {
        "vertical 2": {"a": arrow(left), "b": arrow(right)},
        "vertical 3": {"a": arrow(left), "b": arrow(right[["id", "costs"]])}
        | {"c": arrow(people[["id", "sex"]])},
        "horizontal 2": {"a": arrow(people[:400]), "b": arrow(people[400:])},
        "horizontal 3": {"a": arrow(people[:300]), "b": arrow(people[300:600])}
        | {"c": arrow(people[600:])},
        "mixed 3": {"a": arrow(left[:500]), "b": arrow(left[500:]), "c": arrow(right)},
    }
    trees: dict[str, AlignNode] = {
        "vertical 2": join("a", "b", on="id"),
        "vertical 3": join("a", "b", "c", on="id"),
        "horizontal 2": union("a", "b"),
        "horizontal 3": union("a", "b", "c"),
        "mixed 3": join(member(union("a", "b"), duplicates=first("age")), "c", on="id"),
    }
    return people, tables, trees


PEOPLE, TABLES, TREES = _pieces()


@pytest.mark.parametrize("how", TREES)
def test_joint_statistics_are_those_of_the_pooled_table(how: str) -> None:
    asked = ask(
        clf.private.count(epsilon=EXACTLY),
        clf.private.sum("costs", lower=0, upper=500, epsilon=EXACTLY),
        clf.private.mean("age", lower=0, upper=100, epsilon=EXACTLY),
        clf.private.histogram("sex", categories=["m", "f"], epsilon=EXACTLY),
    )
    found = values(operate(asked, TABLES[how], align=TREES[how]))
    # In the mixture people of two tables could have one key: noise for two rows.
    assert found["count"] == len(PEOPLE)
    assert found["histogram_sex:f"] == (PEOPLE.sex == "f").sum()
    assert found["sum_costs"] == pytest.approx(PEOPLE.costs.sum(), abs=500)
    assert found["mean_age"] == pytest.approx(PEOPLE.age.mean(), abs=1)


# -- the noise ---------------------------------------------------------------------------------


@settings(deadline=None, max_examples=100)
@given(
    rows=st.integers(1, 3000),
    bound=st.integers(1, 2**31),
    epsilon=st.integers(1, 100_000_000).map(lambda count: count / 10**6),
)
def test_privacy_map_of_the_mechanism_is_the_epsilon_of_the_job(
    rows: int, bound: int, epsilon: float
) -> None:
    noise = Noise(rows * bound, epsilon)
    measurement: Any = noise.measurement
    found: float = measurement.map(rows * bound)
    assert epsilon * (1 - 1e-12) <= found <= epsilon
    assert noise.scale == pytest.approx(rows * bound / epsilon, rel=1e-12)


@pytest.mark.parametrize(("lower", "upper"), [(-5, 10), (0, 7), (-9, -2), (3, 4)])
def test_sensitivity_of_sums_is_that_of_opendp(
    lower: int, upper: int, exact: list[tuple[Noise, list[int]]]
) -> None:
    """OpenDP's own sum of whole numbers, by its stability map, with several rows for a person."""
    table = pa.table({"person": [1, 1, 1, 2], "x": [lower, upper, upper, 0]})
    tables = {"data": table}
    asked = ask(clf.private.sum("x", lower=lower, upper=upper, epsilon=1), rows=3)
    disclosure = owners(tables, {"data": "person"})
    operate(asked, table, disclosure=disclosure)
    space = domains.vector_domain(domains.atom_domain(bounds=(lower, upper), T="i64"))
    summed: Any = transformations.make_sum(space, metrics.symmetric_distance())
    theirs = summed.map(3)
    ((noise, _),) = exact
    (reported,) = disclosure.report(["statistics"], []).outputs
    assert reported.noise is not None
    (statistic,) = reported.noise.statistics
    assert statistic.sensitivity == theirs == 3 * max(abs(lower), abs(upper))
    assert noise.measurement.map(noise.sensitivity) <= 1


def test_noise_is_spread_as_its_scale_says() -> None:
    """2,000 draws of scale 8: bounds at more than six standard errors."""
    noise, scale = Noise(4, 0.5), 8.0
    drawn = [noise.add([100])[0] - 100 for _ in range(2000)]
    assert abs(sum(drawn) / 2000) < 6 * math.sqrt(2) * scale / math.sqrt(2000)
    spread = sum(map(abs, drawn)) / 2000
    assert abs(spread - scale) < 6 * scale / math.sqrt(2000)
    beyond = sum(abs(each) > scale * math.log(20) for each in drawn) / 2000
    assert abs(beyond - 0.05) < 6 * math.sqrt(0.05 * 0.95 / 2000)


def test_equal_runs_draw_different_noise() -> None:
    """The run's secret, from which other operations draw, is the same for all of these."""
    asked = ask(clf.private.histogram("age", edges=list(range(50)), epsilon=0.01))
    first_run, second_run = (values(operate(asked, ODD)) for _ in range(2))
    assert first_run != second_run


def test_numbers_of_any_size_are_noised_without_an_error() -> None:
    huge = pa.table({"x": pa.array([2**64 - 1] * 50, pa.uint64()), "y": [1e308] * 50})
    asked = ask(
        clf.private.sum("x", lower=-1e18, upper=1e18, epsilon=0.000001),
        clf.private.sum("y", lower=0, upper=1e-9, epsilon=100),
        clf.private.mean("y", lower=-1e18, upper=1e18, epsilon=0.000001),
    )
    found = values(operate(asked, huge))
    assert all(math.isfinite(value) for value in found.values())
    assert Noise(1, 0.1).add([10**30, -(10**30)])[0] > 2**62


# -- what one person can change ----------------------------------------------------------------

VISITS = st.lists(
    st.tuples(
        st.integers(0, 4),  # patient
        st.integers(0, 3),  # person
        st.sampled_from([None, math.nan, math.inf, -7.5, 0.25, 3.0, 99.0]),
        st.sampled_from(["m", "f", "x", None]),
    ),
    max_size=12,
)
EVERYTHING = (
    clf.private.count(epsilon=1),
    clf.private.count("known", column="costs", epsilon=1),
    clf.private.sum("costs", lower=-2, upper=5, epsilon=1),
    clf.private.sum("costs", lower=-2, upper=5, missing=4, epsilon=1, name="filled"),
    clf.private.mean("costs", lower=1, upper=6, epsilon=1),
    clf.private.histogram("sex", categories=["m", "f"], epsilon=1),
    clf.private.histogram("costs", edges=[0, 1, 2], epsilon=1),
)
INSURER = [(n, f"p{n % 2}") for n in range(4)]


def _visits(rows: list[tuple[Any, ...]]) -> dict[str, pa.Table]:
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    kinds = (pa.int64(), pa.int64(), pa.float64(), pa.string())
    names = ("patient", "id", "costs", "sex")
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    insurer = list(zip(*INSURER, strict=True))
    return {
        "clinic": pa.table(dict(zip(names, arrays, strict=True))),
        "insurer": pa.table({"id": insurer[0], "plan": insurer[1]}),
    }


@pytest.mark.parametrize(
    ("entities", "rule", "how"),
    [
        ({}, "keep", "inner"),
        ({}, "keep", "left"),
        ({"clinic": "id"}, "keep", "inner"),
        ({"clinic": "patient"}, first("costs"), "inner"),
        ({"clinic": "patient"}, clf.align.aggregate({"costs": "sum", "sex": "max"}), "left"),
        ({}, clf.align.aggregate({"costs": "mean", "sex": "max"}), "inner"),
    ],
)
@settings(deadline=None, max_examples=25)
@given(rows=VISITS, most=st.integers(1, 3), data=st.data())
def test_one_person_changes_every_statistic_by_its_sensitivity_at_most(
    entities: dict[str, str],
    rule: Any,
    how: Any,
    rows: list[tuple[Any, ...]],
    most: int,
    data: st.DataObject,
) -> None:
    """End to end: truncation, alignment, rounding to the grid, with and without one patient."""
    seen: list[list[tuple[Noise, list[int]]]] = []

    def run(of: list[tuple[Any, ...]]) -> None:
        tables, numbers = _visits(of), []

        def add(noise: Noise, exact: list[int]) -> list[int]:
            numbers.append((noise, list(exact)))
            return list(exact)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Noise, "add", add)
            operate(
                ask(*EVERYTHING, rows=most),
                tables,
                align=join(
                    member("clinic", duplicates=rule),
                    member("insurer", duplicates=first("plan")),
                    on="id",
                    how=how,
                ),
                disclosure=owners(tables, entities, smallest_group=10),
            )
        seen.append(numbers)

    who = data.draw(st.integers(0, 4))
    place = 0 if entities.get("clinic") == "patient" else 1
    run(rows)
    run([row for row in rows if row[place] != who])
    for (noise, with_them), (again, without) in zip(*seen, strict=True):
        assert noise == again  # the scale of the noise does not depend on the data
        apart = sum(abs(one - other) for one, other in zip(with_them, without, strict=True))
        assert apart <= noise.sensitivity


def test_first_rows_of_each_person_stay_whatever_others_have() -> None:
    table = pa.table({"who": ["a", "b", "a", "a", "b", None, ""], "x": [1.0, 2, 4, 8, 16, 32, 64]})
    tables = {"data": table}
    asked = ask(clf.private.sum("x", lower=0, upper=100, epsilon=EXACTLY), rows=2)
    found = values(operate(asked, table, disclosure=owners(tables, {"data": "who"})))
    assert found["sum_x"] == pytest.approx(1 + 4 + 2 + 16 + 32 + 64, abs=60)
    (noise,) = (
        each.noise for each in _report(asked, tables, {"data": "who"}) if each.noise is not None
    )
    assert noise.inputs[0].changed_rows == noise.max_rows_per_person == 2


def _report(asked: Any, tables: dict[str, pa.Table], entities: dict[str, str]) -> list[Any]:
    disclosure = owners(tables, entities, smallest_group=5)
    align = None if len(tables) == 1 else join(*tables, on="id")
    operate(asked, tables, disclosure=disclosure, align=align)
    return list(disclosure.report(["statistics"], []).outputs)


def test_report_names_unit_bounds_mechanism_and_library() -> None:
    tables = {"a": pa.table({"id": [1, 2], "x": [1.0, 2.0]}), "b": pa.table({"id": [2, 3]})}
    asked = ask(
        clf.private.mean("x", lower=-1, upper=3, epsilon=0.5), clf.private.count(epsilon=0.25)
    )
    (report,) = _report(asked, tables, {"b": "id"})
    assert report.checked == ["privacy_budget"]
    assert report.suppressed == []
    noise = report.noise
    assert (noise.library, noise.mechanism) == (LIBRARY, "discrete Laplace")
    assert [(each.input, each.person, each.columns) for each in noise.inputs] == [
        ("a", "key", ["id"]),
        ("b", "entity", ["id"]),
    ]
    said = [(each.name, each.epsilon, each.lower, each.upper) for each in noise.statistics]
    assert said == [
        ("mean_x", 0.25, -1, 3),
        ("mean_x", 0.25, -1, 3),
        ("count", 0.25, None, None),
    ]
    assert [each.scale for each in noise.statistics] == pytest.approx([8, 4, 4])


# -- what is refused ---------------------------------------------------------------------------

PAIR = {"a": pa.table({"id": [1, 2], "x": [1.0, 2.0]}), "b": pa.table({"id": [2, 3], "y": [1, 2]})}
COUNT = clf.private.count(epsilon=1)


@pytest.mark.parametrize(
    ("make", "rows", "said"),
    [
        (lambda: join("a", "b", on="id", nulls="refuse"), 1, "missing key would end"),
        (
            lambda: clf.align.link(
                "a", "b", compare={"id": "exact"}, block_on=["id"], threshold=0.9
            ),
            1,
            "can't be linked by likeness",
        ),
        (lambda: join("a", "b", on="id"), 2, "can't refuse duplicates of 'a'"),
        (lambda: join(member(union("a", "c"), duplicates="refuse"), "b", on="id"), 1, "refuse"),
        (
            lambda: join(join("a", member("b", duplicates="keep"), on="id"), "c", on="id"),
            1,
            "can't refuse duplicates of 'a\\+b'",
        ),
    ],
)
def test_alignment_that_one_row_can_end_is_refused(
    make: Callable[[], AlignNode], rows: int, said: str
) -> None:
    tables = dict(PAIR)
    tree = make()
    if "c" in inputs_of(tree):
        tables["c"] = PAIR["a"].rename_columns(["id", "z"])
    with pytest.raises(InvalidJob, match=said):
        operate(ask(COUNT, rows=rows), tables, align=tree)


def test_kept_duplicates_of_keys_that_many_people_share_are_refused() -> None:
    tables = {"a": pa.table({"id": [1, 1], "who": [1, 2]}), "b": PAIR["b"]}
    tree = join(member("a", duplicates="keep"), member("b", duplicates=first("y")), on="id")
    operate(ask(COUNT), tables, align=tree)
    with pytest.raises(InvalidJob, match="many people"):
        operate(ask(COUNT), tables, align=tree, disclosure=owners(tables, {"a": "who"}))


@pytest.mark.parametrize(
    "step",
    [
        clf.prepare.standardise("x"),
        clf.prepare.one_hot("x"),
        clf.prepare.one_hot("x", categories=["1"]),
        clf.prepare.split(seed=1),
        clf.prepare.impute("x", fill_with="mean"),
        clf.prepare.impute("x", fill_with="mode"),
    ],
)
def test_preparation_that_looks_at_other_rows_is_refused(step: Any) -> None:
    with pytest.raises(InvalidJob, match="can't be prepared by"):
        operate(ask(COUNT), PAIR["a"], prepare=[step])


def test_preparation_of_single_rows_is_taken() -> None:
    steps: list[PrepareStep] = [
        clf.prepare.impute("x", fill_with="value", value=3.0),
        clf.prepare.derive("double", "x * 2"),
        clf.prepare.filter("double > 2"),
        clf.prepare.bin("x", edges=[1.5]),
        clf.prepare.select("x"),
    ]
    found = operate(ask(clf.private.count(epsilon=EXACTLY)), PAIR["a"], prepare=steps)
    assert values(found)["count"] == 1


def test_table_that_is_treated_as_larger_than_memory_is_refused() -> None:
    with pytest.raises(InvalidJob, match="in memory"):
        operate(ask(COUNT), PAIR["a"], streamed=True)


@pytest.mark.parametrize(
    ("statistic", "said"),
    [
        (clf.private.sum("g", lower=0, upper=1, epsilon=1), "has no numbers"),
        (clf.private.mean("gone", lower=0, upper=1, epsilon=1), "no column 'gone'"),
        (clf.private.count(column="gone", epsilon=1), "no column 'gone'"),
        (clf.private.histogram("g", edges=[1], epsilon=1), "has no numbers"),
        (clf.private.histogram("x", categories=["1"], epsilon=1), "has no categories"),
    ],
)
def test_column_that_does_not_fit_is_named(statistic: Any, said: str) -> None:
    table = pa.table({"g": ["a"], "x": [1.0]})
    with pytest.raises(InvalidJob, match=said):
        operate(ask(statistic), table)
