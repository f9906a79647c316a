"""The project's version, in this place only; CITATION.cff and CHANGELOG.md are compared with it by a test."""

__all__ = ["VERSION"]

VERSION = "0.2.0"
