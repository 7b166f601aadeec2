"""Opening checkpoints of this package, and telling two of them apart."""

import hashlib
import re
from pathlib import Path

import torch
from transformers import AutoConfig, AutoProcessor

from .errors import InputError
from .modeling_clap_student import ClapStudentModel
from .processing_clap_student import ClapStudentProcessor


def load_checkpoint(name: str | Path) -> tuple[ClapStudentModel, ClapStudentProcessor]:
    """Loads a model, in eval mode, and its processor.

    Args:
        name: a folder that `save_pretrained` or a command of this package wrote, or a Hub id.

    Raises:
        InputError: nothing there, another model type, or files missing.
    """
    is_hub_id = re.fullmatch(r"[\w-][\w.-]*(/[\w.-]+)?", str(name))
    if not is_hub_id and not Path(name).is_dir():
        raise InputError(f"no such checkpoint folder: {name} (run_teacher.py makes one)")
    try:
        kind = AutoConfig.from_pretrained(name).model_type
        if kind != "clap_student":
            raise InputError(f"{name} is a {kind!r} checkpoint, and a 'clap_student' one is needed")
        return ClapStudentModel.from_pretrained(name).eval(), AutoProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"can't load a checkpoint from {name}: {str(error).splitlines()[0]}") from error


def fingerprint(model: ClapStudentModel) -> str:
    """A digest of all weights and buffers: equal for equal models, wherever they are stored."""
    digest = hashlib.blake2b(digest_size=16)
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


__all__ = ["fingerprint", "load_checkpoint"]
