"""Text of other people, made harmless to look at."""

from __future__ import annotations


def printable(text: str) -> str:
    """Escape control characters and marks that reorder text, so that it steers no terminal."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def cut(text: str, most: int) -> str:
    """Cut a text that is too long to be looked at, and say how long it is."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"
