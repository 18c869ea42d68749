"""Run a server: the control listener and, beside it, the listener for ciphertext."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version as software_version
from pathlib import Path
from typing import Any, TypeAlias

import structlog
import uvicorn
import uvloop

from clf_sdk._collector import keep_loaded
from clf_sdk.errors import ConfigurationError
from clf_server._app import create_apps
from clf_server._intake import IntakeProtocol
from clf_server._logging import configure_logging
from clf_server._maintenance import maintain_forever
from clf_server._metrics import metrics_app
from clf_server._prompt_close import PromptCloseProtocol
from clf_server._state import ServerState, load_state

_LOG = structlog.get_logger("clf_server")
LoopFactory: TypeAlias = Callable[[], asyncio.AbstractEventLoop]
_DRAIN_SECONDS = 20


class _Server(uvicorn.Server):
    """A listener whose signals are handled for all listeners together."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"can't listen on {host}:{port}: {error.strerror}",
            hint="another process uses the port, or the address is not this machine's",
        ) from error
    return listener


async def _serve(state: ServerState) -> None:
    config = state.config
    common: dict[str, Any] = {
        "http": "httptools",
        "ws": "none",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": _DRAIN_SECONDS,
        "lifespan": "off",
    }
    control_app, data_app = create_apps(state)
    control = _Server(
        uvicorn.Config(
            control_app,
            ssl_certfile=config.server_cert_path,
            ssl_keyfile=config.server_private_key_path,
            **common | {"http": PromptCloseProtocol},
        )
    )
    control.config.load()
    context = control.config.ssl
    if context is None:
        raise ConfigurationError("the control listener has no certificate")
    context.num_tickets = 0  # a session of TLS is never resumed
    listeners = [(control, _listen(config.host, config.port))]
    if config.blob_port is not None:
        data = _Server(uvicorn.Config(data_app, **common | {"http": IntakeProtocol}))
        listeners.append((data, _listen(config.host, config.blob_port)))

    if config.metrics_port is not None:
        metrics = _Server(uvicorn.Config(metrics_app(state.metrics), **common))
        listeners.append((metrics, _listen(config.metrics_host, config.metrics_port)))

    def stop() -> None:
        for server, _ in listeners:
            server.should_exit = True

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    _LOG.info(
        "server_started",
        name=config.name,
        server=state.server_id,
        mode=state.anchor.mode,
        port=config.port,
        blob_port=config.blob_port,
    )
    maintenance = asyncio.create_task(maintain_forever(state, context))
    try:
        await asyncio.gather(*(server.serve(sockets=[listener]) for server, listener in listeners))
    finally:
        maintenance.cancel()
    _LOG.info("server_stopped")


def _loop_factory(attestation: Path = Path("/dev/attestation")) -> LoopFactory:
    """Choose the event loop: uvloop needs eventfd, which Gramine leaves to the host if allowed."""
    return asyncio.new_event_loop if attestation.exists() else uvloop.new_event_loop


def run_server(directory: Path, flags: Mapping[str, str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM.

    Parameters
    ----------
    directory
        The server's.
    flags
        Texts of configuration keys that stand above the file.

    Raises
    ------
    ConfigurationError
        The directory or its configuration can't be used, or a port is taken.
    """
    configure_logging()
    state = load_state(directory, flags=flags)
    if state.anchor.mode == "simulation":
        _LOG.warning(
            "insecure_simulation",
            message="INSECURE SIMULATION: quotes prove nothing; never use this with real data",
        )
    if state.config.insecure_simulated_evidence is not None:
        _LOG.warning(
            "insecure_simulated_evidence",
            message="INSECURE SIMULATION: this server claims to run in SGX, and does not",
        )
    software = f"clf-sdk/{software_version('clf-sdk')}"
    state.audit.append("server.started", {"server": state.server_id, "software": software})
    keep_loaded()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(state))
    state.stopping.set()
    state.refusals.flush(at_end=True)
    state.metadata.close()
    gc.unfreeze()  # else libraries find what they can not free when the process ends, and say so
