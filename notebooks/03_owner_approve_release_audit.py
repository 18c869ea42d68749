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
# # An owner approves, releases, and audits
#
# **Question: who wants what of my data, what left, and can I prove it?**
#
# You are the hospital. Run [02_analyst_build_and_run](02_analyst_build_and_run.ipynb) beside this
# notebook until it waits for you.

# %%
import clf_sdk as clf

cluster = clf.testing.example_cluster(directory="cluster", people=5000)
hospital = cluster.owners["hospital"]
hospital

# %% [markdown]
# ## What waits for a decision
#
# Plain words, what differs from the last job of the same name, and what each rule of the policy says.
# *Approve* is for this digest, so many runs, until a date. `print(inbox)` shows the same as text.

# %%
inbox = clf.inbox(hospital)
inbox

# %% [markdown]
# ## What waits to go out
#
# The table's policy demands a review: until you release an output, your share of its key stays here, and
# nobody can open it. You see its shape, its size, and the rules that the measured program enforced. Press
# *Refresh* when the run has ended.

# %%
review = clf.release_review(hospital)
review

# %% [markdown]
# ## What was decided
#
# The log is append-only, and the server signs its state after each entry. This view has verified what it
# shows; the button verifies everything from the first entry on.

# %%
audit = clf.audit_view(hospital)
audit

# %%
log = audit.verify()
log

# %% [markdown]
# Keep an export where the server's operator can not reach it: whoever has it notices if the past is ever
# rewritten.

# %%
from tempfile import TemporaryDirectory

from clf_sdk.audit import RemoteLog, verify_export

with TemporaryDirectory() as folder:
    RemoteLog(hospital.http, hospital.server).export(f"{folder}/hospital.audit")
    verified = verify_export(f"{folder}/hospital.audit", server=hospital.server)
assert verified.checkpoint.size >= log.checkpoint.size
verified

# %% [markdown]
# ## Second thoughts
#
# `request.revoke(reason)` takes an approval back, also while a run goes on: no new session begins, and
# what was not pulled yet is not served. Every owner can do that alone.

# %%
clf.requests(hospital)
