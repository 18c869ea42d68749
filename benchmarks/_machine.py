"""What the machine alone allows: its cipher, hash, loopback and disk, without any of our code.

A pull must carry every byte over a socket, hash it and open it; a share must seal it, hash it,
carry it and bring it to the disk. So no program can be faster than these together. They are
measured on all cores at once: two of a virtual machine may be one core of the host.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_BLOCK_BYTES = 2 << 20  # about one segment
_BLOCKS = 64
_ROUNDS = 3
_GB = 1e9
_KEY = bytes(32)
_NONCE = bytes(12)


def _seconds_per_gb(work: Callable[[memoryview], None], threads: int) -> float:
    """Return the least seconds that some work took, for a GB, on so many threads at once."""

    def repeat() -> None:
        out = memoryview(bytearray(_BLOCK_BYTES + (1 << 16)))
        for _ in range(_BLOCKS):
            work(out)

    found = []
    for _ in range(_ROUNDS):
        workers = [threading.Thread(target=repeat) for _ in range(threads)]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found.append((time.perf_counter() - started) / (threads * _BLOCKS * _BLOCK_BYTES))
    return min(found) * _GB


def _work() -> dict[str, Callable[[memoryview], None]]:
    block = memoryview(os.urandom(_BLOCK_BYTES))
    cipher = AESGCM(_KEY)
    sealed = cipher.encrypt(_NONCE, bytes(block), None)

    def seal(out: memoryview) -> None:
        cipher.encrypt_into(_NONCE, block, None, out[: len(sealed)])

    def open_(out: memoryview) -> None:
        cipher.decrypt_into(_NONCE, sealed, None, out[: len(block)])

    def digest(_: memoryview) -> None:
        blake3(block).digest()

    return {"seal": seal, "open": open_, "hash": digest}


def _loopback(descriptor: int, total: int) -> float:
    """Return the seconds for a GB from a cached file over TCP into a buffer."""

    def send(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            offset = 0
            while offset < total:
                offset += os.sendfile(connection.fileno(), descriptor, offset, _BLOCK_BYTES)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = threading.Thread(target=send, args=(listener,))
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        started = time.perf_counter()
        sender.start()
        with socket.create_connection(listener.getsockname()) as receiver:
            while receiver.recv_into(buffer):
                pass
        sender.join()
    return (time.perf_counter() - started) / total * _GB


def _disk_and_loopback() -> tuple[float, float]:
    """Return the seconds for a GB that is written and synced, and over the loopback."""
    block, total = os.urandom(_BLOCK_BYTES), 2 * _BLOCKS * _BLOCK_BYTES
    with tempfile.TemporaryFile() as file:
        started = time.perf_counter()
        for _ in range(2 * _BLOCKS):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        disk = (time.perf_counter() - started) / total * _GB
        return disk, min(_loopback(file.fileno(), total) for _ in range(_ROUNDS))


def measure_machine() -> dict[str, float]:
    """Return the speed of each on one core, and what all cores allow, in GB/s."""
    cores = len(os.sched_getaffinity(0))
    work = _work()
    one = {name: _seconds_per_gb(each, 1) for name, each in work.items()}
    all_ = {name: _seconds_per_gb(each, cores) for name, each in work.items()}
    disk, loopback = _disk_and_loopback()
    return {
        "cores": cores,
        "seal_gb_per_second": 1 / one["seal"],
        "open_gb_per_second": 1 / one["open"],
        "hash_gb_per_second": 1 / one["hash"],
        "loopback_gb_per_second": 1 / loopback,
        "disk_gb_per_second": 1 / disk,
        "pull_limit_gb_per_second": 1 / (all_["open"] + all_["hash"] + loopback),
        "share_limit_gb_per_second": 1 / max(disk, all_["seal"] + all_["hash"] + loopback),
    }
