"""Benchmarks: ``python -m benchmarks``, or `transfer` and `attestation` on their own."""
