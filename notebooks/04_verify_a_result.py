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
# # Verify a result
#
# **Question: how do I know that a number came from these tables, by this program, and nothing else?**
#
# Every run leaves a *receipt*: one file that each owner and the analyst can verify offline, years later,
# with nothing but the file and the root that they trust.

# %%
from pathlib import Path
from tempfile import TemporaryDirectory

import clf_sdk as clf
from clf_sdk._demo._scenario import load_people

cluster = clf.testing.cluster(["clinic", "hospital"])
people = load_people().head(2000)
policy = cluster.policy(["glm"], approval="automatic")
for owner, columns in {"clinic": ["physlm", "disea"], "hospital": ["mdvis"]}.items():
    frame = people[["person_id", *columns]]
    clf.share(frame, name="people", policy=policy, to=cluster.owners[owner], progress=False)
analyst = list(cluster.analyst.values())
job = clf.Job(
    name="visits",
    inputs={connection.name: connection.table("people") for connection in analyst},
    on="person_id",
    operation=clf.GLM(outcome="mdvis", family="poisson"),
    enclave=cluster.enclave,
    analyst=cluster.identity,
)
clf.submit(job, identity=cluster.identity, connections=analyst)
run = clf.run(job, insecure_simulation=cluster.simulation)
result = clf.fetch(run, connections=analyst, identity=cluster.identity)
result.receipt

# %% [markdown]
# ## One file

# %%
folder = TemporaryDirectory()
file = Path(folder.name) / "receipt.json"
result.receipt.save(file)
anchor = cluster.anchor
cluster.stop()  # what follows needs no server and no network

receipt = clf.verify(file, anchor=anchor, policy=cluster.enclave, job=job.digest)
print(receipt.summary())

# %% [markdown]
# `pinned by the verifier` means that the program is the one that *you* reviewed. Without `policy=…` it is
# the one to which the owners agreed.

# %% [markdown]
# ## What it does not let pass
#
# A receipt of a simulated run, where real hardware is expected:

# %%
try:
    clf.verify(file)
except clf.ClfError as error:
    simulated = error
simulated.message

# %% [markdown]
# One flipped bit:

# %%
data = bytearray(file.read_bytes())
data[len(data) // 2] ^= 1
try:
    clf.verify(bytes(data), anchor=anchor)
except clf.ClfError as error:
    flipped = error
f"{type(flipped).__name__}: {flipped.message}"

# %% [markdown]
# Another program:

# %%
try:
    clf.verify(file, anchor=anchor, policy=clf.EnclavePolicy(mrenclave="ab" * 32))
except clf.ClfError as error:
    other = error
assert len({type(error) for error in (simulated, flipped, other)}) >= 2
f"{type(other).__name__}: {other.message}"

# %% [markdown]
# ## What it does not prove
#
# It proves which bytes went in and which program computed. It does not prove that the owners' data was
# true, or that the analysis was a good one. The time in it is each owner's word.

# %%
folder.cleanup()
