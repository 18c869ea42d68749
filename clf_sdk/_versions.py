"""``show_versions()``: what to paste into a report of a defect."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from dataclasses import dataclass

from clf_sdk._cards import card

_DISTRIBUTION = "clf-sdk"
_OTHERS = (
    "cryptography",
    "dcap-qvl",
    "pyarrow",
    "pandas",
    "duckdb",
    "statsmodels",
    "scikit-learn",
    "fastapi",
    "ipywidgets",
    "ipykernel",
    "jupyterlab",
    "matplotlib",
)


@dataclass(frozen=True, repr=False)
class Versions:
    """Versions of this installation, from `show_versions`.

    Attributes
    ----------
    found
        Version of each part; None for what is not installed.
    """

    found: dict[str, str | None]

    def __repr__(self) -> str:
        width = max(map(len, self.found))
        return "\n".join(
            f"{name:<{width}}  {version or 'not installed'}" for name, version in self.found.items()
        )

    def _repr_html_(self) -> str:
        rows = {name: version or "not installed" for name, version in self.found.items()}
        return card("Versions", f"CLF {self.found[_DISTRIBUTION]}", rows)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def show_versions() -> Versions:
    """Return the versions of CLF, Python and the libraries in use, to paste into a report.

    They hold no name of a machine, a person or a path.
    """
    found = {
        _DISTRIBUTION: _version(_DISTRIBUTION),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": f"{sys.platform} {platform.machine()}",
    }
    return Versions(found | {name: _version(name) for name in _OTHERS})
