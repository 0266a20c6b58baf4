"""The site of the documentation can be built, without a warning, and asks nothing of others."""

import html
import os
import re
import subprocess
import sys

import pages
import pytest

from tfpoison.attacks import ATTACKS
from tfpoison.cli.groups import GROUPS
from tfpoison.data import Selection
from tfpoison.defenses import DEFENSES
from tfpoison.recipes.table import RECIPES
from tfpoison.settings import declared, rule_of


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    config = pages.DOCS / "site" / "mkdocs.yml"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]
    # Material for MkDocs tells in every build what will come after MkDocs 1.
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        [*command, "--config-file", config, "--site-dir", folder],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_in_the_site(site):
    pages_of_site = {path.relative_to(site).with_suffix("") for path in site.rglob("*.html")}
    written = {path.relative_to(pages.DOCS).with_suffix("") for path in pages.DOCS.rglob("*.md")}
    written = {path.with_name("index") if path.name == "README" else path for path in written}
    assert written <= pages_of_site


def test_reading_asks_nothing_of_other_hosts(site):
    loaded = re.compile(r"<(?:script|img|iframe|source)[^>]*\ssrc=\"?(?:https?:)?//[^>]*>")
    styles = re.compile(r"<link[^>]*rel=\"?stylesheet[^>]*href=\"?(?:https?:)?//[^>]*>")
    for path in site.rglob("*.html"):
        text = path.read_text()
        assert [*loaded.findall(text), *styles.findall(text)] == [], path.name


def test_every_flag_is_in_the_reference(site):
    text = (site / "reference" / "flags.html").read_text()
    flags = [name for group in GROUPS.values() for name in group.flags()]
    assert len(flags) > 90
    assert [name for name in flags if f"<code>--{name}</code>" not in text] == []


def test_every_attack_recipe_and_defense_is_in_the_reference(site):
    text = (site / "reference" / "parts.html").read_text()
    names = [*ATTACKS, *RECIPES, *DEFENSES]
    assert len(names) > 40
    assert [name for name in names if f'<h3 id="{name}">' not in text] == []


def test_settings_are_shown_with_their_sentences(site):
    fields = declared(Selection)
    text = html.unescape((site / "reference" / "data.html").read_text())
    shown = re.sub(r"<[^>]+>", "", text)
    assert len(fields) > 5
    assert [each.name for each in fields if f"\n        {rule_of(each).text}" not in shown] == []
