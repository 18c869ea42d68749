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
# # An owner shares a table and protects it
#
# **Question: what exactly do I allow when I share a table, and what can I take back?**
#
# You are the clinic. Everything here happens between your notebook and your own server.

# %%
import clf_sdk as clf
from clf_sdk._demo._scenario import load_people

cluster = clf.testing.cluster(["clinic"])
clinic = cluster.owners["clinic"]
clinic

# %%
health = load_people()[["person_id", "physlm", "disea", "hlthg", "hlthf", "hlthp"]].head(2000)
health = health.assign(age=[20 + n % 60 for n in range(len(health))])
health.dtypes

# %% [markdown]
# ## Edit the rules
#
# The editor hints at columns that may identify people, by their names and by how their values repeat. It
# is a hint: what it does not notice is not safe. `editor.policy` is what the controls say now.

# %%
editor = clf.policy_editor(health, enclave=cluster.enclave)
editor

# %% [markdown]
# The same in code. Keys of columns that are not named never leave: that limit is cryptographic. Rows that
# do not meet the filter are not in what is sealed for the enclave.

# %%
policy = clf.Policy(
    enclave=cluster.enclave,
    operations=["glm"],
    columns=["person_id", "physlm", "disea", "age"],
    rows="age >= 30",
    smallest_group=50,
    release="review",
)
policy

# %%
table = clf.share(health, name="health", policy=policy, to=clinic)
table

# %% [markdown]
# Running the cell again is harmless: the same content keeps its version. Other content replaces it; jobs
# and receipts name the version that they used.

# %%
again = clf.share(health, name="health", policy=policy, to=clinic)
assert again.version == table.version
other = clf.share(health.head(1990), name="health", policy=policy, to=clinic)
assert other.version != table.version
clinic.tables()

# %% [markdown]
# ## What would be allowed?
#
# `Policy.explain` decides with the very functions by which the server decides. Here an analyst asks for
# all columns, one of which may not leave.

# %%
seen = cluster.analyst["clinic"].table("health")
greedy = clf.Job(
    name="greedy",
    inputs={"clinic": seen},
    on="person_id",
    operation=clf.GLM(outcome="disea", family="gaussian"),
    enclave=cluster.enclave,
    analyst=cluster.identity,
)
policy.explain(greedy, table=seen)

# %%
modest = clf.Job(
    name="modest",
    inputs={"clinic": seen[["person_id", "physlm", "disea"]]},
    on="person_id",
    operation=clf.GLM(outcome="disea", family="gaussian"),
    enclave=cluster.enclave,
    analyst=cluster.identity,
)
assert policy.explain(modest, table=seen).allowed
policy.explain(modest, table=seen)

# %% [markdown]
# ## Tighten at once, widen only on purpose

# %%
tighter = clf.Policy(
    enclave=cluster.enclave,
    operations=["glm"],
    columns=["person_id", "physlm", "disea"],
    rows="age >= 30 AND age < 70",
    smallest_group=100,
    release="review",
)
clinic.set_policy("health", tighter)

# %%
try:
    clinic.set_policy("health", policy)
except clf.ClfError as error:
    refused = error
assert refused.code == "policy_widened"
refused.message

# %% [markdown]
# ## What lies on the disk
#
# Ciphertext only. No value of a column, and not even its name, can be found there.

# %%
stored = b"".join(
    path.read_bytes()
    for path in (cluster.directory / "clinic" / "objects").rglob("*")
    if path.is_file()
)
assert b"physlm" not in stored
f"{len(stored):,} bytes, without the name of a column"

# %% [markdown]
# ## The end of a table
#
# `drop()` destroys the table's key first, then its bytes. Backups of the ciphertext become useless.

# %%
clinic.drop("health")
assert clinic.tables().empty
cluster.stop()
