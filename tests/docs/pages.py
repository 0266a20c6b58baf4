"""Pages of the documentation as a reader meets them: their blocks, carried out in turn."""

import contextlib
import doctest
import importlib
import io
import pathlib
import re
import subprocess
import sys
import types
from typing import NamedTuple

DOCS = pathlib.Path(__file__).parents[2] / "docs"
# The rooms whose names are for users.
ROOMS = (
    *("tfpoison", "tfpoison.attacks", "tfpoison.objectives", "tfpoison.perturbations"),
    *("tfpoison.defenses", "tfpoison.recipes", "tfpoison.networks", "tfpoison.data"),
    "tfpoison.distribution",
)
_BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Block(NamedTuple):
    """A fenced block of a page: its language, the file that it is saved as or "", its lines."""

    language: str
    file: str
    text: str
    line: int


def public(room):
    """The public names of a room that are not rooms themselves."""
    module = importlib.import_module(room)
    names = getattr(module, "__all__", None) or ("get", "names")
    return {
        name: value
        for name in names
        if not isinstance(value := getattr(module, name), types.ModuleType)
    }


def blocks(path):
    """Returns the fenced blocks of a page."""
    text = path.read_text()
    return [
        Block(each[1], each[2] or "", each[3], text.count("\n", 0, each.start()) + 2)
        for each in _BLOCK.finditer(text)
    ]


def carry_out(path):
    """Does what a page says, in the current directory: runs its Python and its commands.

    A block with a title is saved under it. A session of Python answers what it shows, and a block
    of text is what the block before it prints, where ... stands for anything.
    """
    names, printed = {"__name__": "__main__"}, ""
    for block in blocks(path):
        if block.file:
            pathlib.Path(block.file).write_text(block.text)
        elif block.language == "python":
            printed = _run(block, path, names)
        elif block.language == "pycon":
            _answer(block, path, names)
        elif block.language == "sh":
            printed = _command(block, path)
        elif block.language == "text":
            shown = doctest.OutputChecker().check_output(block.text, printed, _FLAGS)
            assert shown, f"{path.name}, line {block.line}, shows\n{block.text}\nand got\n{printed}"


def _run(block, path, names):
    # Errors name the line of the page.
    code = compile("\n" * (block.line - 1) + block.text, path, "exec")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code, names)
    return output.getvalue()


def _answer(block, path, names):
    session = doctest.DocTestParser().get_doctest(block.text, names, path.name, path, block.line)
    told = io.StringIO()
    runner = doctest.DocTestRunner(optionflags=_FLAGS | doctest.FAIL_FAST)
    failed, _ = runner.run(session, out=told.write, clear_globs=False)
    names.update(session.globs)
    assert not failed, told.getvalue()


def _command(block, path):
    python = f'python() {{ {sys.executable} "$@"; }}\n'
    done = subprocess.run(["bash", "-euc", python + block.text], capture_output=True, text=True)
    assert done.returncode == 0, f"{path.name}, line {block.line}: {done.stderr[-2000:]}"
    return done.stdout
