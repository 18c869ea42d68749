"""The measured program: pulls sealed tables into the enclave, computes, seals the result."""
