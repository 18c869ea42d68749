"""The views, driven by their widgets' Python side, against running servers; and as text."""

from __future__ import annotations

import ast
import datetime as dt
import json
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import pandas as pd
import pytest

import clf_sdk as clf
from clf_sdk.errors import ConfigurationError, InvalidJob, NotFound, ReleasePending
from clf_sdk.notebook import Inbox, Monitor
from clf_sdk.testing import Cluster

SCRIPT = "<script>alert(1)</script>"


def _html(widget: Any) -> str:
    """Return all HTML that a widget shows."""
    values = [widget.value] if isinstance(widget, ipywidgets.HTML) else []
    return "\n".join([*values, *(_html(child) for child in getattr(widget, "children", ()))])


def _job(cluster: Cluster, name: str, **changes: Any) -> clf.Job:
    options: dict[str, Any] = {
        "name": name,
        "purpose": f"{SCRIPT}\x1b[2J\u202e how often do people come?",
        "inputs": {
            "clinic": cluster.analyst["clinic"].table("health")[["id", "age"]],
            "insurer": cluster.analyst["insurer"].table("visits"),
        },
        "on": "id",
        "operation": clf.GLM(outcome="visits", family="gaussian"),
        "enclave": cluster.enclave,
        "analyst": cluster.identity,
    }
    return clf.Job(**(options | changes))


@pytest.fixture
def submitted(cluster: Cluster, analyst: list[clf.Connection]) -> Callable[..., clf.Job]:
    def submit(name: str, **changes: Any) -> clf.Job:
        job = _job(cluster, name, **changes)
        clf.submit(job, identity=cluster.identity, connections=analyst)
        return job

    return submit


def _inbox(cluster: Cluster, job: clf.Job) -> Inbox:
    inbox = clf.inbox(cluster.owners["clinic"])
    assert inbox.widget
    inbox.chosen.value = job.digest
    return inbox


def test_inbox_shows_who_asks_what_every_rule_says_and_approves(
    cluster: Cluster, submitted: Callable[..., clf.Job]
) -> None:
    job = submitted("approved-by-click")
    inbox = _inbox(cluster, job)
    shown = _html(inbox.widget)
    for expected in ("how often do people come?", "INSECURE SIMULATION", "smallest_group"):
        assert expected in shown
        assert expected in inbox.text()
    assert "<script" not in shown
    assert "\x1b" not in shown + inbox.text()
    inbox.runs.value = 2
    inbox.approve_button.click()
    assert "is approved now" in inbox.message.value
    request = clf.requests(cluster.owners["clinic"])[job.digest]
    assert (request.state, request.status.runs) == ("approved", 2)
    assert inbox.chosen.value != job.digest


def test_inbox_shows_what_differs_from_the_last_job(
    cluster: Cluster, submitted: Callable[..., clf.Job]
) -> None:
    submitted("twice")
    later = submitted("twice", operation=clf.GLM(outcome="visits", family="poisson"))
    inbox = _inbox(cluster, later)
    assert "gaussian&quot; → &quot;poisson" in _html(inbox.widget)
    assert 'operation.parameters.family: "gaussian" → "poisson"' in inbox.text()


def test_inbox_refuses_with_a_reason_only_and_revokes(
    cluster: Cluster, submitted: Callable[..., clf.Job]
) -> None:
    job = submitted("refused-by-click")
    inbox = _inbox(cluster, job)
    assert inbox.revoke_button.disabled
    inbox.refuse_button.click()
    assert "InvalidInput: give a reason" in inbox.message.value
    inbox.reason.value = f"not these columns {SCRIPT}"
    inbox.refuse_button.click()
    assert "is refused now" in inbox.message.value
    inbox.everything.value = True
    inbox.chosen.value = job.digest
    assert f"not these columns {SCRIPT}" not in _html(inbox.widget)
    assert "not these columns" in _html(inbox.widget)
    assert inbox.approve_button.disabled
    assert inbox.refuse_button.disabled


def test_inbox_shows_the_server_s_refusal_instead_of_failing(
    cluster: Cluster, submitted: Callable[..., clf.Job]
) -> None:
    job = submitted("decided-elsewhere")
    inbox = _inbox(cluster, job)
    clf.requests(cluster.owners["clinic"])[job.digest].refuse("decided by a colleague")
    inbox.approve_button.click()
    assert "Conflict" in inbox.message.value
    assert "Request:" in inbox.message.value


def test_inbox_writes_a_question_to_send(
    cluster: Cluster, submitted: Callable[..., clf.Job]
) -> None:
    job = submitted("asked-about")
    inbox = _inbox(cluster, job)
    inbox.ask_button.click()
    assert "the question is empty" in inbox.message.value
    inbox.reason.value = "Why all ages?"
    inbox.ask_button.click()
    assert job.digest in inbox.message.value
    assert "Why all ages?" in inbox.message.value


def test_empty_inbox_says_so(cluster: Cluster) -> None:
    inbox = clf.inbox(cluster.owners["insurer"])
    assert "nothing waits" in inbox.text()
    assert "nothing waits" in _html(inbox.widget)
    inbox.approve_button.click()
    assert "no job is chosen" in inbox.message.value


@pytest.fixture(scope="module")
def delivered(cluster: Cluster) -> clf.Run:
    job = _job(cluster, "delivered")
    connections = list(cluster.analyst.values())
    clf.submit(job, identity=cluster.identity, connections=connections)
    clf.requests(cluster.owners["clinic"])[job.digest].approve()
    return clf.run(job, insecure_simulation=cluster.simulation, progress=False)


@pytest.fixture
def monitors() -> Iterator[list[Monitor]]:
    made: list[Monitor] = []
    yield made
    for each in made:
        each.close()


def test_monitor_shows_every_stage_of_every_owner_also_by_the_run_s_id(
    cluster: Cluster,
    delivered: clf.Run,
    analyst: list[clf.Connection],
    monitors: list[Monitor],
) -> None:
    by_id = clf.monitor(delivered.id, connections=analyst, insecure_simulation=cluster.simulation)
    for monitor in (clf.monitor(delivered, connections=analyst), by_id):
        monitors.append(monitor)
        assert monitor.state == "delivered"
        for shown in (monitor.text(), _html(monitor.widget)):
            for expected in (
                "attested, keys granted",
                "MB/s",
                "aligned in",
                "computed in",
                "waits for this owner",
                "INSECURE SIMULATION",
            ):
                assert expected in shown
        assert monitor.bar.value == monitor.bar.max
        assert "delivered" in repr(monitor)


def test_monitor_follows_a_run_that_goes_on(
    cluster: Cluster, analyst: list[clf.Connection], monitors: list[Monitor]
) -> None:
    job = _job(cluster, "followed")
    clf.submit(job, identity=cluster.identity, connections=analyst)
    clf.requests(cluster.owners["clinic"])[job.digest].approve()
    run = clf.run(job, insecure_simulation=cluster.simulation, wait=False)
    monitor = clf.monitor(run, connections=analyst)
    monitors.append(monitor)
    assert monitor.widget
    assert monitor._thread is not None
    monitor._thread.join(90)
    assert monitor.bar.bar_style == "success"
    assert "waits for this owner" in monitor.details.value


def test_review_releases_what_fetch_waits_for(
    cluster: Cluster, delivered: clf.Run, analyst: list[clf.Connection]
) -> None:
    with pytest.raises(ReleasePending, match=r"clinic \(coefficients, fit\)"):
        clf.fetch(delivered, connections=analyst, identity=cluster.identity)
    with pytest.raises(clf.ClfError, match="still waiting for the release by: clinic"):
        clf.fetch(
            delivered,
            connections=analyst,
            identity=cluster.identity,
            wait=True,
            timeout_seconds=0.1,
            progress=False,
        )
    review = clf.release_review(cluster.owners["clinic"])
    shown = _html(review.widget)
    assert "no number speaks of fewer than" in shown
    assert "no number speaks of fewer than" in review.text()
    review.chosen.value = f"{delivered.id}/fit"
    review.refuse_button.click()
    assert "give a reason" in review.message.value
    review.release_button.click()
    assert "fit is released now" in review.message.value
    review.chosen.value = f"{delivered.id}/coefficients"
    review.all_button.click()
    assert "released: coefficients" in review.message.value
    result = clf.fetch(
        delivered, connections=analyst, identity=cluster.identity, wait=True, progress=False
    )
    assert list(result.to_pandas()["term"]) == ["const", "age"]
    assert "95 % interval" in result._repr_html_()


def test_catalogue_has_schemas_and_code_that_names_a_table(
    analyst: list[clf.Connection],
) -> None:
    catalogue = clf.catalogue(*analyst)
    assert list(catalogue.to_pandas()["table"]) == ["health", "visits"]
    assert catalogue["clinic", "health"].rows == 60
    with pytest.raises(NotFound, match="no table") as caught:
        _ = catalogue["clinic", "visits"]
    assert "clinic/health" in str(caught.value)
    code = catalogue.code(("clinic", "health"))
    ast.parse(code)
    assert ".table('health')" in code
    shown = _html(catalogue.widget)
    assert "<script" not in shown
    assert "int64" in shown
    assert "age: int64" in catalogue.text()
    assert "script" not in catalogue.text()  # the policy keeps this column back
    catalogue.chosen.value = ("insurer", "visits")
    assert "visits" in catalogue.snippet.value


def test_job_is_built_by_clicks_and_its_code_builds_the_same(
    cluster: Cluster, analyst: list[clf.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    builder = clf.job_builder(*analyst, enclave=cluster.enclave, analyst=cluster.identity)
    assert builder.widget
    builder.build_button.click()
    assert "no table is chosen" in builder.message.value
    builder.tables.value = [("clinic", "health"), ("insurer", "visits")]
    assert list(builder.on.options) == ["id"]
    builder.on.value = ["id"]
    builder.operation.value = "glm"
    assert "age" in builder.parameters["outcome"].options
    assert "id" not in builder.parameters["outcome"].options
    builder.parameters["outcome"].value = "visits"
    builder.parameters["family"].value = "poisson"
    builder.parameters["predictors"].value = ["age"]
    builder.name.value, builder.purpose.value = "clicked", "to 'see'\nwhat"
    builder.build_button.click()
    assert builder.job is not None, builder.message.value
    assert "<script" not in _html(builder.widget)
    made: list[clf.Job] = []
    profiles = {f"{name}.profile.json": each for name, each in cluster.analyst.items()}
    monkeypatch.setattr(clf, "connect", profiles.__getitem__)
    monkeypatch.setattr(clf, "submit", made.append)
    monkeypatch.setattr(clf.Identity, "mine", lambda: cluster.identity)
    exec(builder.code, {})  # noqa: S102 - the code that users copy
    assert [job.digest for job in made] == [builder.job.digest]


def test_job_that_makes_no_sense_is_explained(
    cluster: Cluster, analyst: list[clf.Connection]
) -> None:
    builder = clf.job_builder(*analyst, enclave=cluster.enclave, analyst=cluster.identity)
    options: dict[str, Any] = {"name": "a", "tables": [("clinic", "health")], "on": "id"}
    with pytest.raises(InvalidJob, match="no operation 'magic'"):
        builder.build(**options, operation="magic", parameters={})
    with pytest.raises(InvalidJob, match="glm: "):
        builder.build(**options, operation="glm", parameters={"outcom": "x"})


FRAME = pd.DataFrame(
    {
        "patient_id": range(30),
        "age": [n % 7 for n in range(30)],
        "diagnosis": ["a", "b", "c"] * 10,
        "code": [f"c{n}" for n in range(30)],
        "cost": [0.5] * 30,
        SCRIPT: 1,
    }
)
PROGRAM = clf.EnclavePolicy(mrenclave="ab" * 32)


def test_editor_begins_with_columns_that_do_not_look_like_people() -> None:
    editor = clf.policy_editor(FRAME, enclave=PROGRAM)
    levels = {name: hint.level for name, hint in editor.hints.items()}
    assert levels == {
        "patient_id": "identifies",
        "age": "may identify",
        "diagnosis": "sensitive",
        "code": "identifies",
        "cost": "no hint",
        SCRIPT: "no hint",
    }
    assert editor.policy.columns == frozenset({"age", "diagnosis", "cost", SCRIPT})
    assert "patient_id" in editor.text()
    assert "stays" in editor.text()


def test_editor_makes_the_policy_that_its_controls_say() -> None:
    editor = clf.policy_editor(FRAME, enclave=PROGRAM)
    assert "<script" not in _html(editor.widget)
    editor.columns["patient_id"].value = True
    editor.columns[SCRIPT].value = False
    editor.smallest_group.value = 25
    editor.runs.value = 4
    editor.expires.value = dt.date(2035, 6, 30)
    editor.release.value = "review"
    editor.rows.value = "age >= 3"
    policy = editor.policy
    assert policy == clf.Policy(
        enclave=PROGRAM,
        operations=["glm"],
        columns=["patient_id", "age", "diagnosis", "cost"],
        rows="age >= 3",
        runs=4,
        expires=dt.datetime(2035, 7, 1, tzinfo=dt.UTC),
        smallest_group=25,
        release="review",
    )
    assert json.dumps(policy.to_json()["rows"])[1:-1] in _html(editor.document).replace("&gt;", ">")


def test_editor_shows_what_is_wrong_and_gives_no_policy_meanwhile() -> None:
    editor = clf.policy_editor(FRAME, enclave=PROGRAM)
    assert editor.widget
    editor.rows.value = "nosuch > 3"
    assert "InvalidFilter" in editor.message.value
    with pytest.raises(clf.ClfError):
        _ = editor.policy
    editor.rows.value = ""
    assert editor.message.value == ""
    assert editor.policy.rows is None


def test_editor_needs_a_program() -> None:
    with pytest.raises(ConfigurationError, match="must pin a program"):
        clf.policy_editor(FRAME)


def test_audit_view_filters_searches_and_verifies(
    cluster: Cluster, submitted: Callable[..., clf.Job]
) -> None:
    job = submitted("audited")
    view = clf.audit_view(cluster.owners["clinic"])
    assert job.digest in view.text()
    assert view.widget
    view.event.value = "job.submitted"
    view.search.value = job.digest
    assert "job.submitted" in view.listed.value
    assert "table.shared" not in view.listed.value
    assert "INSECURE SIMULATION" in view.listed.value
    view.verify_button.click()
    assert "lead to the root that the server signed" in view.message.value


def _views(cluster: Cluster, analyst: list[clf.Connection]) -> list[Any]:
    owner = cluster.owners["clinic"]
    return [
        clf.inbox(owner),
        clf.release_review(owner),
        clf.catalogue(*analyst),
        clf.job_builder(*analyst, enclave=cluster.enclave, analyst=cluster.identity),
        clf.policy_editor(FRAME, enclave=PROGRAM),
        clf.audit_view(owner),
    ]


def test_every_view_is_a_widget_and_the_same_as_text_and_static_html(
    cluster: Cluster, analyst: list[clf.Connection]
) -> None:
    for view in _views(cluster, analyst):
        bundle = view._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert bundle["text/plain"] == view.text() == str(view)
        assert "<script" not in bundle["text/html"]
        assert "\n" not in repr(view)
        secrets = [each.profile.token for each in (*analyst, cluster.owners["clinic"])]
        for text in (bundle["text/html"], bundle["text/plain"], repr(view), _html(view.widget)):
            assert [secret for secret in secrets if secret in text] == []


def test_views_are_text_where_there_are_no_widgets(
    cluster: Cluster, analyst: list[clf.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clf_sdk.notebook._view._has_widgets", lambda: False)
    for view in _views(cluster, analyst):
        assert set(view._repr_mimebundle_()) == {"text/plain", "text/html"}
        with pytest.raises(ConfigurationError, match="ipywidgets"):
            _ = view.widget
