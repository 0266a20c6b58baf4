"""The command line: what is refused at the door, and what a run can be repeated from."""

import pathlib
import sys

import pytest

from tfpoison import failures, launch
from tfpoison.checks import check_number
from tfpoison.cli import jobs
from tfpoison.cli.flags import CommandLine
from tfpoison.recipes.table import RECIPES

DEFENDED = "--defense=adversarial_poisoning"
BREW = "--job=brew"
TRANSFER = "--job=brew --scenarios=transfer"

LONG = (
    "mixup(ways=2)+patch(patch_size=2;poison_fraction=0.5;target_selection=share;matching=global)"
    "+gradient_shaping(clip_norm=1.0;noise=0.01;distribution=gaussian)+spectral_signatures(share=0.2)"
)
REFUSED = {
    "--job=trian": ["Unknown job", "'train'"],
    "--epohcs=3": ["epohcs", "epochs"],
    "--epochs=three": ["epochs", "integer"],
    "--epochs=0": ["epochs", "at least 1", "epochs=0"],
    "--batch_size=0": ["batch_size", "at least 1"],
    "--learning_rate=-1": ["learning_rate", "above 0"],
    "--optimizer=sgdd": ["optimizer", "'sgd'"],
    "--optimizer=adam --momentum=0.9": ["no momentum", "adam"],
    "--nesterov": ["momentum"],
    "--weight_decay=-1": ["weight_decay", "at least 0"],
    "--schedule=steps": ["milestones"],
    "--milestones=2,4": ["milestones", "schedule='constant'"],
    "--schedule=steps --milestones=4,2": ["rising"],
    "--schedule=steps --milestones=a": ["--milestones", "whole numbers"],
    "--label_smoothing=1": ["label_smoothing", "at most"],
    "--precision=float16": ["precision", "mixed_float16"],
    "--augmentation=rotate": ["augmentation", "shift_flip"],
    "--dataset=mnsit_": ["mnsit_"],
    "--dataset=cifar10 --data_dir=/nowhere": ["cifar10", "/nowhere"],
    "--dataset=image_folder": ["data_dir"],
    "--train_size=2000": ["train_size", "1280", "2000"],
    "--image_size=8": ["image_size", "2 whole numbers"],
    "--network=resnet17": ["network", "resnet18"],
    "--network=vgg11 --width=3 --batch_normalization": ["no width", "vgg11"],
    "--network=vgg16": ["at least", "pixels"],
    "--strategy=mirorred": ["strategy", "mirrored"],
    "--defense=adversarial": ["defense", "adversarial_poisoning"],
    "--defense_epsilon=0.1": ["--defense=none", "--defense_epsilon"],
    f"{DEFENDED} --defense_attack=gradient": ["attack", "gradient_matching"],
    f"{DEFENDED} --defense_epsilon=16": ["epsilon", "at most 1", "16"],
    f"{DEFENDED} --defense_patch_size=3": ["setting of the defense", "patch_size"],
    f"{DEFENDED} --defense_attack=patch --defense_epsilon=0.1": ["epsilon"],
    f"{DEFENDED} --defense_poison_fraction=1": ["below 1"],
    f"{DEFENDED} --defense_poison_fraction=0.5 --defense_target_selection=one": ["share"],
    f"{DEFENDED} --defense_optimizer=sgd": ["--defense_optimizer", "sign_adam"],
    f"{DEFENDED} --matching=both": ["matching"],
    "--flagfile=nowhere.flags": ["flagfile", "nowhere.flags"],
    "quickstart": ["flags alone", "quickstart"],
    "--benchmark_steps=3": ["--job=train", "--benchmark_steps"],
    "--job=benchmark --epochs=3": ["--job=benchmark", "--epochs"],
    "--job=benchmark --benchmark_attacks=evason": ["attack", "evasion"],
    "--checkpoint_seconds=-1": ["checkpoint_seconds"],
    "--poisons=nothing.npz": ["file of poisons", "nothing.npz"],
    f"{BREW} --poisons=nothing.npz": ["--job=brew", "--poisons"],
    "--decay=0.5": ["decay", "schedule='constant'"],
    "--matching=replica": ["--defense=none", "--matching"],
    f"{DEFENDED} --epochs=3 --defense_warmup_epochs=3": ["nothing would be defended"],
    f"{BREW} --recipes=bullseyes": ["recipe", "'bullseye'"],
    f"{BREW} --recipes=bullseye,metapoison": ["one of --recipes"],
    f"{BREW} --adversaries=clever": ["--adversaries", "adaptive"],
    f"{BREW} --scenarios=finetuning": ["scenario", "'fine_tuning'"],
    f"{BREW} --scenarios=transfer": ["--pretraining_source", "'transfer'"],
    f"{BREW} --pretraining_source=other_images": ["a scenario that needs one"],
    f"{BREW} --defended_pretraining": ["--pretraining_source", "--defended_pretraining"],
    f"{TRANSFER} --pretraining_source=web": ["--pretraining_source", "other_images"],
    f"{TRANSFER} --pretraining_source=other_images": ["train_size"],
    f"{TRANSFER} --pretraining_source=other_classes": ["classes"],
    f"{TRANSFER} --pretraining_source=other_images --pretraining_data_dir=d": ["another data set"],
    f"{TRANSFER} --pretraining_source=data_set": ["name of a data set"],
    f"{TRANSFER} --pretraining_source=data_set --pretraining_dataset=nothing_": ["nothing_"],
    f"{TRANSFER} --pretraining_source=other_classes --pretraining_classes=3,10": ["from 0 to 9"],
    f"{BREW} --epsilon=16": ["epsilon", "at most 1"],
    f"{BREW} --budget=0": ["budget", "above 0"],
    f"{BREW} --budget=2.5": ["budget", "whole number"],
    f"{BREW} --threat_model=anybody": ["--threat_model", "third_party"],
    f"{BREW} --poison_selection=best": ["--poison_selection", "gradient_norm"],
    f"{BREW} --target_class=2 --adversarial_class=2": ["another than the target's"],
    f"{BREW} --target_ids=a": ["--target_ids", "whole numbers"],
    f"{BREW} --brew_steps=0": ["steps", "at least 1"],
    f"{BREW} --surrogates=0": ["surrogates", "at least 1"],
    f"{BREW} --retrainings=250": ["fewer retrainings"],
    f"{BREW} --target_loss=hinge": ["--target_loss", "carlini_wagner"],
    f"{BREW} --label_smoothing=0.1": ["label_smoothing"],
    f"{BREW} --recipes=badnets --brew_steps=3": ["badnets", "--brew_steps"],
    f"{BREW} --recipes=badnets --trigger_size=0": ["trigger_size", "at least 1"],
    f"{BREW} --surrogates=9999999999": ["surrogates", "at most"],
    f"{BREW} --recipes=badnets --trigger_size=9": ["trigger", "(8, 8, 1)"],
    f"{BREW} --recipes=badnets --trigger_place=here": ["place", "bottom_right"],
    f"{BREW} --recipes=badnets --trigger_image=nothing.png": ["image file", "nothing.png"],
    f"{BREW} --trigger_size=2": ["without a trigger", "--trigger_size"],
    f"{BREW} --recipes=badnets --all_to_one --target_class=2": ["no class of targets"],
    f"{BREW} --all_to_one": ["without a trigger", "--all_to_one"],
    f"{BREW} --recipes=wanet --trigger_size=2": ["triggers of wanet", "--trigger_size"],
    f"{BREW} --recipes=blended(opac=1)": ["'blended'", "Did you mean 'opacity'"],
    f"{BREW} --recipes=blended(opacity=2)": ["opacity", "at most 1"],
    f"{BREW} --recipes=sig(frequency=4)": ["another frequency"],
    f"{BREW} --recipes=blendet": ["recipes", "Did you mean 'blended'"],
    f"{BREW} --recipes=sig(frequency={'1' * 60})": ["up to 60 characters"],
    f"{BREW} --recipes=badnets --targets=2": ["with a trigger", "--targets"],
    "--job=experiment --adversaries_per_trial=2 --target_ids=3": ["drawn where", "target_ids"],
    "--job=experiment --adversaries_per_trial=30 --budget=0.05": ["number of training images"],
    "--job=experiment --repairs=anq": ["method of repair", "Did you mean 'anp'"],
    "--job=experiment --repairs=anp --repair_images=995": ["repair_images", "995"],
    "--job=experiment --adversaries_per_trial=2,3": ["one for each of the 1 recipes", "2, 3"],
    "--augmentation=shift_flip(shift=-1)": ["shift", "at least 0"],
    f"{BREW} --poison_ids=1,2 --budget=2": ["beside poison_ids", "--budget"],
    f"{BREW} --nosetups_in_original_order": ["set-up", "--setups_in_original_order"],
    f"{BREW} --recipes=bullseye --target_loss=carlini_wagner": ["bullseye", "--target_loss"],
    f"{BREW} --staggered": ["two surrogates"],
    "--job=experiment --recipes=badnets --adversaries=adaptive": ["surrogates", "badnets"],
    f"{BREW} --setups=nothing.pickle": ["set-ups", "nothing.pickle"],
    f"{BREW} --export=zip": ["export", "image_folder"],
    f"{BREW} --trial=-1": ["trial", "at least 0"],
    f"{BREW} --trials=3": ["--job=brew", "--trials"],
    f"{BREW} --strategy=mirrored": ["--job=brew", "--strategy"],
    "--job=experiment --trials=0": ["trials", "at least 1"],
    "--job=experiment --victims=0": ["victims", "at least 1"],
    "--job=experiment --defenses=none,gradient": ["defense", "gradient_matching"],
    "--job=experiment --defenses=none --adversaries=adaptive": ["adaptive", "--defenses=none"],
    "--job=experiment --adversaries=": ["adversaries", "none"],
    "--job=experiment --recipes=": ["attacks", "none"],
    "--job=experiment --checkpoint_seconds=-1": ["checkpoint_seconds"],
    f"--job=experiment --defenses={LONG}": ["up to 150 characters", "files are named"],
    "--job=report": ["output directory of an experiment"],
    "--width=1000000000000": ["width", "at most"],
    "--image_size=1000000,1000000": ["image_size", "at most"],
    "--epochs=99999999999": ["epochs", "at most"],
    "--steps_per_execution=7": ["steps_per_execution", "10 batches"],
    "--defense=mixup(ways=2;ways=3)": ["every setting once", "ways twice"],
    f"--defense=mixup(ways={400 * '('}1)": ["ways", "an integer"],
    "--defense=maxup(copies=1000000)": ["copies", "at most 1000"],
    "--defense=cutout(size=9)": ["size=9", "8 × 8 pixels"],
    "--defense=maxup(size=9)": ["size=9", "8 × 8 pixels"],
    f"{DEFENDED} --defense_attack=patch --defense_patch_size=6": ["patch_size=6", "8 pixels"],
    "--job=experiment --defenses=patch_adaptive(patch_size=6)": ["patch_size=6", "8 pixels"],
    "--job=experiment --trials=99999999999": ["trials", "at most"],
    f"{BREW} --target_ids=3,517": ["target_ids", "unknown ones: 517"],
    f"{BREW} --poison_ids=1280": ["poison_ids", "unknown ones: 1280"],
    f"{BREW} --target_class=10": ["target_class", "from 0 to 9"],
    f"{BREW} --adversarial_class=-1": ["adversarial_class", "from 0 to 9"],
    f"{BREW} --train_size=60 --budget=61": ["budget", "at most 60"],
    f"{BREW} --validation_size=60 --targets=61": ["targets", "at most 60"],
    "--job=benchmark --defense_poison_fraction=7": ["poison_fraction", "at most 1"],
    "--job=benchmark --benchmark_attacks=patch --defense_poison_fraction=1": ["below 1"],
    "--job=benchmark --benchmark_image_shape=3,99999,3": ["image_shape", "at most"],
    "--job=benchmark --benchmark_attacks=patch_known_size --network=mlp "
    "--benchmark_image_shape=6,6,3": ["patch_size=4", "6 pixels"],
    "--data_dir=": ["--data_dir", "an empty one", "''"],
    "--poisons= --train_size=3": ["--poisons", "an empty one"],
    "--dataset=image_folder --data_dir=a\udce9": ["--data_dir", "in UTF-8"],
    "--dataset=mnist:9.9.9 --data_dir=nowhere": ["TFDS can build", "nowhere", "9.9.9"],
    "--plugin=no_such_module": ["--plugin", "No module named 'no_such_module'"],
    "--job=report --epochs=3": ["--job=report", "--epochs"],
}

PLUGIN = """
from tfpoison.recipes import Recipe, register

@register("brighter")
class Brighter(Recipe):
    \"\"\"Brightens poisons.\"\"\"
"""


def make_job(arguments):
    return jobs.make_job(CommandLine(arguments))


@pytest.mark.parametrize("clean_networks", [0, 1])
def test_columns_may_be_added_where_targets_do_not_depend_on_them(clean_networks, tmp_path):
    line = f"--job=experiment --dataset=digits --clean_networks={clean_networks}"
    job = make_job([*line.split(), f"--output_dir={tmp_path / 'out'}"])
    assert ("defenses" in job.directory.free) == (clean_networks == 0)


@pytest.mark.parametrize("line", REFUSED)
def test_refused_before_any_image_is_read(line, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfpoison.data.Selection.load", None)
    output_dir = tmp_path / "out"
    arguments = line.split()
    if "--job=benchmark" not in line:
        arguments.append(f"--output_dir={output_dir}")
    assert launch.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("tfpoison: ")
    assert len(error.splitlines()) <= 2
    assert [part for part in REFUSED[line] if part not in error] == []
    assert not output_dir.exists()


def test_an_output_directory_is_asked_for(capsys):
    assert launch.main(["--epochs=1"]) == 2
    assert "--output_dir" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(28, "No space left on device"), 1, "No space left"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError("Unable to allocate 1 TiB"), 1, "allocate 1 TiB. Lower --batch_size"),
    ],
)
def test_what_stops_a_job(error, code, message, monkeypatch, capsys):
    class Stopped:
        def check(self):
            pass

        def run(self):
            raise error

    monkeypatch.setattr(jobs, "make_job", lambda line: Stopped())
    assert launch.main([]) == code
    told = capsys.readouterr().err
    assert told.startswith("tfpoison: ")
    assert message in told


def test_errors_of_libraries_in_a_job_leave_their_trace(tmp_path, monkeypatch, capsys):
    class Broken:
        def check(self):
            pass

        def run(self):
            (check_number if self.ours else int)("a", "b")

    monkeypatch.setattr(jobs, "make_job", lambda line: Broken())
    for Broken.ours, code in [(True, failures.USAGE_ERROR), (False, failures.UNFORESEEN)]:
        assert launch.main([f"--output_dir={tmp_path}"]) == code
    assert "Traceback" not in capsys.readouterr().err
    assert "TypeError: 'str'" in (tmp_path / failures.TRACE).read_text()


def test_a_file_that_cannot_be_had(tmp_path, capsys):
    output_dir = tmp_path / ("long" * 80)
    assert launch.main([f"--output_dir={output_dir}"]) == failures.SYSTEM_ERROR
    assert "File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("columns", ["mixup", "mixup,none", "none,mixup"])
def test_undefended_is_always_a_column(columns, tmp_path):
    line = f"--job=experiment --defenses={columns} --output_dir={tmp_path / 'out'}"
    job = make_job(line.split())
    assert list(job.setup.defenses) == ["none", "mixup"]


@pytest.mark.parametrize(
    ("line", "without"),
    [
        ("--job=experiment --defenses=mixup --defense_epsilon=0.1", ["--defense_epsilon"]),
        ("--job=experiment --defenses=patch --defense_epsilon=0.1", ["--defense_epsilon"]),
        ("--job=experiment --defenses=noise(epsilon=0.2) --defense_epsilon=0.1", ["epsilon"]),
        ("--job=experiment --defenses=gradient_matching,mixup --defense_epsilon=0.1", []),
        ("--job=brew --defense_attack=patch", ["--defense_attack"]),
        ("--job=brew --adversaries=adaptive --defense_attack=patch", []),
    ],
)
def test_flags_without_effect_are_told(line, without, tmp_path, capsys):
    make_job([*line.split(), f"--output_dir={tmp_path / 'out'}"])
    told = capsys.readouterr().err
    assert [part for part in ["no effect", *without] if (part in told) != bool(without)] == []


def test_a_directory_of_poisons_holds_those_of_one_recipe(tmp_path):
    output = f"--output_dir={tmp_path}"
    for recipe in ("watermark", "badnets"):
        job = make_job([BREW, f"--recipes={recipe}", output])
        if recipe == "watermark":
            with job.directory.occupied():
                job.directory.write_text("poisons", "")
        else:
            with pytest.raises(ValueError, match="--recipes=watermark there, badnets now"):
                job.check()


LINES = [
    "",
    f"--epochs=3 --schedule=steps --milestones=1,2 --nesterov --momentum=0.5 {DEFENDED}",
    "--defense=mixup(ways=3)+gradient_matching",
    BREW,
    f"{BREW} --recipes=badnets --trigger_size=3",
    f"{BREW} --recipes=adaptive_blend(opacity=0.3;pieces=2;visible=1) --noall_to_one",
    f"{BREW} --scenarios=fine_tuning --train_size=900 --pretraining_source=other_images",
    f"{BREW} --poison_ids=1,2 --target_class=3 --adversarial_class=4",
    "--job=experiment --defenses=none,patch,mixup --adversaries=standard,adaptive",
    "--job=experiment --recipes=bullseye,hidden_trigger --scenarios=from_scratch,transfer "
    "--train_size=900 --pretraining_source=other_classes --pretraining_classes=1,2",
    "--job=audit --dataset=digits --filters=spectral_signatures",
    "--job=benchmark --benchmark_steps=3",
    "--job=scan --model=theirs.keras --pixel_range=0,255",
    "--job=repair --model=theirs.keras --repair=unlearning(epochs=3;share=0.5) --seed=2",
]


@pytest.mark.parametrize("line", LINES)
def test_the_configuration_of_a_run_is_a_flagfile_that_repeats_it(line, tmp_path):
    output = f"--output_dir={tmp_path / 'out'}"
    parsed = CommandLine([*line.split(), "--verbosity=-1", output])
    jobs.make_job(parsed)
    texts = jobs.configuration(parsed)
    assert "verbosity" not in texts
    flagfile = tmp_path / "config.flags"
    flagfile.write_text("".join(f"--{name}={value}\n" for name, value in texts.items()))
    again = CommandLine([f"--flagfile={flagfile}", output])
    assert jobs.configuration(again) == texts
    assert jobs.make_job(again)


def test_settings_of_the_step_come_from_flags(tmp_path):
    line = [DEFENDED, "--defense_batch_statistics", f"--output_dir={tmp_path / 'out'}"]
    assert make_job(line).defense.crafting.batch_statistics


def test_the_lines_are_of_every_job_that_has_a_configuration():
    named = {CommandLine(line.split())["job"] for line in LINES}
    assert named == set(jobs.JOBS) - {"report"}


RECORDS = sorted((pathlib.Path(__file__).parents[1] / "docs" / "results").rglob("config.flags"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.parent.name)
def test_every_record_can_be_repeated(record, tmp_path):
    line = CommandLine([f"--flagfile={record}", f"--output_dir={tmp_path / 'out'}"])
    assert jobs.make_job(line)
    texts = jobs.configuration(line)
    recorded = [line[2:].partition("=") for line in record.read_text().splitlines()]
    assert {name: texts.get(name, value) for name, _, value in recorded} == {
        name: value for name, _, value in recorded
    }


def test_there_are_records():
    assert len(RECORDS) > 10


def test_a_plugin_from_here_enters_its_parts(tmp_path, monkeypatch, capsys):
    (tmp_path / "parts_of_my_own.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [path for path in sys.path if path])
    monkeypatch.setattr(RECIPES, "_makers", dict(RECIPES._makers))
    assert launch.main(["--plugin=parts_of_my_own", "--help=brighter"]) == 0
    assert "Brightens poisons." in capsys.readouterr().out
    line = [
        BREW,
        "--plugin=parts_of_my_own",
        "--recipes=brighter",
        f"--output_dir={tmp_path / 'o'}",
    ]
    job = make_job(line)
    assert job.attack.recipe == "brighter"
    assert jobs.configuration(CommandLine(line))["plugin"] == "parts_of_my_own"
