"""How a model came about: what its card tells, kept in its config so that it travels with the weights."""

import re

from transformers import TrainingArguments


# Of TrainingArguments, what does not touch the weights: where things go, and how often one looks.
_NO_HYPERPARAMETER = re.compile(
    r"output_dir|run_name|project|push_|hub_|log|report_|save_|eval_|do_|trackio|disable_tqdm|resume_|metric_for|"
    r"greater_is|license|ignore_data_skip|include_|label_names|debug|prediction_"
)


def hyperparameters(args: TrainingArguments) -> dict:
    """Every argument that can touch the weights; no token is among them."""
    values = args.to_sanitized_dict()
    return {name: values[name] for name in sorted(values) if not _NO_HYPERPARAMETER.match(name)}


def model_source(model) -> dict | None:
    """`{name, revision}` of the checkpoint that a model was loaded from; None for a new one."""
    name = model.config._name_or_path
    return {"name": name, "revision": getattr(model.config, "_commit_hash", None)} if name else None


__all__ = ["hyperparameters", "model_source"]
