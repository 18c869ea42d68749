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
# # One analysis over three owners' data
#
# **Question: how does health explain the number of doctor visits, when nobody may see everything?**
#
# An insurer knows what people pay, a clinic knows how healthy they are, a hospital counts their
# visits. None of them shows its table to anybody. Here all three run on your machine, with real data
# of the RAND Health Insurance Experiment, and you play every part.
#
# This takes about a minute. The enclave is *simulated*: the protocol and all checks are real, the
# protection by hardware is not.

# %%
import clf_sdk as clf
from clf_sdk._demo._scenario import load_people

cluster = clf.testing.cluster(["insurer", "clinic", "hospital"])
cluster

# %% [markdown]
# ## 1. Each owner shares its table
#
# `share()` seals the table in this process. What travels to the owner's server, and what lies there, is
# ciphertext. A *policy* says what may ever happen to it: which program, which operations, how often.

# %%
people = load_people().head(5000)
parts = {
    "insurer": people[["person_id", "lncoins", "lpi"]],
    "clinic": people[["person_id", "physlm", "disea"]],
    "hospital": people[["person_id", "mdvis"]],
}
policy = cluster.policy(["glm"], smallest_group=20)
for owner, table in parts.items():
    clf.share(table, name="people", policy=policy, to=cluster.owners[owner], progress=False)
policy

# %% [markdown]
# ## 2. The analyst asks
#
# The analyst sees names and types of columns, and no value. A *job* is one document: which tables,
# joined how, which operation, who may read the result. Its identity is a digest: any changed byte is
# another job.

# %%
tables = {owner: connection.table("people") for owner, connection in cluster.analyst.items()}
tables["clinic"]

# %%
job = clf.Job(
    name="doctor-visits",
    purpose="How do health and cost sharing explain the number of doctor visits?",
    inputs=tables,
    on="person_id",
    operation=clf.GLM(outcome="mdvis", family="poisson"),
    enclave=cluster.enclave,
    analyst=cluster.identity,
)
clf.submit(job, identity=cluster.identity, connections=list(cluster.analyst.values()))

# %% [markdown]
# ## 3. Each owner decides
#
# An owner reads in plain words what is asked, and approves that digest, for one run.

# %%
request = clf.requests(cluster.owners["clinic"])[job.digest]
request

# %%
for owner in cluster.owners.values():
    clf.requests(owner)[job.digest].approve(runs=1)

# %% [markdown]
# ## 4. The enclave computes
#
# A process starts for this one run. Each server gives it the keys of its table only after it has proved
# which program it is, for this job and no other. It joins, computes, seals the result, and ends.

# %%
run = clf.run(job, insecure_simulation=cluster.simulation)
run

# %%
result = clf.fetch(run, connections=list(cluster.analyst.values()), identity=cluster.identity)
result

# %%
axes = result.plot("coefficients")

# %% [markdown]
# ## 5. The same numbers, where one party sees everything
#
# Because you play every part here, you can check: a fit over the pooled table has the same
# coefficients.

# %%
import statsmodels.api as sm

pooled = parts["insurer"].merge(parts["clinic"]).merge(parts["hospital"])
design = sm.add_constant(pooled.drop(columns=["person_id", "mdvis"]))
reference = sm.Poisson(pooled["mdvis"], design).fit(disp=False, method="newton", tol=1e-12)
joint = result.to_pandas("coefficients").set_index("term")["coefficient"]
difference = (joint - reference.params).abs().max()
assert difference < 1e-8
f"largest difference: {difference:.1e}"

# %% [markdown]
# ## What next
#
# - [01_owner_share_and_protect](01_owner_share_and_protect.ipynb): what an owner decides about a table
# - [02_analyst_build_and_run](02_analyst_build_and_run.ipynb): from the catalogue to a result
# - [03_owner_approve_release_audit](03_owner_approve_release_audit.ipynb): approve, review, audit
# - [04_verify_a_result](04_verify_a_result.ipynb): what a receipt proves
# - [05_bring_your_own_python](05_bring_your_own_python.ipynb): a function for what no operation computes
# - [06_operators_tour](06_operators_tour.ipynb): run a server of your own

# %%
cluster.stop()
