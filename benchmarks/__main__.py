"""``make bench``: everything that was promised, and what was measured."""

from __future__ import annotations

import argparse

from benchmarks import attestation, transfer
from benchmarks._report import attestation_lines, transfer_lines


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024, help="Arrow data of the table")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that count")
    parser.add_argument(
        "--memory-mib", type=int, default=4096, help="Arrow data of the table for the memory"
    )
    chosen = parser.parse_args()
    found = transfer.run(chosen.size_mib, repeats=chosen.repeats)
    found["memory"] = transfer.run(chosen.memory_mib, repeats=1, peers=False)["memory"]
    print("\n".join(transfer_lines(found)))
    print("\n".join(attestation_lines(attestation.run())))


if __name__ == "__main__":
    main()
