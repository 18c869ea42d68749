"""``python -m clf_enclave``: the entry point that the enclave's manifest names."""

from clf_enclave._cli import enclave

if __name__ == "__main__":
    enclave()
