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
# # The operator's tour
#
# **Question: what does it take to run an owner's server?**
#
# You are the operator of a clinic. The server is one directory and one process; everything is done by the
# command `clf`. The cells below run in a temporary directory.

# %%
import os
import tempfile

work = tempfile.mkdtemp(prefix="clf-operator-")
os.chdir(work)

# %% [markdown]
# ## Make a server
#
# A real server trusts Intel's root. This machine may have no SGX, so we make a simulated TEE, and name it
# explicitly. No environment variable can do that, and the server says so at each start.

# %%
# !clf simulation init tee
# !clf server init clinic --name clinic --insecure-simulation tee/anchor.pem

# %% [markdown]
# The directory holds the configuration, the server's identity, its TLS certificates, the key that wraps all
# table keys, and the owner's profile. The profile has an access token: hand it over privately.

# %%
# !ls clinic
# !cat clinic/*.toml clinic/*.conf 2>/dev/null | head -40

# %% [markdown]
# ## Let an analyst in
#
# The analyst sends a public identity. Compare the fingerprint over the phone before you trust it.

# %%
import clf_sdk as clf

ada = clf.Identity.create()
ada.public.save("ada.identity.json")
ada.public

# %%
# !clf server analyst add clinic ada.identity.json --label ada
# !clf server token create clinic --role analyst --analyst ada
# !clf server token list clinic

# %% [markdown]
# ## Run it
#
# In production a container or systemd does this. The server listens for people and enclaves over TLS; it
# serves ciphertext on a listener of its own.

# %%
from pathlib import Path

from clf_sdk._server_process import ServerProcess

server = ServerProcess(Path("clinic"), name="clinic", insecure_simulation=None)
server.start()
owner = clf.connect("clinic/owner.profile.json")
owner

# %% [markdown]
# The owner can work now; the analyst can see what is there.

# %%
analyst = clf.connect("clinic/ada.profile.json")
assert analyst.mode == "simulation"
analyst.tables()

# %% [markdown]
# ## Take access back
#
# A token that is revoked is refused from the next request on. Removing an analyst revokes all its tokens.

# %%
# !clf server analyst remove clinic ada

# %%
try:
    analyst.tables()
except clf.ClfError as error:
    refused = error
assert refused.code == "token_refused"
refused.message

# %% [markdown]
# ## Look at what happened

# %%
print(owner.audit().loc[:, ["time", "event"]].to_string())

# %% [markdown]
# ## Stop it

# %%
owner.close()
analyst.close()
server.stop()

# %%
import shutil

os.chdir("/")
shutil.rmtree(work)
