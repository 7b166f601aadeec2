"""Records what Microsoft's own CLAP 2022 makes of the recipe's weights and inputs: `msclap_golden.npz`.

    python3.11 -m venv reference && . reference/bin/activate
    pip install torch==2.14.1 torchaudio==2.11.0 transformers==5.23.0 soundfile==0.14.0 numpy==2.4.6 pyyaml
    pip install librosa==0.11.0
    pip install --no-deps msclap==1.3.4 torchlibrosa==0.1.0   # msclap itself asks for older numpy and transformers
    python tests/reference/record_msclap.py

Needs no network, four gigabytes of memory and half a minute on two cores. The reference is the one of `msclap`, built
from the package's own `config_2022.yml` and driven through its `CLAPWrapper`. It takes the recipe's weights strictly,
but keeps the STFT kernels and the mel matrix that torchlibrosa made; they must equal the recipe's. Two things are put
in place of what would need a network or FFmpeg: BERT is built from its configuration, files are read by soundfile.

What is in the file, all float32, thinned by the recipe's `thin_log_mel` and `thin_embeds`:

    log_mel/NAME           decibels of each of the recipe's `inputs()`, float32 arithmetic
    log_mel_float64/NAME   the same by the same module in float64
    audio_embeds           (6, 128), the `inputs()` in their order, each at its own length, L2-normalised
    text_embeds            (3, 128), the `token_batches()`, L2-normalised
    logits_per_audio       (6, 3), scaled cosines
    loader_embeds          (1, 128), "0.3 s" written to a file and embedded by the reference's loader
    panns_32k, panns_16k   (2, 256), "5 s" and "tone" by Cnn14 on PANNs' front ends, before `fc_audioset`, as they are
"""

import tempfile
from pathlib import Path
from unittest import mock

import msclap
import numpy as np
import recipe
import soundfile
import torch
import torch.nn.functional as F
import torchaudio
from msclap.CLAPWrapper import CLAPWrapper
from msclap.models.audio import Cnn14
from msclap.models.clap import CLAP
from transformers import BertConfig, BertModel


FRONT_END_KEYS = (recipe.REAL_KEY, recipe.IMAG_KEY, recipe.MEL_KEY)
PANNS_INPUTS = ("5 s", "tone")


def build_wrapper() -> CLAPWrapper:
    """The reference's wrapper around a CLAP 2022 with the recipe's weights."""
    wrapper = CLAPWrapper.__new__(CLAPWrapper)  # its __init__ downloads the weights
    wrapper.use_cuda = False
    wrapper.args = wrapper.read_config_as_args(Path(msclap.__file__).parent / "configs" / "config_2022.yml")
    args = wrapper.args
    with mock.patch("msclap.models.clap.AutoModel.from_pretrained", lambda name: BertModel(BertConfig())):
        wrapper.clap = CLAP(
            args.audioenc_name,
            args.sampling_rate,
            args.window_size,
            args.hop_size,
            args.mel_bins,
            args.fmin,
            args.fmax,
            args.num_classes,
            args.out_emb,
            args.text_model,
            args.transformer_embed_dim,
            args.d_proj,
        )
    load(wrapper.clap, recipe.clap_shapes(), recipe.CLAP_FRONT_END)
    return wrapper


def build_panns(front_end: dict) -> Cnn14:
    """Cnn14 as PANNs trained it, with the recipe's weights."""
    cnn14 = Cnn14(
        sample_rate=front_end["sampling_rate"],
        window_size=front_end["n_fft"],
        hop_size=front_end["hop_length"],
        mel_bins=front_end["num_mel_bins"],
        fmin=front_end["min_frequency"],
        fmax=front_end["max_frequency"],
        classes_num=recipe.AUDIOSET_CLASSES,
        out_emb=recipe.AUDIO_DIM,
    )
    load(cnn14, recipe.cnn14_shapes(front_end), front_end)
    return cnn14


def load(model: torch.nn.Module, shapes: dict, front_end: dict):
    """Gives the recipe's weights to a reference model, which must have just these names and shapes."""
    own = model.state_dict()
    assert {key: tuple(value.shape) for key, value in own.items()} == shapes
    weights = {key: torch.from_numpy(value) for key, value in recipe.random_weights(shapes, front_end).items()}
    for key in shapes:
        if key.endswith(FRONT_END_KEYS):
            difference = (own[key] - weights[key]).abs().max().item()
            print(f"{key}: within {difference:.1e} of the recipe, largest entry {own[key].abs().max():.3f}")
            assert difference < 1e-6 * own[key].abs().max()
            weights[key] = own[key]
    model.load_state_dict(weights, strict=True, assign=True)
    model.eval()


def log_mel(cnn14: Cnn14, waveform: torch.Tensor) -> torch.Tensor:
    """(1, samples) -> (frames, mel bins), decibels."""
    return cnn14.logmel_extractor(cnn14.spectrogram_extractor(waveform))[0, 0]


def load_by_soundfile(path) -> tuple[torch.Tensor, int]:
    """What torchaudio.load returns: (channels, samples) in [-1, 1], and the rate."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def embed_file(wrapper: CLAPWrapper, waveform: np.ndarray) -> torch.Tensor:
    """(1, dim), not normalised: the waveform in a file, read, repeated to five seconds and embedded."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(torchaudio, "load", load_by_soundfile):
        path = Path(folder) / "clip.wav"
        soundfile.write(path, waveform, recipe.CLAP_FRONT_END["sampling_rate"], subtype="FLOAT")
        return wrapper.get_audio_embeddings([path])


def embed_text(wrapper: CLAPWrapper, tokens: dict[str, np.ndarray]) -> torch.Tensor:
    """(1, dim), not normalised; as the wrapper does it, with token types."""
    tokens = {name: torch.from_numpy(values) for name, values in tokens.items()}
    return wrapper._get_text_embeddings({**tokens, "token_type_ids": torch.zeros_like(tokens["input_ids"])})


def record_clap(wrapper: CLAPWrapper, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """Everything about CLAP, not thinned, by the reference in this dtype."""
    wrapper.clap.to(dtype)
    waveforms = {name: torch.from_numpy(waveform).to(dtype)[None] for name, waveform in recipe.inputs().items()}
    audio = torch.cat([wrapper._get_audio_embeddings(waveform[None]) for waveform in waveforms.values()])
    text = torch.cat([embed_text(wrapper, tokens) for tokens in recipe.token_batches()])
    cnn14 = wrapper.clap.audio_encoder.base
    return {
        **{f"log_mel/{name}": log_mel(cnn14, waveform) for name, waveform in waveforms.items()},
        "audio_embeds": F.normalize(audio, dim=-1),
        "text_embeds": F.normalize(text, dim=-1),
        "logits_per_audio": wrapper.compute_similarity(audio, text),
    }


def record_panns(front_end: dict) -> torch.Tensor:
    """(2, 2048): the same samples, taken as a recording at this front end's rate."""
    cnn14, waveforms = build_panns(front_end), recipe.inputs()
    return torch.cat([cnn14(torch.from_numpy(waveforms[name])[None])["embedding"] for name in PANNS_INPUTS])


def thin(name: str, values: torch.Tensor) -> np.ndarray:
    """What is kept of an output."""
    if name.startswith("log_mel"):
        values = recipe.thin_log_mel(values)
    elif name != "logits_per_audio":
        values = recipe.thin_embeds(values)
    return np.ascontiguousarray(values.numpy(), dtype=np.float32)


def print_table(outputs: dict[str, torch.Tensor], exact: dict[str, torch.Tensor], golden: dict[str, np.ndarray]):
    """What was recorded, and how far float32 arithmetic is from float64."""
    for name, kept in golden.items():
        line = f"{name:28} {kept.shape!s:10} {kept.min():9.4f} ... {kept.max():9.4f}"
        if name in exact:
            line += f"   float64 differs by {(outputs[name] - exact[name]).abs().max():.1e}"
        print(line)
    for name in ("audio_embeds", "text_embeds"):
        print(f"cosines of {name}:\n{(outputs[name] @ outputs[name].T).numpy().round(4)}")


@torch.inference_mode()
def main():
    wrapper = build_wrapper()
    outputs = record_clap(wrapper)
    outputs["loader_embeds"] = F.normalize(embed_file(wrapper, recipe.inputs()["0.3 s"]), dim=-1)
    exact = record_clap(wrapper, torch.float64)
    del wrapper
    outputs["panns_32k"] = record_panns(recipe.PANNS_32K_FRONT_END)
    outputs["panns_16k"] = record_panns(recipe.PANNS_16K_FRONT_END)
    golden = {name: thin(name, values) for name, values in outputs.items()}
    for name in recipe.inputs():
        golden[f"log_mel_float64/{name}"] = thin("log_mel", exact[f"log_mel/{name}"])
    path = Path(__file__).with_name("msclap_golden.npz")
    np.savez_compressed(path, **golden)
    print_table(outputs, exact, golden)
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
