"""What changed between two measured builds, so that an owner can judge a new MRENCLAVE."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from clf_enclave._host._build import Build, package_of

_MOST_FILES_SHOWN = 20


@dataclass(frozen=True)
class Change:
    """One thing that differs; None where it is not there."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class BuildDiff:
    """All that differs between two builds.

    Attributes
    ----------
    identity
        MRENCLAVE, MRSIGNER, ISV_PROD_ID, ISV_SVN, debug; empty when a signature file is missing.
    settings
        Lines of the manifest.
    packages
        Python distributions, by version.
    files
        Trusted files, by hash.
    silent
        Packages whose files changed although their version did not: the first thing to look at.
    """

    identity: tuple[Change, ...]
    settings: tuple[Change, ...]
    packages: tuple[Change, ...]
    files: tuple[Change, ...]
    silent: tuple[str, ...]

    def __bool__(self) -> bool:
        return any((self.identity, self.settings, self.packages, self.files))

    def to_json(self) -> dict[str, Any]:
        """Return the differences as one JSON object."""
        return asdict(self)


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    return tuple(
        Change(name, before.get(name), after.get(name))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    )


def _identity(build: Build) -> dict[str, str]:
    return (
        {} if build.signature is None else {k: str(v) for k, v in asdict(build.signature).items()}
    )


def _silent(files: tuple[Change, ...], packages: tuple[Change, ...]) -> tuple[str, ...]:
    announced = {_folder(change.name) for change in packages}
    touched = {package_of(change.name) for change in files if "-packages/" in change.name}
    return tuple(sorted(name for name in touched if _folder(name) not in announced))


def _folder(name: str) -> str:
    return name.lower().replace("-", "_").replace(".", "_")


def compare_builds(before: Build, after: Build) -> BuildDiff:
    """Compare two builds."""
    signed = before.signature is not None and after.signature is not None
    files = _changes(before.files, after.files)
    packages = _changes(before.packages, after.packages)
    return BuildDiff(
        identity=_changes(_identity(before), _identity(after)) if signed else (),
        settings=_changes(before.settings, after.settings),
        packages=packages,
        files=files,
        silent=_silent(files, packages),
    )


def _line(change: Change) -> str:
    if change.before is None:
        return f"  + {change.name}  {change.after}"
    if change.after is None:
        return f"  - {change.name}  {change.before}"
    return f"  ~ {change.name}  {change.before} → {change.after}"


def _file_lines(files: tuple[Change, ...]) -> list[str]:
    by_package: dict[str, list[Change]] = defaultdict(list)
    for change in files:
        by_package[package_of(change.name)].append(change)
    lines = []
    for package, changes in sorted(by_package.items()):
        lines.append(f"  {package}  ({len(changes)})")
        for change in changes[:_MOST_FILES_SHOWN]:
            mark = "+" if change.before is None else "-" if change.after is None else "~"
            lines.append(f"    {mark} {change.name.removeprefix('file:')}")
        if len(changes) > _MOST_FILES_SHOWN:
            lines.append(f"    … {len(changes) - _MOST_FILES_SHOWN} more; --json has them all")
    return lines


def as_lines(diff: BuildDiff) -> list[str]:
    """Return the differences for people: the program's identity first, its files last."""
    lines: list[str] = []
    for title, changes in (
        ("Identity", diff.identity),
        ("Manifest", diff.settings),
        ("Packages", diff.packages),
    ):
        if changes:
            lines += [title, *map(_line, changes), ""]
    if diff.silent:
        lines += [
            "Changed without a new version (read these first)",
            *(f"  ! {name}" for name in diff.silent),
            "",
        ]
    if diff.files:
        lines += ["Files", *_file_lines(diff.files), ""]
    return lines or ["no difference"]
