"""A faster copy of a model for curation and evaluation. Its numbers are the same up to rounding."""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..modeling_clap_student import ClapStudentAudioModel, ClapStudentModel, ConvBlock, LogMelSpectrogram
from ..utils.precision import DTYPES
from .foreign import ForeignModel


@torch.no_grad()
def for_inference(model, dtype: str | torch.dtype = torch.float32):
    """A copy of a model for `embed_clips`, `embed_stream`, `embed_texts` and `encode_*`. The model is not changed.

    In the audio tower, batch norms are folded into the convolutions and images are channels-last. On a CPU, images
    stay small enough for its cache, and convolutions with many channels need fewer multiplications. A clip still gets
    the same vector, to the bit, whatever is beside it. The copy can't be trained or saved.

    Args:
        model: a `ClapStudentModel` on the device where it will work; any device is fine. Another model that
            `load_checkpoint` returned comes back unchanged, or as a copy if `dtype` is not its own.
        dtype: float32 or bfloat16, for the convolutions and the text tower. The spectrogram, the pooled hidden state
            and the audio projection always use float32. `usable_dtype` chooses.

    Raises:
        ValueError: another dtype.
    """
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype}")
    dtype = getattr(torch, name)
    if isinstance(model, ForeignModel):
        return model if model.dtype == dtype else model.computing_in(dtype)
    if not isinstance(model, ClapStudentModel):
        return model if model.dtype == dtype else copy.deepcopy(model).to(dtype)
    tower = model.audio_model
    # deepcopy takes what is in its memo as already copied. So the copy gets the new tower in place of the old one.
    fast = copy.deepcopy(model, {id(tower): InferenceAudioModel(tower, dtype)})
    fast.text_model.to(dtype)
    fast.text_pooling.to(dtype)
    fast.text_projection.to(dtype)
    fast.audio_projection.float()
    fast.save_pretrained = _refuse_to_save
    return fast.eval().requires_grad_(False)


def _refuse_to_save(*_, **__):
    raise TypeError("a copy for inference has no checkpoint: save the model that it was made of")


class InferenceAudioModel(ClapStudentAudioModel):
    """CNN14 for embedding waveforms. `for_inference` describes the differences; the convolutions use `dtype`."""

    def __init__(self, tower: ClapStudentAudioModel, dtype: torch.dtype):
        super(ClapStudentAudioModel, self).__init__(tower.config)  # without building a tower
        on_cpu = tower.device.type == "cpu"
        self.convolution_dtype = dtype
        self.front_end = InferenceLogMel(tower.front_end)
        scale, shift = _as_scale_and_shift(tower.bn0)
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", shift.float())
        self.blocks = nn.ModuleList()
        for number, block in enumerate(tower.blocks):
            tile = _winograd_tile(number, dtype) if on_cpu else None
            self.blocks.append(InferenceConvBlock(block, dtype, tile))
        # The first blocks' images are large. A few clips at a time stay near the caches and reuse each other's memory.
        self.early_blocks = 3 if on_cpu else 0
        self.hidden_dropout = nn.Identity()
        self.pooling = copy.deepcopy(tower.pooling).float()
        self.fc1 = copy.deepcopy(tower.fc1).float()

    def frames(self, input_features: Tensor) -> Tensor:
        """As `ClapStudentAudioModel.frames`; always float32, like everything after it."""
        # bn0 can't be folded into the first convolution. That convolution pads bn0's output with zeros, and a zero
        # before bn0 is another number after it.
        images = (input_features.float() * self.scale + self.shift).to(self.convolution_dtype).unsqueeze(1)
        early, late = self.blocks[: self.early_blocks], self.blocks[self.early_blocks :]
        if early:
            # All parts have one size: with another number of rows, the same clip might be summed in another order.
            size = math.gcd(len(images), 8 // self.convolution_dtype.itemsize)
            images = torch.cat([_through(early, part) for part in images.split(size)])
        return _through(late, images).mean(dim=3, dtype=torch.float32).transpose(1, 2)


def _through(blocks: nn.ModuleList, images: Tensor) -> Tensor:
    for block in blocks:
        images = block(images)
    return images


def _winograd_tile(block: int, dtype: torch.dtype) -> tuple[int, int] | None:
    """The tile, frames × bins, where Winograd's convolutions pay on a CPU; None for direct convolutions.

    bfloat16 multiplies in matrix units and has few bits to lose. There only the narrow images of the last block pay.
    """
    if dtype == torch.float32:
        return (4, 2) if block >= 3 else None
    return (2, 2) if block == 5 else None


class InferenceConvBlock(nn.Module):
    """A `ConvBlock` with its batch norms folded into its convolutions."""

    def __init__(self, block: ConvBlock, dtype: torch.dtype, tile: tuple[int, int] | None):
        super().__init__()
        self.conv1 = _folded(block.conv1, block.bn1, dtype, tile)
        self.conv2 = _folded(block.conv2, block.bn2, dtype, tile)
        self.pool = block.pool

    def forward(self, images: Tensor) -> Tensor:
        images = F.relu_(self.conv2(F.relu_(self.conv1(images))))
        return F.avg_pool2d(images, self.pool) if self.pool > 1 else images


def _folded(conv: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype, tile: tuple[int, int] | None) -> nn.Module:
    """One convolution that replaces a convolution and its batch norm; computed in float64."""
    scale, shift = _as_scale_and_shift(norm)
    weight = conv.weight.double() * scale[:, None, None, None]
    if tile is not None:
        return WinogradConv(weight, shift, tile, dtype)
    folded = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, device="meta")
    folded.weight = nn.Parameter(weight.to(dtype).contiguous(memory_format=torch.channels_last))
    folded.bias = nn.Parameter(shift.to(dtype))
    return folded


def _as_scale_and_shift(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """A batch norm in eval mode is x * scale + shift; both float64."""
    scale = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return scale, norm.bias.detach().double() - norm.running_mean.double() * scale


class InferenceLogMel(LogMelSpectrogram):
    """The same spectrogram with fewer passes over memory; on a CPU one clip at a time.

    Frequencies above the highest mel filter are left out. The matrix product also sums a bin's two squares: it holds
    each row of the mel matrix twice, for the real and for the imaginary part.
    """

    def __init__(self, front_end: LogMelSpectrogram):
        super().__init__(front_end.config)
        self.window = front_end.window.detach().float().clone()
        filters = front_end.mel_filters.detach().float()
        rows = filters.any(dim=1).nonzero()
        filters = filters[: int(rows.max()) + 1] if len(rows) else front_end.mel_filters
        self.mel_filters = filters.repeat_interleave(2, dim=0)

    def forward(self, input_values: Tensor) -> Tensor:
        with torch.autocast(input_values.device.type, enabled=False):
            waveforms = input_values.float()
            if waveforms.device.type != "cpu":
                return self._decibels(waveforms)
            return torch.cat([self._decibels(waveform) for waveform in waveforms.split(1)])

    def _decibels(self, waveforms: Tensor) -> Tensor:
        """(batch, samples) -> (batch, frames, mel bins)."""
        config = self.config
        padded = F.pad(waveforms.unsqueeze(1), (config.n_fft // 2,) * 2, mode="reflect").squeeze(1)
        spectrum = torch.fft.rfft(padded.unfold(1, config.n_fft, config.hop_length) * self.window)
        parts = torch.view_as_real(spectrum).flatten(2)[..., : len(self.mel_filters)]  # real, imaginary, real, ...
        return (parts.square() @ self.mel_filters).clamp_(min=1e-10).log10_().mul_(10)


# Lavin & Gray's matrices for output tiles of 2 or 4: for the input, for the kernel, for the output.
_INPUT = {
    2: [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    4: [[4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]],
}  # fmt: skip
_KERNEL = {
    2: [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    4: [[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]],
}  # fmt: skip
_OUTPUT = {
    2: [[1, 1, 1, 0], [0, 1, -1, -1]],
    4: [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
}


class WinogradConv(nn.Module):
    """A 3 × 3 convolution, stride 1, padding 1, by Winograd's minimal filtering: the same sums in another order.

    For each input and channel of a tile, (tile + 2) × (tile + 2) of them, there is one multiplication, instead of nine
    for each output: 2.25 times fewer at 2 × 2, three times at 4 × 2. The products are plain matrix products with one
    row per tile. So they stay fast where an image is two pixels wide, where direct convolutions are slow on CPUs. The
    price is two copies of the image, so it pays only for many channels.

    Source: Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308. In float32 it rounds
    about as a direct convolution does. In bfloat16 a tile of 2 × 2 doubles the rounding error, and 4 × 2 makes
    it four times as large.

    `weight` is (out channels, in channels, 3, 3). `tile` is height and width, 2 or 4 each. `dtype` is the type of the
    inputs, the outputs and the stored kernels, which are transformed in float64.
    """

    def __init__(self, weight: Tensor, bias: Tensor, tile: tuple[int, int], dtype: torch.dtype):
        super().__init__()
        high, wide = tile
        self.tile = tile

        def matrix(rows: list) -> Tensor:
            return torch.tensor(rows, dtype=torch.float64, device=weight.device)

        vertical, horizontal = matrix(_KERNEL[high]), matrix(_KERNEL[wide])
        kernels = torch.einsum("ai,ocij,bj->abco", vertical, weight.detach().double(), horizontal)
        self.register_buffer("kernels", kernels.flatten(0, 1).to(dtype).contiguous())  # (points, in, out channels)
        self.register_buffer("bias", bias.detach().to(dtype))
        self.register_buffer("to_points", torch.kron(matrix(_INPUT[high]), matrix(_INPUT[wide])).to(dtype))
        self.register_buffer("from_points", torch.kron(matrix(_OUTPUT[high]), matrix(_OUTPUT[wide])).to(dtype))

    def forward(self, image: Tensor) -> Tensor:
        """(batch, in channels, height, width) -> (batch, out channels, height, width), channels last in memory."""
        batch, channels, height, width = image.shape
        high, wide = self.tile
        rows, columns = -(-height // high), -(-width // wide)
        image = F.pad(image.permute(0, 2, 3, 1), (0, 0, 1, columns * wide + 1 - width, 1, rows * high + 1 - height))
        patches = image.unfold(1, high + 2, high).unfold(2, wide + 2, wide).permute(4, 5, 0, 1, 2, 3)
        points = len(self.to_points)
        image = (self.to_points @ patches.reshape(points, -1)).view(points, -1, channels)
        image = torch.bmm(image, self.kernels)  # (points, tiles, out channels)
        image = (self.from_points @ image.view(points, -1)).view(high, wide, batch, rows, columns, -1)
        image = image.permute(2, 3, 0, 4, 1, 5).reshape(batch, rows * high, columns * wide, -1)
        return (image[:, :height, :width] + self.bias).permute(0, 3, 1, 2)
