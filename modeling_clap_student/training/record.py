"""The record of how a model was made: the content of its card, kept in its config so it travels with the weights."""

import re
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from ..card_clap_student import model_card
from ..errors import InputError
from ..hub_clap_student import fingerprint
from ..utils.outputs import whole_file


# Fields of TrainingArguments that do not affect the weights: where things go, and how often something is checked.
_NO_HYPERPARAMETER = re.compile(
    r"output_dir|run_name|project|push_|hub_|log|report_|save_|eval_|do_|trackio|disable_tqdm|resume_|metric_for|"
    r"greater_is|license|ignore_data_skip|include_|label_names|debug|prediction_"
)


def touches_weights(flag: str) -> bool:
    """Whether a flag can change what is learnt."""
    return not _NO_HYPERPARAMETER.match(flag)


def hyperparameters(args: TrainingArguments) -> dict:
    """Every argument that can affect the weights. There are no tokens among them."""
    values = args.to_sanitized_dict()
    return {name: values[name] for name in sorted(values) if touches_weights(name)}


def model_source(model) -> dict | None:
    """`{name, revision}` of the checkpoint that a model was loaded from; None for a new model."""
    name = model.config._name_or_path
    return {"name": name, "revision": getattr(model.config, "_commit_hash", None)} if name else None


class RecordMixin:
    """For a `Trainer`: a card made from the model's record, and a repository created at the start."""

    def init_hf_repo(self, *args, **kwargs) -> None:
        """As `Trainer.init_hf_repo`: creates the Hub repository before the training that needs it.

        Raises:
            InputError: no permission, or no connection.
        """
        try:
            super().init_hf_repo(*args, **kwargs)
        except Exception as error:  # the client's own errors, and those of its HTTP library
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"can't make the Hub repository {self.args.hub_model_id}: {reason}") from error

    def create_model_card(self, *args: Any, license: str | None = None, **kwargs: Any) -> None:
        """Writes README.md into the output folder from the model's record.

        Args:
            license: replaces the one in the arguments.
            args, kwargs: as in `Trainer`; not used, because the record knows more.
        """
        if self.is_world_process_zero():
            model, folder = self.accelerator.unwrap_model(self.model), Path(self.args.output_dir)
            record = {**(getattr(model.config, "record", None) or {}), "fingerprint": fingerprint(model)}
            model.config.record = record | ({"license": license} if license else {})
            with whole_file(folder / "config.json") as file:
                model.config.to_json_file(file)
            with whole_file(folder / "README.md") as file:
                model_card(self.args.hub_model_id or str(folder), model.config).save(file)
