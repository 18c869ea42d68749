"""``clf policy``: look at policies, ask what they would say, and change them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from clf_sdk.policy import Policy

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_PROFILE = click.option("--profile", type=_FILE, required=True, help="Owner's profile file.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def load_policy(path: Path) -> Policy:
    """Read a policy file."""
    from clf_sdk import Policy
    from clf_sdk.protocol import parse_json

    return Policy.from_json(parse_json(path.read_bytes(), what="policy file"))


@click.group()
def policy() -> None:
    """Look at policies, ask what they would say, and change them."""


@policy.command()
@click.argument("source", metavar="FILE|TABLE")
@click.option("--profile", type=_FILE, help="Owner's profile file: show the policy of a TABLE.")
@_JSON
def show(source: str, profile: Path | None, *, as_json: bool) -> None:
    """Show a policy in plain words: that of a FILE, or that of a TABLE on a server."""
    import clf_sdk as clf
    from clf_sdk.errors import PolicyTampered

    if profile is None:
        if not Path(source).is_file():
            raise click.BadParameter(f"there is no file {source}; for a table, add --profile")
        shown = load_policy(Path(source))
    else:
        stored = clf.connect(profile).table(source).description.policy
        if stored is None:
            raise PolicyTampered(
                f"the server has no authentic policy of table {source!r}",
                hint="the profile is not an owner's, or the stored policy was changed on its disk",
            )
        shown = clf.Policy.from_json(stored)
    click.echo(json.dumps(shown.to_json(), indent=2) if as_json else str(shown))


@policy.command()
def schema() -> None:
    """Print the JSON Schema of policy files."""
    from clf_sdk import Policy

    click.echo(json.dumps(Policy.schema(), indent=2))


@policy.command()
@click.argument("policy_file", metavar="POLICY", type=_FILE)
@click.argument("job", type=_FILE)
@click.option("--table", help="Which of the job's tables the policy is for.")
@click.option(
    "--analyst", metavar="FILE|ID", help="Who asks, by identity file or id; default: the job's."
)
@click.option("--at", "at", type=int, metavar="UNIX", help="Time of the decision; default: now.")
@_JSON
def explain(
    policy_file: Path,
    job: Path,
    table: str | None,
    analyst: str | None,
    at: int | None,
    *,
    as_json: bool,
) -> None:
    """Say rule by rule what a policy says to a job file; exit 1 if it refuses."""
    import clf_sdk as clf
    from clf_sdk.protocol import parse_json

    explained = load_policy(policy_file).explain(
        parse_json(job.read_bytes(), what="job file"),
        table=table,
        analyst=clf.PublicIdentity.load(analyst)
        if analyst is not None and Path(analyst).is_file()
        else analyst,
        now=at,
    )
    click.echo(json.dumps(explained.to_json(), indent=2) if as_json else str(explained))
    if not explained.allowed:
        raise SystemExit(1)


@policy.command()
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
def compare(before: Path, after: Path) -> None:
    """Say rule by rule whether the policy AFTER is tighter or wider than BEFORE."""
    click.echo(load_policy(before).compare(load_policy(after)))


@policy.command(name="set")
@click.argument("table")
@_PROFILE
@click.option("--policy", "policy_file", type=_FILE, required=True, help="Policy, as JSON.")
@click.option("--widen", is_flag=True, help="Let the new policy allow more than the present one.")
def set_policy(table: str, profile: Path, policy_file: Path, *, widen: bool) -> None:
    """Give a TABLE on a server another policy."""
    import clf_sdk as clf

    connection = clf.connect(profile)
    click.echo(connection.set_policy(table, load_policy(policy_file), widen=widen))
