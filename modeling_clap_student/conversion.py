"""`convert_msclap_checkpoint` and `convert_panns_checkpoint`, under the module name that users import."""

from .checkpoints.conversion import Conversion, convert_msclap_checkpoint, convert_panns_checkpoint, load_audio_tower


__all__ = ["Conversion", "convert_msclap_checkpoint", "convert_panns_checkpoint", "load_audio_tower"]
