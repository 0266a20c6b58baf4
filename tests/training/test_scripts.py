"""Three training scripts as Keras users write them, defended by one line."""

import pathlib
import re
import runpy

import pytest

# What each script reaches undefended (0.97, 0.9 and 0.96 when written), less a wide margin.
SCRIPTS = {
    "sequential_one_hot": 0.85,
    "keras_applications_bytes": 0.3,
    "subclassed_mixed_precision": 0.8,
}
FOLDER = pathlib.Path(__file__).parent / "scripts"
NEW_LINE = re.compile(r"^model = tfpoison\.RobustModel\(.*# The new line\.\n", re.MULTILINE)


def test_every_script_is_run():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("defended", [True, False], ids=["defended", "plain"])
def test_script(name, defended, tmp_path, capsys):
    source = (FOLDER / f"{name}.py").read_text()
    assert len(NEW_LINE.findall(source)) == 1
    script = tmp_path / f"{name}.py"
    script.write_text(source if defended else NEW_LINE.sub("", source))
    runpy.run_path(str(script), run_name="__main__")
    accuracy = float(capsys.readouterr().out.split("accuracy:")[1])
    assert accuracy > SCRIPTS[name]
