"""What may come out: the tightest of all owners' rules, enforced inside (docs/protocol.md §8.1)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NoReturn

from clf_enclave._data import AlignedData
from clf_sdk.errors import PolicyRefused
from clf_sdk.protocol import DisclosureReport, JobDocument, Rules


class Disclosure:
    """The rules of every session that a run has opened. A later session can only tighten them."""

    def __init__(self) -> None:
        self._demanded: list[tuple[str, Rules]] = []

    def add(self, server: str, rules: Rules) -> None:
        """Take in the rules of a session that was just opened with a server."""
        self._demanded.append((server, rules))

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
        return {}

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
        if not row_level:
            return
        allowed = set(self.rules.row_level)
        if any(recipient.digest not in allowed for recipient in job.recipients):
            raise PolicyRefused(
                f"output {min(row_level)!r} holds rows of single people, which not every owner "
                "gives out to every recipient of the job",
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
        return DisclosureReport(
            rules=self.rules, row_level=[name for name in outputs if name in row_level]
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
