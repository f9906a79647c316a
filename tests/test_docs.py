"""Links of the documents to lines of the code: `[`text`](../file#L12)`, where line 12 holds the text.

`python tests/test_docs.py` sets the numbers to the lines that hold the texts now.
"""

import glob
import os
import re

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LINK = re.compile(r"\[`([^`]+)`\]\(([^)#]+)#L(\d+)\)")


def documents():
    return [os.path.join(ROOT, "README.md"), os.path.join(ROOT, "results", "README.md"),
            *sorted(glob.glob(os.path.join(ROOT, "docs", "*.md")))]


def lines_with(document, text, path):
    """The numbers of the lines of the linked file that hold the text."""
    with open(os.path.join(os.path.dirname(document), path), encoding="utf-8") as file:
        return [number for number, line in enumerate(file, 1) if text in line]


@pytest.mark.parametrize("document", documents(), ids=lambda path: os.path.relpath(path, ROOT))
def test_links_lead_to_the_lines_that_hold_their_text(document):
    with open(document, encoding="utf-8") as file:
        for text, path, number in LINK.findall(file.read()):
            assert int(number) in lines_with(document, text, path), f"`{text}` is not in line {number} of {path}"


@pytest.mark.parametrize("document", documents(), ids=lambda path: os.path.relpath(path, ROOT))
def test_files_that_are_linked_are_there(document):
    with open(document, encoding="utf-8") as file:
        for path in re.findall(r"\]\((?!https?:)([^)#]+)", file.read()):
            assert os.path.exists(os.path.join(os.path.dirname(document), path)), path


def test_every_page_is_in_the_index():
    with open(os.path.join(ROOT, "docs", "README.md"), encoding="utf-8") as file:
        listed = set(re.findall(r"\]\(([^)/]+\.md)\)", file.read()))
    assert listed == {os.path.basename(path) for path in glob.glob(os.path.join(ROOT, "docs", "*.md"))} - {"README.md"}


def test_the_readme_is_short():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        assert len(file.readlines()) <= 150


def main():
    for document in documents():
        with open(document, encoding="utf-8") as file:
            old = file.read()

        def renumbered(match):
            text, path, number = match.groups()
            found = lines_with(document, text, path)
            if not found:
                raise SystemExit(f"{document}: no line of {path} holds `{text}`")
            nearest = min(found, key=lambda line: abs(line - int(number)))
            return f"[`{text}`]({path}#L{nearest})"
        new = LINK.sub(renumbered, old)
        if new != old:
            with open(document, "w", encoding="utf-8") as file:
                file.write(new)


if __name__ == "__main__":
    main()
