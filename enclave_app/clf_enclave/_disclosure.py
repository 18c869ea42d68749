"""What may come out: the tightest of all owners' rules, enforced inside (docs/protocol.md §8.1)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NoReturn, TypeAlias, get_args

import pyarrow as pa

from clf_enclave._data import AlignedData
from clf_enclave._populations import Population, Spoken, population
from clf_sdk.errors import PolicyRefused
from clf_sdk.keys import derive_person_salt
from clf_sdk.operations import output_recipients, parameters_of
from clf_sdk.operations._contributions import Contribution
from clf_sdk.protocol import (
    DisclosureReport,
    Dominance,
    GrantedInput,
    JobDocument,
    NoisedInput,
    NoisedStatistic,
    NoiseReport,
    OutputReport,
    Rules,
    Suppressed,
)

Rule: TypeAlias = Literal[
    "smallest_group",
    "complementary",
    "dominance",
    "round_counts",
    "privacy_budget",
    "output_rows",
    "output_bytes",
]
_ORDER: tuple[Rule, ...] = get_args(Rule)


class Disclosure:
    """The rules of every session that a run has opened. A later session can only tighten them."""

    def __init__(self) -> None:
        self._demanded: list[tuple[str, Rules]] = []
        self._entities: dict[str, GrantedInput] = {}
        self._salts: dict[str, bytes] = {}
        self._spoken: list[Spoken] | None = None
        self.populations: dict[str, Population] = {}
        """Of whom the outputs speak, by input, for owners who remember that."""
        self._checked: defaultdict[str, set[Rule]] = defaultdict(set)
        self._suppressed: defaultdict[str, dict[Rule, tuple[int, set[str]]]] = defaultdict(dict)
        self._noise: NoiseReport | None = None
        self._noised: defaultdict[str, list[NoisedStatistic]] = defaultdict(list)

    def add(
        self,
        server: str,
        rules: Rules,
        inputs: Iterable[GrantedInput] = (),
        *,
        memory: bytes | None = None,
    ) -> None:
        """Take in the rules of a session that was just opened with a server.

        Parameters
        ----------
        server
            Server id.
        rules
            What it demands.
        inputs
            What it grants.
        memory
            Its memory secret, if it compares results with earlier ones.
        """
        self._demanded.append((server, rules))
        for granted in inputs:
            if granted.entity is not None:
                self._entities[granted.name] = granted
            if memory is not None:
                self._salts[granted.name] = derive_person_salt(memory, granted.table)

    @property
    def rules(self) -> Rules:
        """The tightest of all."""
        return Rules.tightest(rules for _, rules in self._demanded)

    @property
    def reviewers(self) -> list[str]:
        """Server ids of the owners without whose release nobody may open a result."""
        return sorted({server for server, rules in self._demanded if rules.release == "review"})

    @property
    def entities(self) -> dict[str, str]:
        """By input, the column whose values are its persons, where its owner names one."""
        return {name: str(granted.entity) for name, granted in self._entities.items()}

    @property
    def hidden_entities(self) -> set[str]:
        """Inputs whose entity column the job did not ask for: it counts, and is no column."""
        return {
            name
            for name, granted in self._entities.items()
            if granted.entity not in granted.columns
        }

    # -- results with noise --------------------------------------------------------------------

    def begin_noise(
        self, contributions: Mapping[str, Contribution], *, rows: int, library: str, mechanism: str
    ) -> None:
        """Note that all results of the run carry noise: no rule about groups applies any more.

        Such a rule would end the run, or hide a cell, because of one person, and so tell of it.

        Parameters
        ----------
        contributions
            By input, what one person can change.
        rows
            Most rows of a person that each table was cut to.
        library, mechanism
            What makes the noise.
        """
        self._noise = NoiseReport(
            library=library,
            mechanism=mechanism,
            max_rows_per_person=rows,
            inputs=[
                NoisedInput(
                    input=name,
                    person=found.person.kind,
                    columns=list(found.person.columns),
                    changed_rows=found.rows,
                )
                for name, found in contributions.items()
            ],
            statistics=[],
        )

    @property
    def noised(self) -> bool:
        """Whether all results of the run carry noise."""
        return self._noise is not None

    @property
    def changed_rows(self) -> int:
        """Most rows of the aligned table that one person of any owner can change."""
        if self._noise is None:
            raise RuntimeError("nobody has said what one person can change")
        return max(each.changed_rows for each in self._noise.inputs)

    def note_noise(self, output: str, statistic: NoisedStatistic) -> None:
        """Note what noise a statistic of an output carries."""
        self._noised[output].append(statistic)

    # -- whom results speak of -----------------------------------------------------------------

    @property
    def remembered(self) -> set[str]:
        """Inputs of which each row must be known again, because their people are not named."""
        if self.rules.smallest_group == 1 or self.noised:
            return set()
        return set(self._salts) - set(self._entities)

    def begin_operation(self) -> None:
        """Note from now on of whom results speak."""
        self._spoken = []

    def note_groups(self, data: AlignedData, keys: Sequence[str], shown: pa.Table) -> None:
        """Note that a result speaks of groups of rows.

        Parameters
        ----------
        data
            The rows.
        keys
            Columns in the database that make the groups.
        shown
            Values of the keys, one row for each group that is shown.
        """
        if self._spoken is not None and keys and shown.num_rows:
            self._spoken.append(Spoken(data, tuple(keys), shown))

    def end_operation(self, data: AlignedData) -> None:
        """Tell the people of what was noted apart, while the rows are there.

        Parameters
        ----------
        data
            What the results speak of, where the operation did not say.
        """
        spoken, self._spoken = self._spoken or [Spoken(data)], None
        if self.rules.smallest_group == 1 or self.noised:
            return
        self.populations = {
            name: population(spoken, name, salt=salt, entity=name in self._entities)
            for name, salt in self._salts.items()
        }

    def check_outputs(self, job: JobDocument, row_level: Collection[str]) -> None:
        """Check that outputs with rows of single people go only where all owners allow it.

        Parameters
        ----------
        job
            The job, with its recipients.
        row_level
            Names of the operation's outputs that hold rows of single people.

        Raises
        ------
        PolicyRefused
            A recipient may not have them.
        """
        allowed, parameters = set(self.rules.row_level), parameters_of(job)
        for output in sorted(row_level):
            recipients = output_recipients(job, parameters, output)
            if all(recipient.digest in allowed for recipient in recipients):
                continue
            raise PolicyRefused(
                f"output {output!r} holds rows of single people, which not every owner "
                "gives out to every recipient of it",
                rule="row_level",
                hint="name only recipients that all owners allow, or choose another operation",
            )

    def report(self, outputs: Iterable[str], row_level: Collection[str]) -> DisclosureReport:
        """Say what was enforced, for the receipt.

        Parameters
        ----------
        outputs
            Names of the outputs.
        row_level
            Names of the operation's outputs that hold rows of single people.
        """
        names = list(outputs)
        return DisclosureReport(
            rules=self.rules,
            row_level=[name for name in names if name in row_level],
            outputs=[self._report(name) for name in names],
        )

    def _report(self, output: str) -> OutputReport:
        rules = self.rules
        of_groups = "privacy_budget" if self.noised else "smallest_group"
        checked = {of_groups, *self._checked[output]}
        if rules.round_counts == 1:
            checked.discard("round_counts")
        if not rules.dominance:
            checked.discard("dominance")
        if rules.output_rows is not None:
            checked.add("output_rows")
        if rules.output_bytes is not None:
            checked.add("output_bytes")
        suppressed = self._suppressed[output]
        return OutputReport(
            output=output,
            checked=[rule for rule in _ORDER if rule in checked],
            suppressed=[
                Suppressed(
                    rule=rule, cells=suppressed[rule][0], servers=sorted(suppressed[rule][1])
                )
                for rule in _ORDER
                if rule in suppressed
            ],
            noise=None
            if self._noise is None
            else self._noise.model_copy(update={"statistics": self._noised[output]}),
        )

    # -- what the report says ------------------------------------------------------------------

    def note_checked(self, output: str, *rules: Rule) -> None:
        """Note that an output was held against some rules."""
        self._checked[output].update(rules)

    def note_small(self, output: str, people: Iterable[int], *, complementary: int = 0) -> None:
        """Note that cells of an output are not shown because of the smallest group.

        Parameters
        ----------
        output
            Its name.
        people
            How many people each of the small cells speaks of.
        complementary
            How many more cells are hidden, that would give these away.
        """
        self.note_checked(output, "smallest_group", "complementary")
        counts = list(people)
        if not counts:
            return
        servers = {server for server, rules in self._demanded if min(counts) < rules.smallest_group}
        self._note(output, "smallest_group", len(counts), servers)
        if complementary:
            self._note(output, "complementary", complementary, servers)

    def note_complementary(self, output: str, cells: int) -> None:
        """Note cells that are hidden because they would give away others of the same output."""
        if cells:
            servers = set().union(*(each[1] for each in self._suppressed[output].values()))
            self._note(output, "complementary", cells, servers)

    def note_dominated(self, output: str, rules: Collection[Dominance], cells: int) -> None:
        """Note that sums of an output are not shown because few people make up most of them.

        Parameters
        ----------
        output
            Its name.
        rules
            The rules that were broken.
        cells
            How many sums.
        """
        self.note_checked(output, "dominance")
        if not cells:
            return
        servers = {
            server
            for server, demanded in self._demanded
            if any(rule in demanded.dominance for rule in rules)
        }
        self._note(output, "dominance", cells, servers)

    def _note(self, output: str, rule: Rule, cells: int, servers: set[str]) -> None:
        before, known = self._suppressed[output].get(rule, (0, set()))
        self._suppressed[output][rule] = (before + cells, known | servers)

    # -- rules ---------------------------------------------------------------------------------

    def shown_count(self, count: int) -> int:
        """Return a count as it may be shown: the nearest multiple that the owners ask for."""
        base = self.rules.round_counts
        return (count + base // 2) // base * base

    def check_sizes(self, output: str, *, rows: int, size_bytes: int) -> None:
        """Check that an output is not larger than every owner allows.

        Raises
        ------
        PolicyRefused
            It is; the message names the limit.
        """
        limits: tuple[tuple[Rule, str, int, int | None], ...] = (
            ("output_rows", "rows", rows, self.rules.output_rows),
            ("output_bytes", "bytes", size_bytes, self.rules.output_bytes),
        )
        for rule, what, found, most in limits:
            if most is not None and found > most:
                raise PolicyRefused(
                    f"output {output!r} has more than the {most:,} {what} that the owners allow",
                    rule=rule,
                    hint="ask for less: fewer groups, columns or rows",
                )

    def may_show(self, counts: Iterable[int]) -> bool:
        """Return whether some counts of people may all be shown: each is 0 or a whole group."""
        return all(not count or count >= self.rules.smallest_group for count in counts)

    def check_group(self, data: AlignedData) -> None:
        """Check that a result over some rows would speak of enough people of every owner.

        An input that has no row among them does not count.

        Raises
        ------
        PolicyRefused
            They are fewer than some owner demands; the message does not say how many they are.
        """
        if self.noised:
            return
        if self._spoken is not None:
            self._spoken.append(Spoken(data))
        people = [count for count in data.count_persons().values() if count]
        self.check_counts([data.rows or -1, *people])

    def check_counts(self, counts: Iterable[int]) -> None:
        """Check counts of people that a result speaks of: each is 0, or a whole group.

        Raises
        ------
        PolicyRefused
            One is smaller than some owner demands.
        """
        if not self.may_show(counts):
            raise PolicyRefused(
                "the result would speak of fewer people than the owners allow",
                rule="smallest_group",
                hint="check that the keys of the inputs match; owners set the smallest group",
            )

    def refuse_group(self, why: str) -> NoReturn:
        """End the job because a part of its result would speak of too few people.

        Parameters
        ----------
        why
            What part, without a value or count.
        """
        raise PolicyRefused(
            f"the result would speak of fewer people than the owners allow: {why}",
            rule="smallest_group",
            hint="leave the column out, or merge its rare values in the job's preparation",
        )

    def check_parameters(self, count: int, people: int) -> None:
        """Check that a model has far fewer parameters than people, so that it can't hold them.

        Parameters
        ----------
        count
            Parameters of the model.
        people
            People, or rows, that it is fitted to.

        Raises
        ------
        PolicyRefused
            There are fewer than three people for each parameter, and some owner protects groups.
        """
        if self.rules.smallest_group > 1 and 3 * count > people:
            raise PolicyRefused(
                "the model has more parameters than a third of the people it is fitted to",
                rule="smallest_group",
                hint="leave out predictors; such a model repeats the data it was made from",
            )
