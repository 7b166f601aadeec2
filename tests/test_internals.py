"""What of other libraries' insides the package relies on. A release that changes one of these fails here, by name.

`setup.py` bounds the versions of these libraries. To raise a bound, make the tests pass with the new release.
"""

import argparse
import inspect
import tarfile

import evaluate
import huggingface_hub.file_download
import huggingface_hub.repocard_data
import pytest
import transformers.models.auto as auto
import transformers.trainer
from transformers import HfArgumentParser, PreTrainedConfig, PreTrainedModel, Trainer, TrainingArguments

from modeling_clap_student import ClapStudentModel, ClapStudentTrainer, ClapStudentTrainingArguments
from modeling_clap_student.commands import command_line
from modeling_clap_student.data import streams
from modeling_clap_student.evaluation import metrics
from modeling_clap_student.temporal.trainer import TemporalTrainer


# Who has it -> its name -> its parameters; None where it is no function.
INTERNALS = {
    Trainer: {
        # overridden
        "_finalize_training": "self trial num_train_samples start_time",
        "_get_train_sampler": "self train_dataset",
        "_init_training_state": "self max_steps num_update_steps_per_epoch num_train_epochs "
        "resume_from_checkpoint trial",
        "_load_best_model": "self",
        "_load_from_checkpoint": "self resume_from_checkpoint model",
        "_load_optimizer_and_scheduler": "self checkpoint",
        "_load_rng_state": "self checkpoint",
        "_run_epoch": "self model epoch train_dataloader steps_in_epoch num_update_steps_per_epoch trial "
        "ignore_keys_for_eval start_time resume_from_checkpoint epochs_trained steps_trained_in_current_epoch",
        "_save_checkpoint": "self model trial",
        "_save_optimizer_and_scheduler": "self output_dir",
        "_save_rng_state": "self output_dir",
        "compute_loss": "self model inputs return_outputs num_items_in_batch",
        "create_optimizer": "self model",
        "get_batch_samples": "self epoch_iterator num_batches device",
        "save_model": "self output_dir _internal_call",
        "training_step": "self model inputs num_items_in_batch",
        # called
        "_get_output_dir": "self trial",
        "_prepare_inputs": "self inputs",
    },
    TrainingArguments: {"_VALID_DICT_FIELDS": None},
    PreTrainedModel: {"_init_weights": "self module", "_supports_sdpa": None, "_keep_in_fp32_modules_strict": None},
    PreTrainedConfig: {"register_for_auto_class": "auto_class"},
    HfArgumentParser: {"parse_dict": "self args allow_extra_keys"},
    argparse.ArgumentParser: {"error": "self message", "parse_known_args": "self args namespace"},
    tarfile.TarInfo: {"_proc_gnusparse_10": "self next pax_headers tarfile", "_proc_member": "self tarfile"},
    evaluate.Metric: {"_compute": "self predictions references kwargs", "_info": "self"},
    # functions that stand in no documentation
    huggingface_hub.file_download: {"repo_folder_name": "repo_id repo_type"},
    huggingface_hub.repocard_data: {"eval_results_to_model_index": "model_name eval_results"},
    transformers.trainer: {"OPTIMIZER_NAME": None, "SCHEDULER_NAME": None, "TRAINER_STATE_NAME": None},
    # modules whose import is waited for
    auto.configuration_auto.AutoConfig: {"register": "model_type config exist_ok"},
    auto.modeling_auto.AutoModel: {"register": "config_class model_class exist_ok"},
    auto.feature_extraction_auto.AutoFeatureExtractor: {
        "register": "config_class feature_extractor_class exist_ok",
        "from_pretrained": "pretrained_model_name_or_path kwargs",
    },
    auto.processing_auto: {"processor_class_from_name": "class_name"},
    auto.processing_auto.AutoProcessor: {"register": "config_class processor_class exist_ok"},
}
# Where the package derives from those.
DERIVED = [
    ClapStudentTrainer, TemporalTrainer, ClapStudentModel, ClapStudentTrainingArguments, command_line._Parser,
    streams._Header, metrics.Accuracy, metrics.MeanAveragePrecision, metrics.Retrieval,
]  # fmt: skip


def check(owner, name: str, parameters: str | None) -> None:
    assert hasattr(owner, name), f"{owner.__name__} has no {name} any more"
    if parameters is not None:
        known = " ".join(inspect.signature(getattr(owner, name)).parameters)
        assert known == parameters, f"{owner.__name__}.{name} takes ({known}), and ({parameters}) is relied on"


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [(owner, name, parameters) for owner, names in INTERNALS.items() for name, parameters in names.items()],
    ids=[f"{owner.__name__}.{name}" for owner, names in INTERNALS.items() for name in names],
)
def test_what_is_relied_on_is_there(owner, name, parameters):
    """Guards against a release of a library in which an override is never called, or is called differently."""
    check(owner, name, parameters)


@pytest.mark.parametrize("derived", DERIVED, ids=lambda derived: derived.__name__)
def test_no_override_is_missing_in_the_list(derived):
    """Guards against one more private method that is overridden and that nobody looks after."""
    for owner in (base for base in derived.__mro__ if base in INTERNALS):
        ours = derived.__mro__[: derived.__mro__.index(owner)]
        ours = [base for base in ours if base.__module__.startswith("modeling_clap_student")]
        overridden = {name for base in ours for name in vars(base) if hasattr(owner, name)}
        private = {name for name in overridden if name.startswith("_") and not name.startswith("__")}
        assert private - _SET_BY_PYTHON <= set(INTERNALS[owner]), owner


_SET_BY_PYTHON = {"_auto_class", "_abc_impl"}  # by register_for_auto_class and by abstract classes


def test_a_change_is_seen(monkeypatch):
    monkeypatch.setattr(Trainer, "_save_checkpoint", lambda self, model: None)
    with pytest.raises(AssertionError, match=r"_save_checkpoint takes \(self model\)"):
        check(Trainer, "_save_checkpoint", INTERNALS[Trainer]["_save_checkpoint"])
    monkeypatch.delattr(Trainer, "_save_checkpoint")
    with pytest.raises(AssertionError, match="has no _save_checkpoint any more"):
        check(Trainer, "_save_checkpoint", None)
