"""What the machine alone allows: its cipher, its hash and its loopback, without any of our code.

A pull must open and hash every byte and carry it over a socket, so no program can be faster than
these three together on all cores.
"""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable

from blake3 import blake3
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor

_BLOCK_BYTES = 2 << 20  # about one segment
_BLOCKS = 64
_ROUNDS = 3
_GB = 1e9
_CONTEXT = b"benchmark"


def _seconds_per_gb(work: Callable[[], None]) -> float:
    """Return the least processor seconds that some work on one block took, for a GB."""
    found = []
    for _ in range(_ROUNDS):
        started = time.thread_time()
        for _ in range(_BLOCKS):
            work()
        found.append((time.thread_time() - started) / (_BLOCKS * _BLOCK_BYTES))
    return min(found) * _GB


def _cipher_and_hash() -> tuple[float, float, float]:
    key, block = bytes(32), memoryview(os.urandom(_BLOCK_BYTES))
    encryptor = Cobblestone256Encryptor(key, _CONTEXT)
    sealed = encryptor.update(block) + encryptor.finalize()
    out = memoryview(bytearray(len(sealed) + (1 << 16)))

    def seal() -> None:
        cipher = Cobblestone256Encryptor(key, _CONTEXT)
        cipher.update_into(block, out)
        cipher.finalize()

    def open_() -> None:
        cipher = Cobblestone256Decryptor(key, _CONTEXT)
        cipher.update_into(sealed, out)
        cipher.finalize()

    def digest() -> None:
        blake3(block).digest()

    return _seconds_per_gb(seal), _seconds_per_gb(open_), _seconds_per_gb(digest)


def _loopback() -> float:
    """Return the processor seconds of both ends for a GB over TCP."""
    block = os.urandom(_BLOCK_BYTES)
    total = 8 * _BLOCKS * _BLOCK_BYTES

    def send(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            for _ in range(total // _BLOCK_BYTES):
                connection.sendall(block)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = threading.Thread(target=send, args=(listener,))
        buffer = memoryview(bytearray(_BLOCK_BYTES))
        before = resource.getrusage(resource.RUSAGE_SELF)
        sender.start()
        with socket.create_connection(listener.getsockname()) as receiver:
            while receiver.recv_into(buffer):
                pass
        sender.join()
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return used / total * _GB


def measure_machine() -> dict[str, float]:
    """Return the speed of each on one core, and what all cores allow a pull, in GB/s."""
    seal, open_, digest = _cipher_and_hash()
    loopback = _loopback()
    cores = len(os.sched_getaffinity(0))
    return {
        "cores": cores,
        "seal_gb_per_second": 1 / seal,
        "open_gb_per_second": 1 / open_,
        "hash_gb_per_second": 1 / digest,
        "loopback_gb_per_second": 1 / loopback,
        "pull_limit_gb_per_second": cores / (open_ + digest + loopback),
    }
