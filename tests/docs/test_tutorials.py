"""The tutorials do what they say: all of their code runs, and prints what they show."""

import pages
import pytest

TUTORIALS = sorted((pages.DOCS / "tutorials").glob("*.md"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_can_be_carried_out(path, in_an_empty_folder):
    pages.carry_out(path)
