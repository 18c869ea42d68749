from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_enclave._compute import compute
from clf_enclave._workspace import Workspace
from clf_sdk.align import join, member
from clf_sdk.errors import ClfError, InvalidJob, PolicyRefused
from clf_sdk.protocol import LEAST_MEMORY_BYTES, DeriveStep, InputNode
from clf_testing import SECRET, MemoryStream, demand, demanding, job_input, make_job, operate


def _frame(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(23)
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "region": rng.choice(["north", "south", "west"], rows),
            "age": rng.integers(0, 90, rows),
            "cost": rng.lognormal(3, 1, rows),
            "day": pd.date_range("2024-01-01", periods=rows, freq="D"),
        }
    )


def _aggregate(frame: pd.DataFrame, sql: str, smallest_group: int = 1, **job: Any) -> pd.DataFrame:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    rules = [demand(smallest_group=smallest_group)]
    found = operate(clf.Aggregate(sql=sql), table, rules=rules, **job)["groups"]
    assert isinstance(found, pa.Table)
    made: pd.DataFrame = found.to_pandas()
    return made


def test_groups_equal_those_of_pandas() -> None:
    frame = _frame()
    frame.loc[:30, "cost"] = np.nan
    found = _aggregate(
        frame,
        "SELECT region, count(*) AS n, count(cost), sum(age) AS years, avg(cost) AS mean, "
        "stddev(cost) AS sd, variance(cost) AS var, count(DISTINCT age) AS ages "
        "FROM data WHERE age >= 18 GROUP BY region",
        smallest_group=5,
    ).set_index("region")
    adults = frame[frame["age"] >= 18].groupby("region")
    expected = pd.DataFrame(
        {
            "n": adults.size(),
            "COUNT(cost)": adults["cost"].count(),
            "years": adults["age"].sum(),
            "mean": adults["cost"].mean(),
            "sd": adults["cost"].std(),
            "var": adults["cost"].var(),
            "ages": adults["age"].nunique(),
        }
    )
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-10)


def test_expressions_group_and_are_summed() -> None:
    frame = _frame()
    found = _aggregate(
        frame,
        "SELECT year(day) AS year, age >= 65 AS old, sum(cost * 2) AS twice FROM data "
        "GROUP BY year, age >= 65",
    )
    frame["year"], frame["old"] = frame["day"].dt.year, frame["age"] >= 65
    expected = 2 * frame.groupby(["year", "old"])["cost"].sum()
    np.testing.assert_allclose(found["twice"], expected, rtol=1e-10)


def test_whole_table_is_one_group() -> None:
    found = _aggregate(_frame(), "SELECT count(*) AS n FROM data", smallest_group=5)
    assert found["n"].tolist() == [400]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM data",
        "SELECT region FROM data GROUP BY region",
        "SELECT min(cost) FROM data",
        "SELECT max(cost) FROM data",
        "SELECT any_value(cost) FROM data",
        "SELECT list(cost) FROM data",
        "SELECT string_agg(region, ',') FROM data",
        "SELECT arg_max(age, cost) FROM data",
        "SELECT quantile_cont(cost, 0.5) FROM data",
        "SELECT sum(cost) OVER (PARTITION BY region) FROM data",
        "SELECT row_number() OVER () AS n, count(*) FROM data GROUP BY n",
        "SELECT count(*) FILTER (WHERE id = 7) FROM data",
        "SELECT region, count(*) FROM data GROUP BY region LIMIT 1",
        "SELECT region, count(*) FROM data GROUP BY region ORDER BY 2 LIMIT 1",
        "SELECT region, count(*) FROM data GROUP BY region OFFSET 1",
        "SELECT region, count(*) FROM data GROUP BY region HAVING count(*) > 1",
        "SELECT region, count(*) FROM data GROUP BY region QUALIFY row_number() OVER () = 1",
        "SELECT region, count(*) FROM data GROUP BY ROLLUP(region)",
        "SELECT region, count(*) FROM data GROUP BY CUBE(region)",
        "SELECT region, count(*) FROM data GROUP BY GROUPING SETS ((region), ())",
        "SELECT region, count(*) FROM data",
        "SELECT count(*) FROM data GROUP BY region",
        "SELECT DISTINCT count(*) FROM data",
        "SELECT count(*) FROM data USING SAMPLE 1",
        "SELECT count(*) FROM data TABLESAMPLE 1%",
        "SELECT count(*) FROM data AS d",
        "SELECT count(*) FROM data, data AS b",
        "SELECT count(*) FROM data JOIN data AS b USING (id)",
        "SELECT count(*) FROM (SELECT * FROM data LIMIT 1)",
        "SELECT count(*) FROM data WHERE id IN (SELECT id FROM data)",
        "SELECT (SELECT count(*) FROM data)",
        "SELECT count(*)",
        "WITH d AS (SELECT * FROM data) SELECT count(*) FROM d",
        "SELECT count(*) FROM data UNION ALL SELECT count(*) FROM data",
        "SELECT count(*) FROM '/etc/passwd'",
        "SELECT count(*) FROM read_csv('/etc/passwd')",
        "SELECT count(*) FROM information_schema.tables",
        "SELECT count(*) FROM main.data",
        "SELECT count(*) FROM duckdb_settings()",
        "SELECT count(*) FROM c1",
        "SELECT sum(c1) FROM data",
        "SELECT sum(rowid) FROM data",
        "SELECT getenv('HOME') AS h, count(*) FROM data GROUP BY h",
        "SELECT current_setting('threads') AS s, count(*) FROM data GROUP BY s",
        "SELECT random() AS r, count(*) FROM data GROUP BY r",
        "SELECT sum(error(region)) FROM data",
        "SELECT sum(cost) + 1 AS s FROM data",
        "SELECT sum(sum(cost)) FROM data",
        "SELECT sum(region) FROM data",
        "SELECT count(DISTINCT region, age) FROM data",
        "SELECT sum(DISTINCT cost) FROM data",
        "SELECT count(*) AS n, sum(age) AS n FROM data",
        "SELECT count(*) FROM data; DROP TABLE data",
        "COPY data TO '/tmp/x'",
        "PRAGMA database_list",
        "SET threads = 1",
        "ATTACH '/tmp/x.db'",
        "",
        "SELECT",
    ],
)
def test_queries_that_do_anything_else_are_refused(sql: str) -> None:
    with pytest.raises(ClfError) as caught:
        _aggregate(_frame(30), sql)
    assert caught.value.code in ("invalid_job", "invalid_expression")


def test_cast_that_fails_says_no_value() -> None:
    frame = _frame(50)
    frame["note"] = "secret-4711"
    found = _aggregate(frame, "SELECT sum(CAST(note AS INTEGER)) AS s FROM data")
    assert found["s"].isna().all()


def test_small_group_and_the_one_that_gives_it_away_are_left_out() -> None:
    frame = _frame()
    frame.loc[:2, "region"] = "isle"
    found = _aggregate(
        frame, "SELECT region, count(*) AS n FROM data GROUP BY region", smallest_group=5
    )
    sizes = frame["region"].value_counts()
    smallest_other = sizes.drop("isle").idxmin()
    assert set(found["region"]) == set(sizes.index) - {"isle", smallest_other}


def test_few_rows_are_refused_whole() -> None:
    with pytest.raises(PolicyRefused):
        _aggregate(_frame(), "SELECT sum(cost) FROM data WHERE id < 3", smallest_group=5)


def test_grouping_by_a_person_is_refused() -> None:
    with pytest.raises(PolicyRefused):
        _aggregate(_frame(500), "SELECT id, sum(cost) FROM data GROUP BY id", smallest_group=5)
    few = _frame(60)
    found = _aggregate(few, "SELECT id, sum(cost) FROM data GROUP BY id", smallest_group=5)
    assert found.empty


@pytest.mark.parametrize(
    "singled_out",
    [
        "sum(CASE WHEN id = 7 THEN cost ELSE 0 END)",
        "avg(CASE WHEN id = 7 THEN 1 ELSE 0 END)",
        "sum(CASE WHEN id = 7 THEN 2 ELSE 1 END)",
        "sum(CASE WHEN id = 7 THEN 3 WHEN id = 8 THEN 1 ELSE 2 END)",
        "count(CASE WHEN id = 7 THEN 1 END)",
        "count(CASE WHEN id <> 7 THEN 1 END)",
        "sum(CASE WHEN id <> 7 THEN cost END)",
        "stddev(CASE WHEN id = 7 THEN cost ELSE 0 END)",
    ],
)
def test_number_that_few_people_shape_is_not_shown(singled_out: str) -> None:
    sql = f"SELECT {singled_out} AS it, count(*) AS n FROM data"  # noqa: S608 - an attack
    assert _aggregate(_frame(), sql)["it"].notna().all()
    found = _aggregate(_frame(), sql, smallest_group=5)
    assert found["it"].isna().all()
    assert found["n"].tolist() == [400]


def test_two_sums_whose_difference_is_one_person_are_not_both_shown() -> None:
    sql = "SELECT sum(cost) AS s, sum(cost + CASE WHEN id = 7 THEN cost ELSE 0 END) AS t FROM data"
    found = _aggregate(_frame(), sql, smallest_group=5)
    assert found["s"].notna().all()
    assert found["t"].isna().all()
    derive = DeriveStep(kind="derive", column="mine", expression="CASE WHEN id = 7 THEN cost END")
    sql = "SELECT sum(coalesce(mine, 0)) AS s FROM data"
    assert _aggregate(_frame(), sql, 5, prepare=[derive])["s"].isna().all()


def test_groups_are_counted_in_persons_of_each_owner() -> None:
    people = pa.table({"id": list(range(40)), "place": ["a"] * 20 + ["b"] * 20})
    # Twenty rows of b are visits of two people.
    visits = pa.table(
        {"id": list(range(20)) + [20, 21] * 10, "cost": [float(n) for n in range(40)]}
    )
    parameters = clf.Aggregate(sql="SELECT place, sum(cost) AS s FROM data GROUP BY place")
    tree = join("people", member("visits", duplicates="keep"), on="id")
    tables = {"people": people, "visits": visits}
    found: dict[str, Any] = operate(parameters, tables, align=tree)
    assert found["groups"].num_rows == 2
    found = operate(parameters, tables, align=tree, rules=[demand(smallest_group=5)])
    assert found["groups"].num_rows == 0


def test_error_for_an_unknown_column_names_it_alone() -> None:
    with pytest.raises((InvalidJob, ClfError), match="costs"):
        _aggregate(_frame(), "SELECT sum(costs) FROM data")


def test_rows_that_are_read_anew_are_not_kept() -> None:
    rows = 2_000_000
    wide = pa.table(
        {"g": np.arange(rows) % 10, **{f"x{n}": np.arange(rows) * 1.5 for n in range(4)}}
    )
    stream = MemoryStream(wide, batch_rows=100_000)
    sql = "SELECT g, count(*) AS n, avg(x0) AS a, sum(x1) AS b, avg(x2) AS c FROM data GROUP BY g"
    job = make_job(
        [job_input("0a" * 32, "data")],
        operation="aggregate",
        parameters=clf.Aggregate(sql=sql).to_json(),
        align=InputNode(kind="input", input="data"),
        memory_limit_bytes=LEAST_MEMORY_BYTES,
    )
    with Workspace(48 << 20) as workspace:  # the columns that are used take 64 MB
        outputs, _ = compute(
            job,
            {"data": stream},
            workspace,
            demanding(demand(smallest_group=10)),
            secret=SECRET,
            report=lambda _event, _details: None,
        )
    groups = outputs["groups"]
    assert isinstance(groups, pa.Table)
    assert groups["n"].to_pylist() == [rows // 10] * 10
