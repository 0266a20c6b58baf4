"""The reference shows every public name of the package, with an example that is carried out."""

import ast
import doctest
import re

import pages
import pytest

from tfpoison.registry import Registry

PAGES = sorted(
    path for path in (pages.DOCS / "reference").glob("*.md") if "```pycon" in path.read_text()
)
# What every room has of its registry: shown once, on the page of the registry.
OF_REGISTRIES = {"get", "names", "settings", "register"}


def page(room):
    return pages.DOCS / "reference" / f"{room.rpartition('.')[2]}.md"


def shown(path):
    return set(re.findall(r"^::: (\S+)$", path.read_text(), re.MULTILINE))


def used(path):
    """The names that the examples of a page use."""
    sources = []
    for block in pages.blocks(path):
        if block.language == "pycon":
            examples = doctest.DocTestParser().get_examples(block.text)
            sources += [example.source for example in examples]
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return attributes | {node.id for node in nodes if isinstance(node, ast.Name)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_examples_are_right(path, in_an_empty_folder):
    pages.carry_out(path)


@pytest.mark.parametrize("room", pages.ROOMS)
def test_every_public_name_is_shown_with_an_example(room):
    names = pages.public(room)
    of_the_registry = {
        name
        for name, value in names.items()
        if isinstance(value, Registry) or isinstance(getattr(value, "__self__", None), Registry)
    }
    assert {f"{room}.{name}" for name in names.keys() - of_the_registry} <= shown(page(room))
    assert names.keys() <= used(page(room))


def test_the_registry_is_shown_with_examples():
    path = pages.DOCS / "reference" / "registry.md"
    assert shown(path) == {"tfpoison.registry.Registry"}
    assert used(path) >= OF_REGISTRIES


def test_every_page_is_looked_at():
    rooms = {"tfpoison.registry", *pages.ROOMS}
    assert {page(room) for room in rooms} == set(PAGES)
