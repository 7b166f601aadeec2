"""A CLAP that is about to learn the order of sounds: which pooling, how long a window, what learns."""

import copy

from torch import nn

from ..modeling_clap_student import ClapStudentModel
from ..processing_clap_student import ClapStudentProcessor
from .scenes import SECONDS


def order_aware(model: ClapStudentModel, processor: ClapStudentProcessor, pooling: str) -> ClapStudentModel:
    """A copy of a model whose poolings, of frames and of tokens, may tell order, and which hears whole scenes at once.

    Its vectors are the model's own at first, for windows of the same length: what a new pooling adds starts at 0.

    Args:
        model: with CLAP's pooling, or one that is order-aware already.
        processor: its own; the copy has another, whose windows are as long as a scene.
        pooling: `attention`, or `mean_max` to leave the poolings as they are.
    """
    config = copy.deepcopy(model.config)
    if pooling == "attention":
        config.audio_config.temporal_pooling = config.text_pooling = pooling
    aware = ClapStudentModel(config)
    missing = aware.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert all(name.startswith(_POOLINGS) for name in missing), missing
    aware.processor = copy.deepcopy(processor)
    aware.processor.feature_extractor.window_seconds = SECONDS
    return aware.train(model.training)


_POOLINGS = ("audio_model.pooling.", "text_pooling.")


def _above_encoders(name: str) -> bool:
    """Whether a parameter lies above a tower's layers: it learns at the full rate."""
    return name.startswith((*_POOLINGS, "audio_model.fc1.", "audio_projection.", "text_projection.", "logit_scale"))


def learning_rates(model: nn.Module, learning_rate: float, encoder_learning_rate: float) -> dict[str, float]:
    """name of each parameter -> its learning rate."""
    return {
        name: learning_rate if _above_encoders(name) else encoder_learning_rate for name, _ in model.named_parameters()
    }


def choose_what_learns(
    model: ClapStudentModel, frozen_pooling: bool, freeze_audio_encoder: bool, freeze_text_encoder: bool = False
) -> None:
    """Stops weights from learning.

    Args:
        model: all of whose weights learn.
        frozen_pooling: the authors' choice: only what lies behind the pooling learns (`fc1`, the projections), and the
            text tower's last layer.
        freeze_audio_encoder: the convolutions do not learn.
        freeze_text_encoder: nor does the text tower.
    """
    frozen = ["audio_model.bn0.", "audio_model.blocks."] if freeze_audio_encoder else []
    frozen += ["text_model."] if freeze_text_encoder else []
    last = f"text_model.encoder.layer.{model.config.text_config.num_hidden_layers - 1}."
    for name, parameter in model.named_parameters():
        if frozen_pooling:
            behind = _above_encoders(name) and not name.startswith((*_POOLINGS, "logit_scale"))
            parameter.requires_grad_(behind or name.startswith(last))
        elif name.startswith(tuple(frozen)):
            parameter.requires_grad_(False)


__all__ = ["choose_what_learns", "learning_rates", "order_aware"]
