"""The README's code is run: its Python by an owner and an analyst, its commands by an operator."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import clf_sdk as clf
from clf_sdk import _connection
from clf_sdk.testing import Cluster

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
OWNER, ANALYST = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
PEOPLE = 60
pytestmark = pytest.mark.timeout(600)


class Person:
    """Somebody at a notebook of their own, with connections of their own."""

    def __init__(self, patch: pytest.MonkeyPatch, code: str, **names: Any) -> None:
        self._patch = patch
        self._made: weakref.WeakSet[clf.Connection] = weakref.WeakSet()
        self._left = ast.parse(code).body
        self.names = names

    def run(self, until: str | None = None) -> None:
        """Run statement after statement, up to one that mentions something, or to the end."""
        with self._patch.context() as patch:
            patch.setattr(_connection, "_made", self._made)
            while self._left:
                statement = self._left.pop(0)
                exec(compile(ast.Module([statement], []), "README.md", "exec"), self.names)  # noqa: S102 - it is our own
                if until is not None and until in ast.unparse(statement):
                    return
        assert until is None, f"the README does not say {until}"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """The clinic whose owner reads the README, and a hospital that approves by policy."""
    with clf.testing.cluster(["clinic", "hospital"], analyst=clf.Identity.mine()) as made:
        for name in made.analyst:
            (tmp_path / f"{name}.profile.json").symlink_to(made.analyst_profile(name))
        (tmp_path / "owner.profile.json").symlink_to(made.owner_profile("clinic"))
        visits = pa.table({"person_id": range(PEOPLE), "mdvis": [n % 7 for n in range(PEOPLE)]})
        policy = made.policy(["glm"], approval="automatic")
        clf.share(visits, name="visits", policy=policy, to=made.owners["hospital"], progress=False)
        yield made


def _measured(code: str, cluster: Cluster) -> str:
    """Name the program of this installation, and the simulation, where the README leaves a gap."""
    named, count = re.subn(
        r'"…[^"]* program [^"]*"|"…[^"]*reviewed program…"', repr(cluster.enclave.mrenclave), code
    )
    assert count == 1
    return named.replace(
        "clf.run(job)", f"clf.run(job, insecure_simulation={str(cluster.simulation)!r})"
    )


def test_owner_s_and_analyst_s_code_is_run(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    frame = pa.table(
        {
            "person_id": range(PEOPLE),
            "disea": [float(n % 11) for n in range(PEOPLE)],
            "physlm": [float(n % 3) for n in range(PEOPLE)],
            "age": [18 + n for n in range(PEOPLE)],
        }
    )
    owner = Person(monkeypatch, _measured(OWNER, cluster), frame=frame)
    analyst = Person(monkeypatch, _measured(ANALYST, cluster))
    owner.run(until="clf.share")
    analyst.run(until="clf.submit")
    owner.run(until="clf.requests")
    assert "doctor-visits" in capsys.readouterr().out
    analyst.run(until="clf.run")
    owner.run()
    assert "no number speaks of fewer than" in capsys.readouterr().out
    analyst.run()
    assert isinstance(analyst.names["result"], clf.Result)
    receipt = clf.verify("receipt.json", anchor=cluster.anchor, policy=cluster.enclave)
    assert receipt.run == analyst.names["run"].id


def _commands(begin: str, end: str) -> list[list[str]]:
    """Return the commands of a part of the page, without what is said beside them."""
    part = README.partition(begin)[2].partition(end)[0]
    return [
        line.partition(" # ")[0].split() for line in part.split("\n") if line.startswith("    ")
    ]


def test_operator_s_commands_are_run(tmp_path: Path) -> None:
    folder = tmp_path / "clinic"
    done = []
    for words in _commands("**Operator**", "**Data owner**"):
        assert words[0] == "clf"
        if words[1:3] == ["server", "run"]:
            continue  # it serves until it is stopped; what stands here needs it not
        given = [word.replace("/srv/clinic", str(folder)) for word in words[1:]]
        command = [str(Path(sys.executable).parent / "clf"), *given]
        done.append(
            subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        )
    assert len(done) == 4
    assert (folder / "owner.profile.json").exists()
    assert clf.Identity.mine().public.fingerprint in done[2].stdout + done[2].stderr
    assert (folder / "ada.profile.json").exists()


def test_targets_of_make_exist() -> None:
    targets = re.findall(r"^    make (\S+)", README, re.MULTILINE)
    assert len(targets) == 4
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)  # noqa: S607 - whichever make there is
