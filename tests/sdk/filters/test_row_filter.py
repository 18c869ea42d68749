"""A row filter holds nothing but what stands on the list, whatever it is made to look like."""

from __future__ import annotations

import subprocess
import sys

import pyarrow as pa
import pytest

from clf_sdk.errors import InvalidFilter
from clf_sdk.filters import MOST_CHARACTERS, RowFilter

SCHEMA = pa.schema(
    {
        "age": pa.int64(),
        "Age": pa.int8(),
        "country": pa.dictionary(pa.int8(), pa.string()),
        "name": pa.large_string(),
        "born": pa.date32(),
        "seen": pa.timestamp("us", tz="Europe/Berlin"),
        "alive": pa.bool_(),
        "income": pa.decimal128(12, 2),
        "weight": pa.float32(),
        "first name": pa.string(),
        'a"b': pa.string(),
        "tags": pa.list_(pa.string()),
        "wide": pa.decimal256(50, 2),
        "raw": pa.binary(),
        "at": pa.time64("us"),
    }
)


@pytest.mark.parametrize(
    ("text", "sql", "texts"),
    [
        ("age >= 18 AND country = 'DE'", "c0 >= 18 AND c1 = $1", ["DE"]),
        ("  age>=18 and\n country='DE' -- adults\n", "c0 >= 18 AND c1 = $1", ["DE"]),
        ("age > 1 /* one */ OR NOT alive", "c0 > 1 OR NOT c1", []),
        ("country IN ('DE', 'FR') AND age IN (1, -2)", "c0 IN ($1, $2) AND c1 IN (1, -2)", None),
        ("country NOT IN ('DE')", "NOT c0 IN ($1)", ["DE"]),
        ("age BETWEEN 18 AND 65", "c0 BETWEEN 18 AND 65", []),
        ("name LIKE 'A%' AND name NOT LIKE '%z'", "c0 LIKE $1 AND c0 NOT LIKE $2", ["A%", "%z"]),
        ("weight IS NULL OR weight IS NOT NULL", "c0 IS NULL OR NOT c0 IS NULL", []),
        ("alive IS TRUE AND (age > 1) IS NOT FALSE", None, []),
        ("alive = TRUE", "c0 = TRUE", []),
        ("born > '2000-01-31'", "c0 > CAST($1 AS DATE)", ["2000-01-31"]),
        ("born > DATE '2000-01-31'", "c0 > CAST($1 AS DATE)", ["2000-01-31"]),
        ("'2000-01-31' <= born", "CAST($1 AS DATE) <= c0", ["2000-01-31"]),
        ("born BETWEEN '2000-01-01' AND '2001-01-01'", None, ["2000-01-01", "2001-01-01"]),
        (
            "seen < TIMESTAMP '2026-01-01T12:00:00+02:00'",
            "c0 < CAST($1 AS TIMESTAMP)",
            ["2026-01-01 10:00:00"],
        ),
        ("seen >= DATE '2026-01-01'", "c0 >= CAST($1 AS DATE)", ["2026-01-01"]),
        ("YEAR(born) = 2000 AND year(seen) = 2026", "YEAR(c0) = 2000 AND YEAR(c1) = 2026", []),
        ("lower(name) = 'x' OR LENGTH(name) > 3", "LOWER(c0) = $1 OR LENGTH(c0) > 3", ["x"]),
        ("abs(income) < 12.50", "ABS(c0) < 12.50", []),
        ("income = -0.5", "c0 = -0.5", []),
        ("age = Age", "c0 = c1", []),
        ("\"first name\" = 'x'", "c0 = $1", ["x"]),
        ('"a""b" = \'x\'', "c0 = $1", ["x"]),
        ("alive", "c0", []),
    ],
)
def test_allowed_conditions_become_sql_without_the_author_s_words(
    text: str, sql: str | None, texts: list[str] | None
) -> None:
    found, parameters = RowFilter.parse(text).sql(SCHEMA)
    assert sql is None or found == sql
    assert texts is None or parameters == texts
    assert not any(name in found for name in SCHEMA.names)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("age = (SELECT 1)", "Subquery"),
        ("age IN (SELECT age FROM t)", "In with query"),
        ("EXISTS (SELECT 1)", "Exists"),
        ("SELECT age FROM t", "Select"),
        ("age > 1; DROP TABLE t", "not one condition"),
        ("age > 1; age > 2", "not one condition"),
        ("DROP TABLE t", "Drop"),
        ("COPY t TO 'x'", "Copy"),
        ("ATTACH 'x'", "Attach"),
        ("age > 1 UNION SELECT 1", "Union"),
        ("getenv('HOME') = name", "'getenv'"),
        ("read_text('/etc/passwd') = name", "'read_text'"),
        ("read_csv('/etc/passwd') = name", "ReadCSV"),
        ("regexp_matches(name, 'x')", "Regexp"),
        ("name ~ 'x'", "Regexp"),
        ("name ILIKE 'x'", "ILike"),
        ("name SIMILAR TO 'x'", "SimilarTo"),
        ("name || 'x' = 'y'", "DPipe"),
        ("age + 1 > 2", "Add"),
        ("age % 2 = 0", "Mod"),
        ("born > CURRENT_DATE", "CurrentDate"),
        ("now() > seen", "'now'"),
        ("random() < 1", "Rand"),
        ("COUNT(*) > 1", "Count"),
        ("SUM(age) OVER () > 1", "Window"),
        ("* = 1", "Star"),
        ("t.age = 1", "'t'"),
        ("tags[1] = 'x'", "Bracket"),
        ("[1] = age", "Array"),
        ("{'a': 1} = age", "Struct"),
        ("(age, 1) = (1, 1)", "Tuple"),
        ("CASE WHEN alive THEN alive END", "Case"),
        ("COALESCE(age, 1) = 1", "Coalesce"),
        ("age = ?", "Placeholder"),
        ("age = $1", "Placeholder"),
        ("age = :x", "Placeholder"),
        ("CAST(age AS TEXT) = '1'", "TEXT|VARCHAR"),
        ("TRY_CAST(name AS DATE) > born", "TryCast"),
        ("age::DATE = born", "converts"),
        ("born > INTERVAL 1 DAY", "Interval"),
        ("name = 'x' COLLATE NOCASE", "Collate"),
        ("age BETWEEN SYMMETRIC 3 AND 1", "symmetric"),
        ("LENGTH(name, age) = 1", "binary"),
        ("LOWER(DISTINCT name) = 'x'", "Distinct"),
        ("name = E'\\x41'", "ByteString"),
        ("name = $$x$$", "RawString"),
        ("name = 'a' 'b'", "Concat"),
        ("age = 0x1F", "Alias"),
        ("age IS DISTINCT FROM 1", "Distinct|NullSafe"),
        ("name LIKE ANY ('x')", "Any"),
        ("name LIKE 'x' ESCAPE '!'", "Escape"),
        ("age IN age", "field"),
        ("name > '' LIMIT 1", "parsed near character"),
        ("age >", "parsed"),
        ("(age > 1", "parsed"),
    ],
)
def test_everything_else_is_refused_by_name(text: str, named: str) -> None:
    with pytest.raises(InvalidFilter, match=named):
        RowFilter.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "TRUE",
        "NOT FALSE",
        "1 = 1",
        "'a' = 'a'",
        "age > 18 OR TRUE",
        "country = 'x' OR 1 = 1 --'",
        "country = '\\' OR 'a' = 'a'",
        "NULL IS NULL",
        "age > 1 OR 1 BETWEEN 0 AND 2",
        "age > 1 OR 1 IN (1)",
        "age > 1 OR LENGTH('a') = 1",
    ],
)
def test_condition_that_every_row_meets_can_not_be_smuggled_in(text: str) -> None:
    with pytest.raises(InvalidFilter, match=r"names no column|no column"):
        RowFilter.parse(text)


def test_text_that_looks_like_sql_stays_a_text() -> None:
    text = "x' OR '1'='1'; DROP TABLE rows; --"
    condition = RowFilter.parse(f"name = '{text.replace(chr(39), chr(39) * 2)}'")
    assert condition.sql(SCHEMA) == ("c0 = $1", [text])
    assert condition.columns == ("name",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("agee > 1", r"'agee'.*\n.*did you mean age"),
        ("COUNTRY = 'DE'", "'COUNTRY'"),
        ("tags = 'x'", "'tags' has type list"),
        ("wide > 1", "'wide' has type decimal256"),
        ("raw = 'x'", "'raw' has type binary"),
        ("at > '12:00'", "'at' has type time64"),
        ("age", "takes a number for a condition"),
        ("age AND alive", "takes a number for a condition"),
        ("NOT name", "takes a text for a condition"),
        ("age = '18'", "compares number with text"),
        ("name = 18", "compares number with text"),
        ("alive = 1", "compares boolean with number"),
        ("born = 2000", "compares date with number"),
        ("born = name", "compares date with text"),
        ("name = born", "compares date with text"),
        ("born > 'yesterday'", "'yesterday' for a date"),
        ("born > '2000-02-30'", "'2000-02-30' for a date"),
        ("seen > 'noon'", "'noon' for a timestamp"),
        ("age LIKE '1%'", "LIKE on no text"),
        ("LOWER(age) = '1'", "LOWER on a number"),
        ("YEAR(name) = 1", "YEAR on a text"),
        ("ABS(name) = 1", "ABS on a text"),
        ("age IS TRUE", "IS TRUE and IS FALSE"),
    ],
)
def test_filter_that_does_not_fit_the_table_is_refused_by_name(text: str, named: str) -> None:
    condition = RowFilter.parse(text)
    with pytest.raises(InvalidFilter, match=named):
        condition.check(SCHEMA)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("age = NULL", "IS NULL"),
        ("age IN (1, NULL)", "list of values"),
        ("age IN ()", "list of values"),
        ("age IN (1, age)", "list of values"),
        ("name LIKE name", "pattern in quotes"),
        ("age IS 1", "after IS"),
        ("age = 1e5", "exponent"),
        ("age = 1234567890123456789", "too long"),
        ("age = -name", "minus"),
        ("born > DATE 'soon'", "'soon' for a date"),
        ("DATE(name) = born", "converts|which is not allowed"),
        ("age > 1 AND 'x'", "takes a text"),
        ("age IN (1, 'x')", "compares number with text"),
        ("age BETWEEN 1 AND 'x'", "compares number with text"),
    ],
)
def test_condition_that_makes_no_sense_is_refused_without_a_table(text: str, named: str) -> None:
    with pytest.raises(InvalidFilter, match=named):
        RowFilter.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \n",
        "age = 1 " + "OR age = 1 " * 1000,
        "(" * 1000 + "alive" + ")" * 1000,
        "NOT " * 990 + "alive",
        " OR ".join(["alive"] * 550),
    ],
    ids=["empty", "blank", "long", "parentheses", "nots", "parts"],
)
def test_size_and_depth_have_limits(text: str) -> None:
    with pytest.raises(InvalidFilter):
        RowFilter.parse(text)
    assert MOST_CHARACTERS == 4000


def test_filters_are_equal_when_they_say_the_same() -> None:
    first = RowFilter.parse("age>=18   AND country='DE'")
    assert first == RowFilter.parse("age >= 18 and country = 'DE' -- adults")
    assert hash(first) == hash(RowFilter.parse("age >= 18 AND country = 'DE'"))
    assert first != RowFilter.parse("age >= 18 OR country = 'DE'")
    assert str(first) == "age >= 18 AND country = 'DE'"
    assert first.conjuncts == {"age >= 18", "country = 'DE'"}
    nested = RowFilter.parse("(age >= 18 AND (country = 'DE')) AND (alive OR age > 1)")
    assert nested.conjuncts == {"age >= 18", "country = 'DE'", "alive OR age > 1"}


def test_messages_stay_short_and_printable() -> None:
    with pytest.raises(InvalidFilter) as caught:
        RowFilter.parse('"' + "é\u202e" * 400 + "\" = 'x'").check(SCHEMA)
    assert len(caught.value.message) < 200
    assert "\u202e" not in caught.value.message


def test_parser_needs_no_database() -> None:
    code = "import sys, clf_sdk.filters; print('duckdb' in sys.modules, 'pyarrow' in sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert output.split() == ["False", "False"]
