"""Three owners of real data, for notebooks: ready to be asked."""

from __future__ import annotations

from pathlib import Path

from clf_sdk._demo._scenario import COLUMNS, KEY, TABLES, load_people
from clf_sdk._identity import Identity
from clf_sdk._share import share
from clf_sdk.errors import InvalidInput, NotFound
from clf_sdk.testing._cluster import Cluster, cluster

_REVIEWER = "hospital"


def example_cluster(
    *, directory: str | Path | None = None, people: int = 20_190, analyst: Identity | None = None
) -> Cluster:
    """Start an insurer, a clinic and a hospital that have shared their parts of one experiment.

    INSECURE: a simulated TEE protects nothing. The data is the RAND Health Insurance Experiment,
    public domain. Insurer and clinic approve by policy; the hospital asks its owner, and reviews
    results.

    Parameters
    ----------
    directory
        Where to keep them; see `cluster`. Tables that are shared there already stay as they are.
    people
        How many people of the experiment take part.
    analyst
        The analyst's identity; by default this user's own.

    Raises
    ------
    ConfigurationError
        statsmodels, which ships the data, is not installed.
    InvalidInput
        The experiment does not have so many people.
    """
    frame = load_people()
    if not 1 <= people <= len(frame):
        raise InvalidInput(f"the experiment has {len(frame):,} people")
    asking = Identity.mine() if analyst is None else analyst
    made = cluster(list(COLUMNS), directory=directory, analyst=asking)
    try:
        for owner, columns in COLUMNS.items():
            _share_once(made, owner, frame[[KEY, *columns]].head(people))
    except BaseException:
        made.stop()
        raise
    return made


def _share_once(made: Cluster, owner: str, frame: object) -> None:
    try:
        made.owners[owner].table(TABLES[owner])
    except NotFound:
        reviewed = owner == _REVIEWER
        policy = made.policy(
            ["glm"],
            runs=10,
            approval="ask" if reviewed else "automatic",
            release="review" if reviewed else "at_once",
        )
        share(frame, name=TABLES[owner], policy=policy, to=made.owners[owner], progress=False)
