"""How a model came about: what its card tells, kept in its config so that it travels with the weights."""

import re
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from ..card_clap_student import model_card
from ..errors import InputError
from ..hub_clap_student import fingerprint
from ..utils.outputs import whole_file


# Of TrainingArguments, what does not touch the weights: where things go, and how often one looks.
_NO_HYPERPARAMETER = re.compile(
    r"output_dir|run_name|project|push_|hub_|log|report_|save_|eval_|do_|trackio|disable_tqdm|resume_|metric_for|"
    r"greater_is|license|ignore_data_skip|include_|label_names|debug|prediction_"
)


def touches_weights(flag: str) -> bool:
    """Whether a flag can change what is learnt."""
    return not _NO_HYPERPARAMETER.match(flag)


def hyperparameters(args: TrainingArguments) -> dict:
    """Every argument that can touch the weights; no token is among them."""
    values = args.to_sanitized_dict()
    return {name: values[name] for name in sorted(values) if touches_weights(name)}


def model_source(model) -> dict | None:
    """`{name, revision}` of the checkpoint that a model was loaded from; None for a new one."""
    name = model.config._name_or_path
    return {"name": name, "revision": getattr(model.config, "_commit_hash", None)} if name else None


class RecordMixin:
    """For a `Trainer`: a card that tells what the model's record holds, and a repository made at the start."""

    def init_hf_repo(self, *args, **kwargs) -> None:
        """As `Trainer.init_hf_repo`: the Hub repository is made before the training that it is for.

        Raises:
            InputError: no right to, or no connection.
        """
        try:
            super().init_hf_repo(*args, **kwargs)
        except Exception as error:  # the client's own errors, and those of whichever HTTP library it uses
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"can't make the Hub repository {self.args.hub_model_id}: {reason}") from error

    def create_model_card(self, *args: Any, license: str | None = None, **kwargs: Any) -> None:
        """Writes README.md into the output folder from the model's record.

        Args:
            license: instead of the one in the arguments.
            args, kwargs: as in `Trainer`; the record tells better.
        """
        if self.is_world_process_zero():
            model, folder = self.accelerator.unwrap_model(self.model), Path(self.args.output_dir)
            record = {**(getattr(model.config, "record", None) or {}), "fingerprint": fingerprint(model)}
            model.config.record = record | ({"license": license} if license else {})
            with whole_file(folder / "config.json") as file:
                model.config.to_json_file(file)
            with whole_file(folder / "README.md") as file:
                model_card(self.args.hub_model_id or str(folder), model.config).save(file)
