"""``python -m clf_enclave``: the entry point that the enclave's manifest names."""

from clf_enclave._cli import enclave
from clf_sdk._collector import collect_rarely

if __name__ == "__main__":
    collect_rarely()
    enclave()
