"""What importing the package loads, and that transformers' Auto classes still know the model."""

import ast
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT


def run(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_type_checkers_see_what_is_loaded_late():
    """Guards against names that an editor does not know, or takes from another module."""
    import modeling_clap_student as package

    tree = ast.parse((ROOT / "modeling_clap_student" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {alias.name: statement.module for statement in block.body for alias in statement.names}
    assert told == package._MODULES and (ROOT / "modeling_clap_student" / "py.typed").is_file()


HEAVY = ["torch", "transformers", "datasets", "accelerate", "soundfile", "matplotlib", "pandas", "evaluate"]


def test_importing_the_package_loads_no_library():
    """Guards against a module of the package that is imported at once, and takes its libraries with it."""
    loaded = run("import sys, json, modeling_clap_student; print(json.dumps(sorted(sys.modules)))")
    assert not set(HEAVY) & set(json.loads(loaded))


def test_the_config_loads_neither_the_model_nor_the_data():
    """Guards against a config that takes more with it than transformers' own do, whatever those load."""
    code = "import sys, json; from {} import {}; print(json.dumps([*sys.modules]))"
    theirs = json.loads(run(code.format("transformers", "BertConfig, PretrainedConfig")))
    ours = json.loads(run(code.format("modeling_clap_student", "ClapStudentConfig")))
    assert not {*HEAVY, "transformers.modeling_utils"} & set(ours) - set(theirs)


HELP = """
import importlib, json, sys
command = importlib.import_module(f"modeling_clap_student.commands.{sys.argv[1]}")
sys.argv = ["x", "--help"]
try:
    command.main()
except SystemExit as stop:
    assert stop.code == 0
print(json.dumps([*sys.modules]))
"""


@pytest.mark.parametrize("name", ["teacher", "curate", "student", "evaluate", "temporal", "convert", "export", "app"])
def test_help_loads_neither_models_nor_data(name):
    """Guards against flags that wait for what a run needs: seconds."""
    loaded = set(json.loads(run(HELP, name)))
    heavy = {"transformers.modeling_utils", "datasets", "soundfile", "matplotlib", "pandas", "evaluate", "gradio"}
    assert not loaded & heavy


def test_public_names():
    import modeling_clap_student

    for name in modeling_clap_student.__all__:
        assert name in dir(modeling_clap_student)
        assert getattr(modeling_clap_student, name) is not None
    assert modeling_clap_student.losses.contrastive_loss and modeling_clap_student.conversion.convert_msclap_checkpoint
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        modeling_clap_student.Nothing  # noqa: B018


IMPORTS = {
    "before": "import modeling_clap_student; from transformers import AutoConfig, AutoModel, AutoProcessor, "
    "AutoFeatureExtractor",
    "after": "from transformers import AutoConfig, AutoModel, AutoProcessor, AutoFeatureExtractor; "
    "import modeling_clap_student",
    "between": "from transformers import AutoConfig; import modeling_clap_student; "
    "from transformers import AutoModel, AutoProcessor, AutoFeatureExtractor",
}
LOAD = """
import json, sys
folder, tower = sys.argv[1:]
loaded = [
    AutoConfig.from_pretrained(folder), AutoConfig.from_pretrained(tower),
    AutoModel.from_pretrained(folder), AutoModel.from_config(AutoConfig.from_pretrained(folder)),
    AutoModel.from_pretrained(tower), AutoModel.from_config(AutoConfig.from_pretrained(tower)),
    AutoFeatureExtractor.from_pretrained(folder), AutoProcessor.from_pretrained(folder),
]
assert all(type(one) is getattr(modeling_clap_student, type(one).__name__) for one in loaded)
print(json.dumps([type(one).__name__ for one in loaded]))
"""


@pytest.mark.parametrize("order", IMPORTS)
@pytest.mark.slow
def test_auto_classes_give_the_real_ones(tiny, tiny_folder, tmp_path, order):
    """Guards against a registration that depends on who imports transformers' Auto classes, and when."""
    tiny[0].audio_model.save_pretrained(tmp_path / "tower")
    kinds = ["Config", "AudioConfig", "Model", "Model", "AudioModel", "AudioModel", "FeatureExtractor", "Processor"]
    made = run(IMPORTS[order] + LOAD, str(tiny_folder), str(tmp_path / "tower"))
    assert json.loads(made) == [f"ClapStudent{kind}" for kind in kinds]


@pytest.mark.parametrize("name", ["BertConfig", "BertModel", "ClapConfig", "ClapModel", "pipeline", "Trainer"])
@pytest.mark.slow
def test_whatever_is_imported_first(name):
    """Guards against a circle: transformers' modules import an Auto class while they are being imported."""
    code = (
        f"import modeling_clap_student; from transformers import {name}; from transformers import AutoConfig; "
        "print(type(AutoConfig.for_model('clap_student')).__name__)"
    )
    assert run(code) == "ClapStudentConfig"


@pytest.mark.parametrize(
    "code",
    [
        "from transformers import AutoProcessor as Auto; print(type(Auto.from_pretrained(folder)).__name__)",
        "from transformers import AutoFeatureExtractor as Auto; print(type(Auto.from_pretrained(folder)).__name__)",
        "from transformers import AutoModel; from modeling_clap_student import ClapStudentConfig; "
        "print(type(AutoModel.from_config(ClapStudentConfig.from_pretrained(folder))).__name__)",
        "from modeling_clap_student import ClapStudentConfig; from transformers import AutoModel; "
        "print(type(AutoModel.from_config(ClapStudentConfig.from_pretrained(folder))).__name__)",
    ],
)
@pytest.mark.slow
def test_each_auto_class_alone(tiny_folder, code):
    """Guards against one that knows the model only after another has been asked."""
    made = run(f"import sys, modeling_clap_student; folder = sys.argv[1]; {code}", str(tiny_folder))
    assert made in ("ClapStudentProcessor", "ClapStudentFeatureExtractor", "ClapStudentModel")


@pytest.mark.slow
def test_a_pipeline_with_nothing_but_the_import(tiny_folder):
    code = (
        "import sys, json, modeling_clap_student, numpy; from transformers import pipeline; "
        "classify = pipeline('zero-shot-audio-classification', model=sys.argv[1]); "
        "scores = classify(numpy.zeros(44100, 'float32'), candidate_labels=['hum', 'hiss']); "
        "print(json.dumps([type(classify.model).__name__, sorted(one['label'] for one in scores)]))"
    )
    assert json.loads(run(code, str(tiny_folder))) == ["ClapStudentModel", ["hiss", "hum"]]


def test_a_registered_class_is_the_real_one_to_isinstance(tiny):
    """transformers' own checks of a processor's parts look at registered classes by name, and then at instances."""
    from transformers.models.auto.processing_auto import processor_class_from_name

    processor = tiny[1]
    registered = processor_class_from_name("ClapStudentProcessor")
    assert isinstance(processor, registered) and not isinstance(tiny[0], registered)
    assert issubclass(type(processor), registered) and registered.from_pretrained.__self__ is type(processor)
