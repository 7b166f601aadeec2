"""Which weights learn, and how fast: frozen towers, and learning rates that fall with the depth of a layer."""

import re

from torch import nn


_LAYER = re.compile(r"(?:blocks|encoder\.layer)\.(\d+)\.")


def freeze(model: nn.Module, audio_encoder: bool, text_encoder: bool) -> list[nn.Module]:
    """Stops the towers named from learning; their projections learn on.

    Returns:
        the towers, which must stay in eval mode: batch norms would learn without gradients.
    """
    frozen = [tower for tower, yes in ((model.audio_model, audio_encoder), (model.text_model, text_encoder)) if yes]
    for tower in frozen:
        tower.requires_grad_(False)
    return frozen


def parameter_groups(
    model: nn.Module, learning_rate: float, weight_decay: float, decayed: set[str], layer_decay: float
) -> list[dict]:
    """Groups for an optimiser: a layer's learning rate is `learning_rate · layer_decay ** depth`.

    The projections and the logit scale have depth 0; a tower's last layer (with CNN14's fc1) has depth 1, and so on
    down to its input. Source: discriminative fine-tuning, Howard and Ruder 2018, arXiv 1801.06146, section 3.2.

    Args:
        model: a `ClapStudentModel`.
        learning_rate: of depth 0.
        weight_decay: of the parameters `decayed`.
        decayed: names.
        layer_decay: in (0, 1].
    """
    layers = {"audio_model": len(model.audio_model.blocks), "text_model": model.config.text_config.num_hidden_layers}
    rates = {name: learning_rate * layer_decay ** _depth(name, layers) for name, _ in model.named_parameters()}
    return groups_by_rate(model, rates, weight_decay, decayed)


def groups_by_rate(model: nn.Module, rates: dict[str, float], weight_decay: float, decayed: set[str]) -> list[dict]:
    """Groups for an optimiser, the fastest first: parameters that learn, by their learning rate.

    Args:
        model: whose parameters they are.
        rates: name of each parameter -> its learning rate.
        weight_decay: of the parameters `decayed`.
        decayed: names.
    """
    groups: dict[tuple[float, bool], dict] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate, decays = rates[name], name in decayed
            settings = {"lr": rate, "weight_decay": weight_decay if decays else 0.0}
            groups.setdefault((-rate, decays), {"params": [], **settings})["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _depth(name: str, layers: dict[str, int]) -> int:
    """0 at the top."""
    tower = name.partition(".")[0]
    if tower not in layers:
        return 0
    layer = _LAYER.search(name)
    if layer is not None:
        return layers[tower] - int(layer[1])
    return 1 if ".fc1." in name else layers[tower] + 1


__all__ = ["freeze", "groups_by_rate", "parameter_groups"]
