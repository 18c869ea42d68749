from __future__ import annotations

import json
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from clf_sdk.attestation import Collateral, PccsCollateral
from clf_sdk.attestation._pccs import _intel_root_crl_url
from clf_sdk.errors import ClfError, CollateralMalformed, CollateralUnavailable, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = 86400


class Pccs:
    """A server in the shape of Intel's PCCS, on a real port, that serves one platform type."""

    def __init__(self, collateral: Collateral) -> None:
        self.collateral = collateral
        self.requests: list[str] = []
        self.status = 200
        self.replaced: dict[str, bytes] = {}
        self.der_crls = False
        self.chain_header = "TCB-Info-Issuer-Chain"
        self.url = ""
        self.hold = threading.Event()
        self.hold.set()

    def answer(self, path: str) -> tuple[dict[str, str], bytes]:
        parts = urlsplit(path)
        query = parse_qs(parts.query)
        served = self.collateral
        route = parts.path.removeprefix("/sgx/certification/v4")
        if route == "/pckcrl" and query["ca"] == ["platform"] and query["encoding"] == ["der"]:
            crl = bytes.fromhex(served.pck_crl) if self.der_crls else served.pck_crl.encode()
            return {"SGX-PCK-CRL-Issuer-Chain": quote(served.pck_crl_issuer_chain)}, crl
        if route == "/rootcacrl":
            return {}, served.root_ca_crl.encode()
        if route == "/tcb" and query["fmspc"] == [served.fmspc.upper()]:
            body = f'{{"tcbInfo":{served.tcb_info},"signature":"{served.tcb_info_signature}"}}'
            return {self.chain_header: quote(served.tcb_info_issuer_chain)}, body.encode()
        if route == "/qe/identity":
            signature = served.qe_identity_signature
            body = f'{{ "enclaveIdentity": {served.qe_identity}, "signature": "{signature}" }}\n'
            chain = quote(served.qe_identity_issuer_chain)
            return {"SGX-Enclave-Identity-Issuer-Chain": chain}, body.encode()
        return {}, b""


@contextmanager
def serve(pccs: Pccs) -> Iterator[Pccs]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pccs.requests.append(self.path)
            pccs.hold.wait(30)
            headers, body = pccs.answer(self.path)
            body = pccs.replaced.get(urlsplit(self.path).path.rsplit("/", 1)[-1], body)
            self.send_response(pccs.status if body else 404)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        pccs.url = url
        yield pccs


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def pccs(bench: Any) -> Iterator[Pccs]:
    with serve(Pccs(bench.platform.collateral)) as running:
        yield running


def test_collateral_from_a_pccs_is_exactly_what_was_signed(
    pccs: Pccs, bench: Any, tmp_path: Path
) -> None:
    source = PccsCollateral(pccs.url, cache_dir=tmp_path)
    collateral = source.collateral_for(bench.quote(), now=bench.now)
    assert collateral == bench.platform.collateral
    bench.verify(collateral=collateral)


def test_der_crls_older_headers_and_full_urls_are_understood(
    pccs: Pccs, bench: Any, tmp_path: Path
) -> None:
    pccs.der_crls = True
    pccs.chain_header = "SGX-TCB-Info-Issuer-Chain"
    source = PccsCollateral(pccs.url + "/sgx/certification/v4/", cache_dir=tmp_path)
    collateral = source.collateral_for(bench.quote(), now=bench.now)
    assert collateral == bench.platform.collateral


def test_cache_spares_the_pccs_and_survives_a_restart(
    pccs: Pccs, bench: Any, tmp_path: Path
) -> None:
    first = PccsCollateral(pccs.url, cache_dir=tmp_path)
    for later in range(5):
        first.collateral_for(bench.quote(), now=bench.now + later)
    assert len(pccs.requests) == 4
    restarted = PccsCollateral(pccs.url, cache_dir=tmp_path)
    collateral = restarted.collateral_for(bench.quote(), now=bench.now + 3600)
    assert collateral == bench.platform.collateral
    assert len(pccs.requests) == 4
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())


def test_cache_is_refreshed_daily_so_that_revocation_arrives(
    pccs: Pccs, bench: Any, tmp_path: Path
) -> None:
    source = PccsCollateral(pccs.url, cache_dir=tmp_path)
    source.collateral_for(bench.quote(), now=bench.now)
    pccs.collateral = bench.platform.reissue(now=bench.now + DAY, revoke_pck=True)
    assert source.collateral_for(bench.quote(), now=bench.now + DAY) == pccs.collateral


def test_expired_cache_is_never_served(pccs: Pccs, bench: Any, tmp_path: Path) -> None:
    source = PccsCollateral(pccs.url, cache_dir=tmp_path)
    source.collateral_for(bench.quote(), now=bench.now)
    _, end = bench.platform.collateral.window
    pccs.status = 503
    assert source.collateral_for(bench.quote(), now=end) == bench.platform.collateral
    for fresh in (source, PccsCollateral(pccs.url, cache_dir=tmp_path)):
        with pytest.raises(CollateralUnavailable, match="503"):
            fresh.collateral_for(bench.quote(), now=end + 1)
    pccs.status = 200
    pccs.collateral = bench.platform.reissue(now=end)
    assert source.collateral_for(bench.quote(), now=end + 1) == pccs.collateral


def test_outage_is_bridged_by_the_cache_without_hammering_the_pccs(
    pccs: Pccs, bench: Any, tmp_path: Path
) -> None:
    source = PccsCollateral(pccs.url, cache_dir=tmp_path)
    source.collateral_for(bench.quote(), now=bench.now)
    pccs.status = 503
    pccs.requests.clear()
    for later in range(10):
        source.collateral_for(bench.quote(), now=bench.now + 2 * DAY + later)
    assert len(pccs.requests) == 1
    source.collateral_for(bench.quote(), now=bench.now + 2 * DAY + 61)
    assert len(pccs.requests) == 2


def test_damaged_cache_file_is_fetched_again(pccs: Pccs, bench: Any, tmp_path: Path) -> None:
    PccsCollateral(pccs.url, cache_dir=tmp_path).collateral_for(bench.quote(), now=bench.now)
    (path,) = tmp_path.iterdir()
    path.write_text(path.read_text()[:100])
    source = PccsCollateral(pccs.url, cache_dir=tmp_path)
    assert source.collateral_for(bench.quote(), now=bench.now) == bench.platform.collateral
    assert len(pccs.requests) == 8
    json.loads(path.read_text())


def test_platforms_do_not_share_cached_collateral(
    pccs: Pccs, bench: Any, other_bench: Any, tmp_path: Path
) -> None:
    source = PccsCollateral(pccs.url, cache_dir=tmp_path)
    source.collateral_for(bench.quote(), now=bench.now)
    with pytest.raises(CollateralUnavailable, match="404"):
        source.collateral_for(other_bench.quote(), now=bench.now)


def test_unreachable_pccs_is_named_with_a_hint(bench: Any, tmp_path: Path) -> None:
    source = PccsCollateral("http://127.0.0.1:9", cache_dir=tmp_path, timeout_seconds=2)
    with pytest.raises(CollateralUnavailable, match=r"127\.0\.0\.1:9/") as caught:
        source.collateral_for(bench.quote(), now=bench.now)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("tcb", b"<html>"),
        ("tcb", b'{"tcbInfo":'),
        ("tcb", b'{"tcbInfo":{}}'),
        ("identity", b'{"tcbInfo":{},"signature":""}'),
        ("pckcrl", b"x" * (1 << 21)),
    ],
)
def test_answers_that_are_not_a_pccs_are_refused(
    pccs: Pccs, bench: Any, tmp_path: Path, route: str, body: bytes
) -> None:
    pccs.replaced[route] = body
    with pytest.raises((CollateralUnavailable, CollateralMalformed)):
        PccsCollateral(pccs.url, cache_dir=tmp_path).collateral_for(bench.quote(), now=bench.now)
    assert list(tmp_path.iterdir()) == []


def test_slow_pccs_ends_in_time_and_is_left_alone_for_a_while(bench: Any, tmp_path: Path) -> None:
    class Dripping(BaseHTTPRequestHandler):
        asked = 0

        def do_GET(self) -> None:
            Dripping.asked += 1
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            with suppress(OSError):
                for _ in range(1000):
                    self.wfile.write(b"a")
                    stopped.wait(0.02)

        def log_message(self, *_: Any) -> None:
            pass

    stopped = threading.Event()
    with serving(Dripping) as url:
        source = PccsCollateral(url, cache_dir=tmp_path, timeout_seconds=0.3)
        started = time.monotonic()
        for _ in range(20):  # one of them waits for it, the others do not
            with pytest.raises(CollateralUnavailable, match="does not answer") as caught:
                source.collateral_for(bench.quote(), now=bench.now)
        assert 0.3 < time.monotonic() - started < 5
        assert Dripping.asked == 1
        assert caught.value.hint
        stopped.set()


def test_nobody_who_finds_collateral_in_the_cache_waits_for_a_slow_pccs(
    pccs: Pccs, bench: Any, other_bench: Any, tmp_path: Path
) -> None:
    source = PccsCollateral(pccs.url, cache_dir=tmp_path)
    cached = source.collateral_for(bench.quote(), now=bench.now)
    pccs.hold.clear()
    with ThreadPoolExecutor(1) as pool:
        try:
            waiting = pool.submit(source.collateral_for, other_bench.quote(), now=bench.now)
            while len(pccs.requests) < 5:
                assert not waiting.done()
            assert source.collateral_for(bench.quote(), now=bench.now) == cached
            assert not waiting.done()
        finally:
            pccs.hold.set()
        with pytest.raises(CollateralUnavailable):
            waiting.result()


def test_lying_pccs_convinces_nobody(
    pccs: Pccs, bench: Any, other_bench: Any, tmp_path: Path
) -> None:
    """Collateral under another root, or of another platform, verifies no quote of this one."""
    pccs.collateral = replace(
        other_bench.platform.collateral,
        tcb_info=bench.platform.collateral.tcb_info,
        tcb_info_signature=bench.platform.collateral.tcb_info_signature,
    )
    lies = PccsCollateral(pccs.url, cache_dir=tmp_path).collateral_for(bench.quote(), now=bench.now)
    with pytest.raises(ClfError) as caught:
        bench.verify(collateral=lies)
    assert caught.value.code in {"quote_unverified", "anchor_mismatch", "collateral_malformed"}


@pytest.mark.parametrize("url", ["", "pccs.example.org", "ftp://pccs", "file:///etc/passwd"])
def test_pccs_needs_an_explicit_url(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        PccsCollateral(url, cache_dir=tmp_path)


def test_root_crl_of_intels_own_service_comes_from_where_the_root_says() -> None:
    url = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
    assert _intel_root_crl_url() == url
