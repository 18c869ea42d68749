"""The documentation site: it builds without a network, and every link leads somewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import clf_sdk as clf

ROOT = Path(__file__).parents[2]


class _Page(HTMLParser):
    """Links, anchors and what a page loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.anchors |= {found[name] for name in ("id", "name") if name in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        elif tag in ("script", "img", "iframe") and "src" in found:
            self.loads.append(found["src"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.loads.append(found["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("reference"))
    shutil.copy(ROOT / "zensical.toml", folder)
    made = [sys.executable, str(ROOT / "tools" / "make_reference.py"), str(folder / "docs")]
    subprocess.run(made, check=True)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, _Page]:
    return {path.resolve(): _Page(path.read_text("utf-8")) for path in site.rglob("*.html")}


def _inside(target: str) -> bool:
    parts = urlsplit(target)
    return not parts.scheme and not parts.netloc


@pytest.mark.timeout(300)
def test_every_link_leads_somewhere(site: Path, pages: dict[Path, _Page]) -> None:
    broken = []
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # it is shown at any address, so its links are absolute
        for link in page.links:
            parts = urlsplit(link)
            if not _inside(link) or "/adr/" in str(path):
                continue
            target = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            found = pages.get(target)
            lost = found is not None and parts.fragment and parts.fragment not in found.anchors
            # site/ lies beside docs/, so links to other files of the repository hold there too.
            beside = ROOT / "docs" / path.relative_to(site.resolve()).parent / unquote(parts.path)
            if lost or not (target.exists() or beside.exists()):
                broken.append(f"{path.relative_to(site.resolve())}: {link}")
    assert broken == []
    assert len(pages) > 10


def test_pages_load_nothing_from_elsewhere(pages: dict[Path, _Page]) -> None:
    assert [load for page in pages.values() for load in page.loads if not _inside(load)] == []


def test_every_public_name_stands_in_the_reference(site: Path) -> None:
    text = "".join(page.read_text("utf-8") for page in (site / "reference").glob("*.html"))
    missing = [name for name in clf.__all__ if f"<code>{name}</code>" not in text]
    assert missing == ["testing"]
    assert "<code>testing.cluster</code>" in text
    assert "PolicyRefused" in (site / "reference" / "errors.html").read_text("utf-8")


def test_pictures_of_pages_are_there(site: Path) -> None:
    assert (site / "images" / "attestation.svg").exists()
    assert "images/attestation.svg" in (site / "attestation.html").read_text()
