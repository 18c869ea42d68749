"""What the machine alone allows: its cipher, hash, loopback and disk, without any of our code.

A pull must carry every byte over a socket, hash it and open it into memory that it keeps: that is
done here in the barest loop that there is, on all cores at once. A share must seal every byte, hash
it, carry it and bring it to the disk: no program is faster than the slower one of disk and cores.
"""

from __future__ import annotations

import mmap
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks._memory import back_memory

_BLOCK_BYTES = 4 << 20  # about one segment
_BLOCKS = 32
_AREA_BLOCKS = 16  # about one row group
_ROUNDS = 3
_GB = 1e9
_KEY = bytes(32)
_NONCE = bytes(12)
_SEALED_BYTES = _BLOCK_BYTES + 16


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


def _send(listener: socket.socket, descriptor: int, total: int) -> None:
    connection, _ = listener.accept()
    with connection:
        offset = 0
        while offset < total:
            offset += os.sendfile(connection.fileno(), descriptor, offset, _BLOCK_BYTES)


def _receive(source: socket.socket, buffer: memoryview) -> bool:
    """Fill a buffer; tell whether the source had so much."""
    filled = 0
    while filled < len(buffer):
        count = source.recv_into(buffer[filled:])
        if not count:
            return False
        filled += count
    return True


def _carry(
    descriptor: int, total: int, threads: int, take: Callable[[socket.socket], None]
) -> float:
    """Return the seconds for a GB from a cached file over TCP, by so many connections at once."""

    def receive(address: tuple[str, int]) -> None:
        with socket.create_connection(address) as source:
            take(source)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        workers = [
            threading.Thread(target=target, args=arguments)
            for _ in range(threads)
            for target, arguments in ((_send, (listener, descriptor, total)), (receive, (address,)))
        ]
        started = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return (time.perf_counter() - started) / (threads * total) * _GB


def _drop(source: socket.socket) -> None:
    """Receive, and nothing else."""
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    while _receive(source, buffer):
        pass


def _open_all(source: socket.socket) -> None:
    """Receive sealed blocks, hash each, and open it into fresh memory."""
    cipher, kept = AESGCM(_KEY), []
    buffer = memoryview(bytearray(_SEALED_BYTES))
    room = memoryview(b"")
    while _receive(source, buffer):
        if not room:
            area = mmap.mmap(-1, _AREA_BLOCKS * _BLOCK_BYTES, flags=mmap.MAP_PRIVATE)
            area.madvise(mmap.MADV_HUGEPAGE)
            kept.append(room := memoryview(area))
        blake3(buffer).digest()
        cipher.decrypt_into(_NONCE, buffer, None, room[:_BLOCK_BYTES])
        room = room[_BLOCK_BYTES:]


def _disk_loopback_and_pull(cores: int) -> tuple[float, float, float]:
    """Return the seconds for a GB that is written and synced, carried, and pulled."""
    sealed = AESGCM(_KEY).encrypt(_NONCE, os.urandom(_BLOCK_BYTES), None)
    total = 4 * _BLOCKS * len(sealed)
    with tempfile.TemporaryFile() as file:
        started = time.perf_counter()
        for _ in range(4 * _BLOCKS):
            file.write(sealed)
        file.flush()
        os.fsync(file.fileno())
        disk = (time.perf_counter() - started) / total * _GB
        carried, pulled = [], []
        for _ in range(_ROUNDS):
            carried.append(_carry(file.fileno(), total, 1, _drop))
            back_memory(cores * total)
            pulled.append(_carry(file.fileno(), total, cores, _open_all))
        return disk, min(carried), min(pulled)


def measure_machine() -> dict[str, float]:
    """Return the speed of each on one core, and what all cores allow, in GB/s."""
    cores = len(os.sched_getaffinity(0))
    work = _work()
    one = {name: _seconds_per_gb(each, 1) for name, each in work.items()}
    all_ = {name: _seconds_per_gb(each, cores) for name, each in work.items()}
    disk, loopback, pull = _disk_loopback_and_pull(cores)
    return {
        "cores": cores,
        "seal_gb_per_second": 1 / one["seal"],
        "open_gb_per_second": 1 / one["open"],
        "hash_gb_per_second": 1 / one["hash"],
        "loopback_gb_per_second": 1 / loopback,
        "disk_gb_per_second": 1 / disk,
        "pull_limit_gb_per_second": 1 / pull,
        "share_limit_gb_per_second": 1 / max(disk, all_["seal"] + all_["hash"] + loopback),
    }
