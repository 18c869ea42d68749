"""What helps people on the host: a look at a machine before a run, and at a build before trust.

Nothing in here runs in an enclave.
"""
