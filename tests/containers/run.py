"""Build the images with a real engine, run the demonstration across containers, look for plaintext.

    python tests/containers/run.py [--thorough]

Where no engine can be had it says so, and ends well; whatever else goes wrong is a failure. Images
are built twice to compare every file: the server's, or with --thorough all three.
Everything happens below a temporary directory, in simulation, on networks of its own.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "docker" / "demo"), str(ROOT / "tests" / "support")]

from _base import BASE, add_gramine, import_root, make_root  # noqa: E402
from _engine import Engine, Impossible  # noqa: E402
from _files import files_of, find_traces, traces_of  # noqa: E402
from gramine_stand_in import make_sigstruct  # noqa: E402
from people import ROWS, make_people  # noqa: E402

KINDS = ("server", "enclave", "notebook")
SECOND_BASE = "second:trixie-slim"
_HEALTHY_SECONDS = 180.0


class Checks:
    """The checks of a run, and what became of them."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []
        self._started = time.monotonic()

    def __call__(self, name: str, check: Callable[[], object]) -> bool:
        """Run one check; it fails when it raises."""
        try:
            check()
        except Exception:  # noqa: BLE001 - whatever it is, it is reported and fails the run
            traceback.print_exc()
            self.failed.append(name)
        else:
            self.passed += 1
        outcome = "FAILED" if name in self.failed else "ok"
        print(f"{time.monotonic() - self._started:6.0f} s  {outcome:<7}{name}", flush=True)  # noqa: T201
        return outcome == "ok"


class Scenario:
    """Two owners, an enclave, an analyst, each in a container of its own."""

    def __init__(self, engine: Engine, scratch: Path) -> None:
        self.engine = engine
        self.scratch = scratch
        self.seed = secrets.token_hex(16)
        self.begun = scratch / "begun"
        self.key = rsa.generate_private_key(public_exponent=3, key_size=3072)
        self.pem = self.key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )

    # Images

    def build(self, kind: str, *options: str) -> None:
        """Build an image with the script that users run."""
        script = ROOT / "docker" / f"build_clf_{kind}_docker_image.sh"
        self.engine.run([str(script), *options])

    def build_all(
        self,
        kinds: Sequence[str] = KINDS,
        options: Callable[[str], Sequence[str]] = lambda _kind: (),
    ) -> None:
        """Build images side by side; what they share is built once."""
        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(self.build, kind, *options(kind)) for kind in kinds]:
                done.result()

    def build_again(self, kinds: Sequence[str]) -> None:
        """Build again on another base: nothing comes from the cache."""
        self.build_all(kinds, lambda kind: ("--base", SECOND_BASE, "--tag", f"again-{kind}:1"))

    def described(self, kind: str) -> None:
        """Look at what an image says of itself."""
        inspected = json.loads(self.engine.docker("image", "inspect", self.image(kind)).stdout)
        config, labels = inspected[0]["Config"], inspected[0]["Config"]["Labels"]
        assert config["User"] == "10001:10001"
        assert config["Healthcheck"]["Test"][0] == "CMD"
        title = labels["org.opencontainers.image.title"]
        assert title == f"clf-{kind}"
        for label in ("version", "revision", "created", "licenses", "description", "base.name"):
            assert labels[f"org.opencontainers.image.{label}"], label
        base = json.loads(self.engine.docker("image", "inspect", BASE).stdout)
        added = (inspected[0]["Size"] - base[0]["Size"]) / 1e6
        print(f"          {kind}: {added:.0f} MB on top of the base")  # noqa: T201

    def image(self, kind: str) -> str:
        """Return the name that the script gave an image."""
        found = self.engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout
        names = [name for name in found.split() if name.startswith(f"clf-{kind}:")]
        assert len(names) == 1, found
        return names[0]

    def bill_of_materials(self, kind: str) -> None:
        """Compare the bill with what is installed, and with the pinned requirements."""
        ask = (
            "import importlib.metadata as m, json;"
            "print(json.dumps({d.name: d.version for d in m.distributions()}))"
        )
        run = ("run", "--rm", "--network", "none", "--entrypoint")
        image = self.image(kind)
        shown = self.engine.docker(*run, "/opt/clf/bin/python", image, "-Ic", ask).stdout
        installed = json.loads(shown)
        bill = json.loads(self.engine.docker(*run, "cat", image, "/opt/clf/sbom.cdx.json").stdout)
        assert bill["bomFormat"] == "CycloneDX"
        assert {c["name"]: c["version"] for c in bill["components"]} == installed
        pinned = (ROOT / "docker" / f"requirements-{kind}.txt").read_text()
        for name, version in installed.items():
            if name != "clf-sdk":
                assert f"{name.lower().replace('_', '-').replace('.', '-')}=={version}" in pinned

    def imports(self, kind: str, modules: str) -> None:
        """Import what the image is for: nothing that was left out is missed."""
        self.engine.docker(
            *("run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"),  # noqa: S108
            *("--cap-drop", "ALL", "--entrypoint", "python3", self.image(kind)),
            *("-c", f"import {modules}"),
        )

    def same_files(self, kind: str, added: list[str]) -> None:
        """Compare every file of the two builds."""
        first = files_of(self.engine, self.image(kind))
        second = files_of(self.engine, f"again-{kind}:1")
        for name in added:
            del second[name]
        differ = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
        assert not differ, f"{len(differ)} files differ, such as {differ[:20]}"
        assert sum("opt/clf" in name for name in first) > 1000  # it did compare something

    def sgx_build(self, kind: str) -> None:
        """Build an SGX image; the key that signs must get into no layer."""
        key_file = self.scratch / "signing-key.pem"
        key_file.write_bytes(self.pem)
        options = ("--sgx", "--key", str(key_file), "--base", SECOND_BASE, "--tag", "sgx:1")
        self.build(kind, *options, "--manifest", "--isv-svn 1")
        run = ("run", "--rm", "--network", "none", "--entrypoint", "cat", "sgx:1")
        policy = json.loads(self.engine.docker(*run, f"clf_{kind}.policy.json").stdout)
        assert policy["mrenclave"] == "5a" * 32
        secret, root = self.pem.splitlines()[2], self.engine.data_root
        assert not find_traces(root, [secret], self.scratch, since=key_file)

    # The demonstration

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run docker-compose on the project's file."""
        command = ["docker-compose", "-p", "demo", "-f", str(ROOT / "docker" / "compose.yaml")]
        return self.engine.run(
            ["env", f"CLF_DEMO_SEED={self.seed}", *command, *arguments], check=check
        ).stdout

    def up(self) -> None:
        """Start everything with one command, and wait until it is healthy."""
        self.begun.touch()  # before the owners' data is made
        self.compose("up", "--detach", "--no-build")
        waiting = {"clinic", "hospital", "enclave", "notebook"}
        deadline = time.monotonic() + _HEALTHY_SECONDS
        while waiting:
            assert time.monotonic() < deadline, f"{waiting}\n{self.compose('logs')[-4000:]}"
            time.sleep(1)
            waiting = {name for name in waiting if self.health(name) != "healthy"}

    def container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.compose("ps", "--quiet", service).strip()

    def health(self, service: str) -> str:
        """Return what a service's health check says."""
        form = "{{.State.Health.Status}}"
        return self.engine.docker(
            "inspect", "--format", form, self.container(service)
        ).stdout.strip()

    def demonstrate(self) -> None:
        """Let owners and analyst work, and compare the model with that of pooled data."""
        shown = self.compose("--profile", "demo", "run", "--rm", "-T", "analyst")
        events = {line["event"]: line for line in map(json.loads, shown.splitlines())}
        found = events["fetched"]
        assert found["mode"] == "simulation"
        assert found["rows"] == ROWS
        people = make_people(self.seed)
        pooled = people["clinic"].merge(people["hospital"], on="person")
        design = np.column_stack([np.ones(ROWS), pooled["pressure"], pooled["age"]])
        expected, *_ = np.linalg.lstsq(design, pooled["cost"], rcond=None)
        joint = [found["coefficients"][term] for term in ("const", "pressure", "age")]
        assert np.allclose(joint, expected, rtol=1e-8), (joint, expected)

    def owners_apart(self) -> None:
        """See that an owner reaches neither the other one nor anything outside."""
        probe = (
            "import socket, sys\n"
            "try: socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)\n"
            "except OSError: print('no')\nelse: print('yes')"
        )
        addresses = {}
        for owner in ("clinic", "hospital"):
            form = f"{{{{.NetworkSettings.Networks.demo_{owner}.IPAddress}}}}"
            address = self.engine.docker("inspect", "--format", form, self.container(owner))
            addresses[owner] = address.stdout.strip()

        def reaches(service: str, target: str, port: int) -> bool:
            command = ("exec", self.container(service), "python3", "-c", probe, target, str(port))
            return self.engine.docker(*command).stdout.strip() == "yes"

        for target in ("clinic", "hospital"):
            assert reaches("enclave", target, 4433)  # so the probe can say yes
            assert reaches("notebook", addresses[target], 4433)
        assert not reaches("clinic", "hospital", 4433)
        assert not reaches("clinic", addresses["hospital"], 4433)
        assert not reaches("hospital", addresses["clinic"], 4433)
        assert not reaches("clinic", "192.0.2.1", 53)

    def hardened(self) -> None:
        """See what the containers may do."""
        for service in ("clinic", "hospital", "enclave", "notebook"):
            inspected = self.engine.docker("inspect", self.container(service)).stdout
            host = json.loads(inspected)[0]["HostConfig"]
            assert host["ReadonlyRootfs"]
            assert host["CapDrop"] == ["ALL"]
            assert host["SecurityOpt"] == ["no-new-privileges:true"]
            assert not host["Devices"]
            assert not host["Privileged"]
        write = ("python3", "-c", "open('/opt/clf/x', 'w')")
        done = self.engine.docker("exec", self.container("clinic"), *write, check=False)
        assert "Read-only file system" in done.stderr

    def no_plaintext(self) -> None:
        """Look for owners' values in layers, volumes, logs and whatever else the engine keeps."""
        traces = traces_of(make_people(self.seed).values())
        assert len(traces) > 200
        found = find_traces(self.engine.data_root, traces, self.scratch, since=self.begun)
        assert not found, found
        # Would they be found? One that writes its table into a volume and a log is caught twice.
        leak = (
            "from people import table_of; t = table_of('clinic');"
            "print(t.person[0], flush=True);"
            "open('/work/leak', 'wb').write(t.pressure.to_numpy().tobytes())"
        )
        self.engine.docker(
            *("run", "--network", "none", "--volume", f"{ROOT}/docker/demo:/demo:ro"),
            *("--volume", "leak:/work", "--env", f"CLF_DEMO_SEED={self.seed}"),
            *("--env", "PYTHONPATH=/demo", self.image("notebook"), "python3", "-c", leak),
        )
        caught = find_traces(self.engine.data_root, traces, self.scratch, since=self.begun)
        assert any("/volumes/leak/" in path for path in caught), caught
        assert any("/containers/" in path for path in caught), caught

    def started_by_script(self) -> None:
        """Make and run a server with the scripts that users run, outside of compose."""
        script = str(ROOT / "docker" / "start_clf_server_container.sh")
        common = ("--data", "byhand", "--name", "byhand")
        init = ("server", "init", "/data/server", "--name", "byhand", "--host", "0.0.0.0")  # noqa: S104
        self.engine.run([script, *common, "--", *init])
        ports = ("--port", "127.0.0.1:14433", "--blob-port", "127.0.0.1:14480")
        self.engine.run([script, *common, *ports, "--detach", "--add-host", "pccs:192.0.2.1"])
        try:
            deadline = time.monotonic() + 60
            check = ("exec", "byhand", "clf", "server", "healthcheck", "/data/server")
            while self.engine.docker(*check, check=False).returncode:
                assert time.monotonic() < deadline, self.engine.docker("logs", "byhand").stdout
                time.sleep(1)
            hosts = self.engine.docker("exec", "byhand", "cat", "/etc/hosts").stdout
            assert "192.0.2.1\tpccs" in hosts
        finally:
            self.engine.docker("stop", "byhand")
            self.engine.docker("rm", "byhand")


def run(engine: Engine, scratch: Path, *, again: Sequence[str]) -> Checks:
    """Run every check; what needs a failed one is left out.

    Parameters
    ----------
    engine, scratch
        Where it happens.
    again
        The kinds of images that are built a second time.
    """
    checks, scenario = Checks(), Scenario(engine, scratch)
    root = scratch / "root"
    make_root(root)
    import_root(engine, root, BASE)
    if not checks("build the images", scenario.build_all):
        return checks
    for kind in KINDS:
        checks(f"description of clf-{kind}", partial(scenario.described, kind))
    for kind in KINDS:
        checks(f"bill of materials of clf-{kind}", partial(scenario.bill_of_materials, kind))
    checks("imports of clf-server", lambda: scenario.imports("server", "clf_server._serve, duckdb"))
    checks(
        "imports of clf-enclave",
        lambda: scenario.imports(
            "enclave",
            "clf_enclave._operations, duckdb, lightgbm, sklearn.linear_model, "
            "sklearn.cluster, statsmodels.api, splink, opendp, formulaic, scipy.stats",
        ),
    )
    if checks("up with one command, all healthy", scenario.up):
        checks("owners reach neither each other nor the outside", scenario.owners_apart)
        checks("containers have no rights", scenario.hardened)
        checks("demonstration across containers", scenario.demonstrate)
        scenario.compose("stop")
        checks("no plaintext in layers, volumes, logs", scenario.no_plaintext)
    scenario.compose("down", "--volumes", "--remove-orphans", check=False)
    checks("server started by script", scenario.started_by_script)

    added = add_gramine(root, make_sigstruct(scenario.key, mrenclave=b"\x5a" * 32))
    import_root(engine, root, SECOND_BASE)
    if checks("build again, from nothing", partial(scenario.build_again, again)):
        for kind in again:
            checks(f"same files in clf-{kind}", partial(scenario.same_files, kind, added))
        for kind in again:
            if kind != "notebook":
                name = f"build clf-{kind}-sgx, key in no layer"
                checks(name, partial(scenario.sgx_build, kind))
    return checks


def main() -> int:
    """Run the checks below a temporary directory, and leave nothing behind."""
    parser = argparse.ArgumentParser(description="Test images and containers with a real engine.")
    parser.add_argument("--thorough", action="store_true", help="build all images twice")
    again = KINDS if parser.parse_args().thorough else ("server",)
    scratch = Path(tempfile.mkdtemp(prefix="clf-containers-"))
    try:
        with Engine(scratch / "engine") as engine:
            checks = run(engine, scratch, again=again)
    except Impossible as reason:
        print(f"SKIPPED: containers were not tested: {reason}")  # noqa: T201
        return 0
    finally:
        shutil.rmtree(scratch)
    print(f"containers: {checks.passed} passed, {len(checks.failed)} failed")  # noqa: T201
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
