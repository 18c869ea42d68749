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
# # An analyst builds a job and runs it
#
# **Question: how do I get a result over data that I may not see?**
#
# You are the analyst. An insurer and a clinic let their policies approve your kind of job. The hospital
# asks its owner each time, and looks at results before they go out: open
# [03_owner_approve_release_audit](03_owner_approve_release_audit.ipynb) beside this notebook, and play
# the owner there when a bar says that it waits for the hospital.

# %%
import clf_sdk as clf

cluster = clf.testing.example_cluster(directory="cluster", people=5000)
cluster

# %% [markdown]
# With real owners you would connect with the profile that each of them gave you:
# `clf.connect("clinic.profile.json")`.

# %%
insurer, clinic, hospital = (cluster.analyst[name] for name in cluster.analyst)
catalogue = clf.catalogue(insurer, clinic, hospital)
catalogue

# %% [markdown]
# ## By clicks
#
# Choose tables, the key, an operation and its parameters; *Build* shows the job, and code that builds the
# same.

# %%
builder = clf.job_builder(insurer, clinic, hospital, enclave=cluster.enclave)
builder

# %% [markdown]
# ## In code

# %%
job = clf.Job(
    name="doctor-visits",
    purpose="How does health explain the number of doctor visits, given what people pay?",
    inputs={
        "insurer": catalogue["insurer", "plans"][["lncoins", "lpi"]],
        "clinic": catalogue["clinic", "health"][["physlm", "disea", "hlthp"]],
        "hospital": catalogue["hospital", "visits"],
    },
    on="person_id",
    operation=clf.GLM(outcome="mdvis", family="poisson"),
    enclave=cluster.enclave,
)
job

# %% [markdown]
# ## Ask, and wait for the owners
#
# Interrupting the kernel stops the waiting, and nothing else: submitting the same job again tells what
# the owners have decided.

# %%
submission = clf.submit(job)
submission

# %%
submission = submission.wait()
submission

# %% [markdown]
# ## Run, and watch
#
# The run goes on when this kernel does not: `clf.monitor("…its id…")` finds it again.

# %%
run = clf.run(job, insecure_simulation=cluster.simulation, wait=False)
monitor = clf.monitor(run)
monitor

# %% [markdown]
# ## Fetch
#
# With `wait=True` it says for whom it waits. All owners must hold the same result and the same receipt, and
# the receipt must hold: nothing is opened before.

# %%
result = clf.fetch(run, wait=True)
result

# %%
axes = result.plot("coefficients")

# %%
coefficients = result.to_pandas("coefficients").set_index("term")
assert coefficients.loc["disea", "coefficient"] > 0
result.receipt
