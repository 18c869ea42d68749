# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your own Python
#
# **Question: how do I compute what no operation computes, and why would owners agree to it?**
#
# How unequally are doctor visits spread, among people in poor health and among others? A *Gini
# coefficient* tells: 0 when everybody goes equally often, near 1 when one person makes all visits. None
# of the operations computes it, so the job brings a function. You play the analyst and both owners.

# %%
from typing import Any

import pyarrow as pa

import clf_sdk as clf
from clf_sdk._demo._scenario import load_people

cluster = clf.testing.cluster(["clinic", "hospital"])
people = load_people().head(3000)
parts = {
    "clinic": people[["person_id", "hlthp"]].assign(hlthp=people["hlthp"] > 0),
    "hospital": people[["person_id", "mdvis"]],
}
cluster

# %% [markdown]
# ## The owners' rules
#
# Nothing can tell what a function returns, so the rule about small groups can't be applied to it. Its
# outputs count as rows of single people: they go only to those whom *every* owner names in
# `row_level`. And `python` runs only where a policy names it; no policy approves it by itself.

# %%
policy = cluster.policy(["python"], row_level=[cluster.identity.id], release="review")
for owner, table in parts.items():
    clf.share(table, name="people", policy=policy, to=cluster.owners[owner], progress=False)
policy

# %% [markdown]
# ## The function
#
# It is called with the joined table, as Arrow, and with arguments. It returns a table, or JSON values, for
# each output. Imports stand inside, because the source of this one function is all that travels.


# %%
def inequality(table: pa.Table, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the Gini coefficient of the outcome, for each group."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found = {arguments["group"]: [], "people": [], "gini": []}
    for group in [False, True]:
        rows = table.filter(pc.equal(table[arguments["group"]], group))
        values = np.sort(np.array(rows[arguments["outcome"]].to_pylist()))
        count = len(values)
        ranks = np.arange(1, count + 1)
        gini = 2 * (ranks * values).sum() / (count * values.sum()) - (count + 1) / count
        found[arguments["group"]].append(int(group))
        found["people"].append(count)
        found["gini"].append(float(gini))
    return {"inequality": pa.table(found)}


# %% [markdown]
# Try it where you may see the data, before you ask for data that you may not see: on values that you make
# up.

# %%
invented = pa.table({"ill": [False] * 4 + [True] * 4, "visits": [1, 1, 1, 1, 0, 0, 0, 8]})
tried = inequality(invented, {"group": "ill", "outcome": "visits"})["inequality"]
assert tried["gini"].to_pylist() == [0.0, 0.75]
tried.to_pandas()

# %% [markdown]
# ## What it may be written in
#
# A small part of Python, checked here and again by the measured program. A function that opens files, or
# looks behind its table, does not even become a job; the message names the line.

# %%
tables = {owner: connection.table("people") for owner, connection in cluster.analyst.items()}


def curious(table: pa.Table, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"stolen": {"kinds": str(table.__class__.__subclasses__())}}


try:
    clf.Python.of(curious, outputs=["stolen"])
except clf.ClfError as error:
    refused = error
assert refused.code == "invalid_job"
refused.message

# %% [markdown]
# ## The job
#
# The source stands in the job, so it is part of the digest that owners approve: another line is another
# job.

# %%
job = clf.Job(
    name="visits-inequality",
    purpose="How unequally are doctor visits spread, by health?",
    inputs=tables,
    on="person_id",
    operation=clf.Python.of(
        inequality,
        outputs=["inequality"],
        arguments={"group": "hlthp", "outcome": "mdvis"},
        most_rows=2,
    ),
    enclave=cluster.enclave,
    analyst=cluster.identity,
)
analyst = list(cluster.analyst.values())
clf.submit(job, identity=cluster.identity, connections=analyst)

# %% [markdown]
# ## What an owner reads
#
# All of it. Approve no function that you do not understand: reading it is the first line of defence, and
# the limits (two rows here, a minute, a gigabyte) are the second.

# %%
request = clf.requests(cluster.owners["hospital"])[job.digest]
assert "ranks * values" in request.show()
request

# %%
for owner in cluster.owners.values():
    clf.requests(owner)[job.digest].approve(runs=1)

# %% [markdown]
# ## Run, review, fetch

# %%
run = clf.run(job, insecure_simulation=cluster.simulation)
for owner in cluster.owners.values():
    for output in clf.releases(owner):
        output.approve("two rows, as asked")
result = clf.fetch(run, connections=analyst, identity=cluster.identity)
result

# %% [markdown]
# Because you play every part here, you can check it on the pooled table.

# %%
pooled = pa.Table.from_pandas(parts["clinic"].merge(parts["hospital"]), preserve_index=False)
reference = inequality(pooled, {"group": "hlthp", "outcome": "mdvis"})["inequality"]
difference = (result.to_pandas() - reference.to_pandas()).abs().to_numpy().max()
assert difference < 1e-12
f"largest difference: {difference:.1e}"

# %%
cluster.stop()
