"""Link rows that share no key, by the model of Fellegi and Sunter (docs/protocol.md §3.4).

The model is Splink's: Linacre et al., *Splink: Free software for probabilistic record linkage at
scale* (2022).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from clf_enclave._alignment._keys import kind_of
from clf_enclave._alignment._node import Part
from clf_enclave._data import Column
from clf_enclave._workspace import Workspace, connect, no_values_in_errors
from clf_sdk.errors import InvalidJob
from clf_sdk.protocol import LinkComparison, LinkMember, LinkNode, inputs_of

if TYPE_CHECKING:
    from splink import Linker

_SEED = 1
_MOST_RANDOM_PAIRS = 1_000_000
_RECALL = 0.8
"""Part of all true pairs that the blocking groups are taken to find, where no prior is given."""
_CONVERGENCE = 0.01
"""Largest change of a probability at which EM ends. Where pairs leave no doubt it would go on until
some probability is too small for a double."""
_DATES = ("date", "timestamp")


def _cleaned(column: str, kind: str, comparison: LinkComparison, whose: str) -> str:
    """Return the SQL of a column as it is compared; blanks, case and accents' form don't count."""
    if comparison.method == "date":
        if kind != "text" and not kind.startswith(_DATES):
            raise InvalidJob(f"{whose}: a {kind} can't be compared as a date")
        text = f"regexp_replace({column}::VARCHAR, '\\s', '', 'g')"
        return f"try_strptime({text}, ['%Y-%m-%d'])::DATE" if kind == "text" else f"{column}::DATE"
    if kind not in ("text", "whole number", "date", "boolean"):
        raise InvalidJob(f"{whose}: a {kind} can't be compared by likeness")
    return f"nullif(lower(nfc_normalize(trim({column}::VARCHAR, ' \t\r\n'))), '')"


def _side(
    workspace: Workspace, part: Part, comparisons: Sequence[LinkComparison], names: Sequence[str]
) -> str:
    """Give the rows of a member numbers that follow from their values, and clean what is compared.

    Of equally likely partners the first counts, so the numbers must not follow from the order in
    which the owner keeps its rows.
    """
    types = workspace.types(part.relation)
    made = []
    for number, (comparison, name) in enumerate(zip(comparisons, names, strict=True)):
        if name not in part.columns:
            raise InvalidJob(f"there is no column {name[:80]!r} to compare")
        column = part.columns[name].physical
        whose = f"column {name[:80]!r}"
        made.append(f"{_cleaned(column, kind_of(types[column]), comparison, whose)} AS e{number}")
    order = [f"e{number}" for number in range(len(made))]
    order += [column.physical for column in part.columns.values()]
    return workspace.table(
        f"SELECT *, row_number() OVER (ORDER BY {', '.join(order)}) AS unique_id "  # noqa: S608 - names of ours
        f"FROM (SELECT *, {', '.join(made)} FROM {part.relation})"
    )


def _comparison(column: str, method: str) -> Any:
    import splink.comparison_library as library  # noqa: PLC0415 - only linkage needs Splink

    made: Mapping[str, Callable[[], Any]] = {
        "exact": lambda: library.ExactMatch(column),
        "name": lambda: library.NameComparison(column),
        "text": lambda: library.LevenshteinAtThresholds(column, [1, 2, 4]),
        "date": lambda: library.DateOfBirthComparison(column, input_is_string=False),
        "email": lambda: library.EmailComparison(column),
        "postcode": lambda: library.PostcodeComparison(column),
    }
    return made[method]()


def _train(linker: Linker, node: LinkNode, rules: Sequence[Any]) -> None:
    """Estimate the model: chance agreement from random pairs, the rest by EM in each group."""
    training = linker.training
    if node.prior is None:
        training.estimate_probability_two_random_records_match(list(rules), recall=_RECALL)
    training.estimate_u_using_random_sampling(max_pairs=_MOST_RANDOM_PAIRS, seed=_SEED)
    learned = 0
    for rule in rules:
        try:
            training.estimate_parameters_using_expectation_maximisation(
                rule, record_sample_proportion=1.0
            )
        except ValueError:  # its pairs are too few or too alike; the other groups must do
            continue
        learned += 1
    if not learned:
        raise InvalidJob(
            "the inputs can't be linked: no group of pairs is enough to estimate the model from",
            hint="block on other columns, so that each group finds true pairs and others",
        )


def _likely_pairs(node: LinkNode, left: pa.Table, right: pa.Table) -> pa.Table:
    """Return pairs over the threshold, with their probability."""
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on  # noqa: PLC0415 - see above

    logging.getLogger("splink").setLevel(logging.CRITICAL)
    names = {each.left: f"e{number}" for number, each in enumerate(node.comparisons)}
    for group in node.blocking:
        if unknown := [name for name in group if name not in names]:
            raise InvalidJob(
                f"pairs can't be blocked on {unknown[0][:80]!r}, which is not compared",
                hint="block on columns of the comparisons, by their names in the left member",
            )
    rules: list[Any] = [block_on(*(names[name] for name in group)) for group in node.blocking]
    settings = SettingsCreator(
        link_type="link_only",
        comparisons=[_comparison(names[each.left], each.method) for each in node.comparisons],
        blocking_rules_to_generate_predictions=rules,
        retain_matching_columns=False,
        em_convergence=_CONVERGENCE,
        probability_two_random_records_match=node.prior or 0.0001,
    )
    connection = connect(threads=1)  # one thread: sums of the model in one order
    try:
        with no_values_in_errors():
            api = DuckDBAPI(connection)
            tables = [
                api.register(table, table_name=name) for name, table in (("l", left), ("r", right))
            ]
            linker = Linker(tables, settings, log_level=logging.CRITICAL)
            _train(linker, node, rules)
            found = linker.inference.predict(threshold_match_probability=node.threshold)
            return connection.sql(
                f"SELECT unique_id_l AS l, unique_id_r AS r FROM {found.physical_name} "  # noqa: S608 - Splink's own name
                "ORDER BY match_probability DESC, l, r"
            ).to_arrow_table()
    except InvalidJob:
        raise
    except Exception as error:  # noqa: BLE001 - whatever Splink raises, it may quote values
        raise InvalidJob(
            f"the inputs can't be linked ({type(error).__name__})",
            hint="compare more columns, and block on two groups of them or more",
        ) from None
    finally:
        connection.close()


def one_to_one(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Keep of pairs, the likeliest first, those whose sides are in no pair before."""
    lefts: set[int] = set()
    rights: set[int] = set()
    kept = []
    for left, right in pairs:
        if left not in lefts and right not in rights:
            lefts.add(left)
            rights.add(right)
            kept.append((left, right))
    return kept


def link(workspace: Workspace, node: LinkNode, left: Part, right: Part) -> Part:
    """Link two members.

    Raises
    ------
    InvalidJob
        A column is missing or of a type that can't be compared, or the model can't be estimated.
    """
    columns: dict[str, Column] = {}
    for member, part in ((node.left, left), (node.right, right)):
        _add(columns, member, part)
    sides = [
        _side(workspace, left, node.comparisons, [each.left for each in node.comparisons]),
        _side(workspace, right, node.comparisons, [each.right for each in node.comparisons]),
    ]
    compared = ", ".join(["unique_id", *(f"e{number}" for number in range(len(node.comparisons)))])
    evidence = [workspace.arrow(f"SELECT {compared} FROM {side}") for side in sides]  # noqa: S608 - names of ours
    found = _likely_pairs(node, *evidence)
    kept = one_to_one(zip(found["l"].to_pylist(), found["r"].to_pylist(), strict=True))
    pairs = workspace.register(
        pa.table(
            {
                "l": pa.array([pair[0] for pair in kept], pa.int64()),
                "r": pa.array([pair[1] for pair in kept], pa.int64()),
            }
        )
    )
    carried = [*left.carried, *right.carried]
    physical = ", ".join([*(each.physical for each in columns.values()), *carried])
    view = workspace.view(
        f"SELECT {physical}, l AS row_of_left FROM {pairs} "  # noqa: S608 - names of ours
        f"JOIN {sides[0]} AS a ON a.unique_id = l JOIN {sides[1]} AS b ON b.unique_id = r"
    )
    return Part(view, columns, (*left.persons, *right.persons), order=("row_of_left",))


def _add(columns: dict[str, Column], member: LinkMember, part: Part) -> None:
    for name, column in part.columns.items():
        named = f"{member.prefix}{name}"
        if named in columns:
            raise InvalidJob(
                f"{'+'.join(inputs_of(member.of))!r} has a column {named[:80]!r} that the other "
                "side has, too",
                hint="choose columns so that each name stands once, or give one side a prefix",
            )
        columns[named] = column
