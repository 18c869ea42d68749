"""`clf.testing.cluster`, as users' own tests have it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, InvalidInput
from clf_sdk.testing import Cluster

FRAME = pd.DataFrame({"id": range(40), "x": [n % 7 for n in range(40)]})
OTHER = pd.DataFrame({"id": range(40), "y": [2.0 * (n % 7) + (n % 3) for n in range(40)]})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with clf.testing.cluster(owners=2, directory=tmp_path_factory.mktemp("cluster")) as made:
        policy = made.policy(["glm"], approval="automatic")
        clf.share(FRAME, name="left", policy=policy, to=made.owners["owner-1"])
        clf.share(OTHER, name="right", policy=policy, to=made.owners["owner-2"])
        yield made


def _job(cluster: Cluster, name: str = "a-job") -> clf.Job:
    return clf.Job(
        name=name,
        inputs=[
            cluster.analyst["owner-1"].table("left"),
            cluster.analyst["owner-2"].table("right"),
        ],
        on="id",
        operation=clf.GLM(outcome="y", family="gaussian"),
        enclave=cluster.enclave,
        analyst=cluster.identity,
    )


def _fetch(cluster: Cluster, run: clf.Run) -> clf.Result:
    connections = list(cluster.analyst.values())
    return clf.fetch(run, connections=connections, identity=cluster.identity)


def test_whole_analysis_works_and_a_run_is_found_again_by_its_id(cluster: Cluster) -> None:
    job = _job(cluster)
    submission = clf.submit(
        job, identity=cluster.identity, connections=list(cluster.analyst.values())
    )
    assert submission.approved
    run = clf.run(job, insecure_simulation=cluster.simulation, progress=False)
    again = clf.Run.find(run.id, insecure_simulation=cluster.simulation)
    assert again.wait(timeout_seconds=5, progress=False).stages == run.stages
    assert again.job == job
    assert "INSECURE SIMULATION" in repr(again)
    result = _fetch(cluster, again)
    assert list(result.to_pandas()["term"]) == ["const", "x"]


def test_run_of_another_machine_is_not_found() -> None:
    with pytest.raises(clf.ClfError, match="no run"):
        clf.Run.find("0" * 32)


def test_everything_works_in_a_running_event_loop(cluster: Cluster) -> None:
    job = _job(cluster, "in-a-loop")

    async def cell() -> clf.Result:
        connections = list(cluster.analyst.values())
        clf.submit(job, identity=cluster.identity, connections=connections)
        run = clf.run(job, insecure_simulation=cluster.simulation, progress=False)
        return _fetch(cluster, run)

    assert asyncio.run(cell()).receipt.job == job.document


def test_owners_that_run_already_are_joined_and_not_stopped(cluster: Cluster) -> None:
    names = list(cluster.owners)
    with clf.testing.cluster(names, directory=cluster.directory) as joined:
        assert set(joined.pids.values()) == {None}
        assert joined.owners["owner-1"].server == cluster.owners["owner-1"].server
        assert joined.identity.id == cluster.identity.id
        assert joined.analyst["owner-1"].table("left").rows == len(FRAME)
    assert cluster.analyst["owner-1"].table("left").rows == len(FRAME)


def test_another_analyst_is_not_taken_for_the_one_that_is_known(cluster: Cluster) -> None:
    assert cluster.analyst["owner-1"]
    with (
        clf.testing.cluster(
            list(cluster.owners), directory=cluster.directory, analyst=clf.Identity.create()
        ) as joined,
        pytest.raises(ConfigurationError, match="knows another analyst"),
    ):
        _ = joined.analyst["owner-1"]


def test_simulation_can_not_be_overlooked(cluster: Cluster) -> None:
    assert "INSECURE SIMULATION" in repr(cluster)
    assert "INSECURE SIMULATION" in cluster._repr_html_()
    assert cluster.owners["owner-1"].profile.token not in cluster._repr_html_() + repr(cluster)


@pytest.mark.parametrize("owners", [0, 17, [], ["a", "a"], ["simulation"], ["../a"]])
def test_owners_that_can_not_be_are_refused(owners: int | list[str], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        clf.testing.cluster(owners, directory=tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_servers_and_files_go_with_the_process_that_forgot_to_stop_them() -> None:
    code = (
        "import clf_sdk as clf; made = clf.testing.cluster(owners=1);"
        "print(made.directory, made.pids['owner-1'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    folder, pid = done.stdout.split()
    assert not Path(folder).exists()
    with pytest.raises((ProcessLookupError, psutil.NoSuchProcess)):
        os.kill(int(pid), signal.SIG_DFL)
