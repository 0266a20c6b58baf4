"""Three training scripts as Keras users write them, defended by one line."""

import pathlib
import re
import runpy

import pytest

# What each reaches (0.86, 0.88 and 0.94 when written), less a margin.
SCRIPTS = {
    "sequential_one_hot": 0.8,
    "keras_applications_bytes": 0.6,
    "subclassed_mixed_precision": 0.8,
}
FOLDER = pathlib.Path(__file__).parent / "scripts"
NEW_LINE = re.compile(r"^model = tfpoison\.RobustModel\(.*# The new line\.\n", re.MULTILINE)


def test_every_script_is_run():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_script(name, capsys):
    script = FOLDER / f"{name}.py"
    assert len(NEW_LINE.findall(script.read_text())) == 1
    runpy.run_path(str(script), run_name="__main__")
    accuracy = float(capsys.readouterr().out.split("accuracy:")[1])
    assert accuracy > SCRIPTS[name]
