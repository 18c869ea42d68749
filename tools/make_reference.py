"""Write the reference pages of the documentation from the docstrings of `clf_sdk`.

Run it as ``python tools/make_reference.py DOCS``; it writes ``DOCS/reference/*.md``, which are not
kept in the repository.
"""

from __future__ import annotations

import ast
import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import griffe

TOPICS: dict[str, tuple[str, str]] = {
    "owners": (
        "For data owners",
        (
            "share Policy EnclavePolicy policy_editor requests JobRequests JobRequest inbox "
            "releases Releases Release release_review audit_view"
        ),
    ),
    "analysts": (
        "For analysts",
        "catalogue Job GLM job_builder submit Submission run Run monitor fetch Result",
    ),
    "proof": ("Proof", "verify VerifiedReceipt TrustAnchor"),
    "people": ("Servers and people", "connect Connection SharedTable Identity PublicIdentity"),
    "errors": ("Errors", "ClfError"),
    "testing": ("Testing and versions", "show_versions"),
}
_OTHER = ("other", "Further names")


def _exported(package: griffe.Module) -> list[str]:
    return [
        str(ast.literal_eval(str(name))) if "'" in str(name) else str(name)
        for name in package.exports or ()
    ]


def _cell(text: object) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")


def _section(section: griffe.DocstringSection) -> list[str]:
    """Return a section of a docstring as Markdown."""
    if section.kind is griffe.DocstringSectionKind.text:
        return [str(section.value), ""]
    if section.kind is griffe.DocstringSectionKind.examples:
        code = [str(text) for _, text in section.value]
        return ["**Examples**", "", "```pycon", *code, "```", ""]
    if section.kind is griffe.DocstringSectionKind.admonition:
        return [f"**{section.title or 'Notes'}**", "", str(section.value.description), ""]
    lines = [f"**{section.kind.value.capitalize()}**", ""]
    for entry in section.value:
        name = getattr(entry, "name", "") or ""
        annotation = entry.annotation if not name else ""
        label = f"`{name or annotation}`"
        lines.append(f"- {label}: {_cell(entry.description)}")
    return [*lines, ""]


def _docstring(thing: griffe.Object) -> list[str]:
    if thing.docstring is None:
        return []
    lines: list[str] = []
    for section in thing.docstring.parse("numpy"):
        lines += _section(section)
    return lines


def _signature(function: griffe.Function, *, name: str) -> str:
    parts, star = [], False
    for parameter in function.parameters:
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is griffe.ParameterKind.keyword_only and not star:
            parts.append("*")
        star = star or parameter.kind in (
            griffe.ParameterKind.keyword_only,
            griffe.ParameterKind.var_positional,
        )
        mark = "*" if parameter.kind is griffe.ParameterKind.var_positional else ""
        text = f"{mark}{parameter.name}"
        text += f": {parameter.annotation}" if parameter.annotation is not None else ""
        text += f" = {parameter.default}" if parameter.default is not None and not mark else ""
        parts.append(text)
    returns = f" -> {function.returns}" if function.returns is not None else ""
    whole = f"{name}({', '.join(parts)}){returns}"
    if len(whole) <= 88:  # noqa: PLR2004 - fits on a page
        return whole
    inner = "".join(f"    {part},\n" for part in parts)
    return f"{name}(\n{inner}){returns}"


def _code(text: str) -> list[str]:
    return ["```text", *text.split("\n"), "```", ""]


def _target(thing: Any) -> Any:
    return thing.final_target if thing.is_alias else thing


def _members(thing: griffe.Class) -> Iterable[tuple[str, Any]]:
    for name, member in thing.all_members.items():
        found = _target(member)
        if not name.startswith("_") and found.docstring is not None:
            yield name, found


def _entry(name: str, thing: Any) -> list[str]:
    """Return everything about one public name."""
    lines = [f"## `{name}`", ""]
    if thing.is_function:
        return [*lines, *_code(_signature(thing, name=name)), *_docstring(thing)]
    if not thing.is_class:
        return [*lines, *_docstring(thing)]
    made = thing.all_members.get("__init__")
    if made is not None and made.is_function:
        lines += _code(_signature(made, name=name).removesuffix(" -> None"))
    lines += _docstring(thing)
    for member, found in _members(thing):
        lines += [f"### `{name}.{member}`", ""]
        if found.is_function and "property" not in found.labels:
            lines += _code(_signature(found, name=member))
        lines += _docstring(found)
    return lines


def write_reference(docs: Path, *, source: Path) -> list[Path]:
    """Write all pages, and return their paths."""
    package = griffe.load("clf_sdk", search_paths=[source], docstring_parser="numpy")
    assert isinstance(package, griffe.Module)  # noqa: S101 - it is a package
    names = _exported(package)
    placed = {name for _, listed in TOPICS.values() for name in listed.split()}
    topics = {
        key: (title, [name for name in listed.split() if name in names])
        for key, (title, listed) in TOPICS.items()
    }
    left = [name for name in names if name not in placed and name != "testing"]
    if left:
        topics[_OTHER[0]] = (_OTHER[1], left)
    folder = docs / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    index = ["# Reference", "", "Use it as `import clf_sdk as clf`.", ""]
    pages = []
    for key, (title, listed) in topics.items():
        lines = [f"# {title}", ""]
        for name in listed:
            lines += _entry(name, _target(package[name]))
            index.append(f"- [`clf.{name}`]({key}.md)")
        if key == "testing":
            lines += _entry("testing.cluster", package["testing._cluster.cluster"])
            lines += _entry("testing.Cluster", package["testing._cluster.Cluster"])
        if key == "errors":
            tree = str(package["errors"].docstring.value)
            lines += ["## All errors", "", *_code(tree)]
        pages.append(folder / f"{key}.md")
        pages[-1].write_text("\n".join(lines) + "\n")
    pages.append(folder / "index.md")
    pages[-1].write_text("\n".join(index) + "\n")
    return pages


if __name__ == "__main__":
    # Parameters that pydantic makes of fields are not in a signature.
    logging.getLogger("griffe").setLevel(logging.ERROR)
    write_reference(Path(sys.argv[1]), source=Path(__file__).parents[1])
