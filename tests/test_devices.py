"""Tensors of a GPU through models and objective, without a GPU: torch's fake tensors know devices, and no values.

What meets a tensor of the processor fails here as it would there.
"""

from types import SimpleNamespace

import pytest
import torch
from conftest import RATE, tiny_clap, tiny_model
from torch._subclasses.fake_tensor import FakeTensorMode

from modeling_clap_student.checkpoints.inference import for_inference
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.curation.similarity_scan import _best, _floor_of
from modeling_clap_student.temporal.trainer import order_aware
from modeling_clap_student.training.augmentation import masked
from modeling_clap_student.training.distillation import Distillation
from modeling_clap_student.training.objective import global_loss


GPU, BATCH = torch.device("cuda:0"), 4


@pytest.fixture
def gpu():
    """A mode in which tensors on a GPU can be made."""
    return FakeTensorMode(allow_non_fake_inputs=True)


def move(model: torch.nn.Module) -> torch.nn.Module:
    """`model.to("cuda")`, which asks for the card itself."""
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, value in held.items():
                if value is not None:
                    moved = torch.empty(value.shape, dtype=value.dtype, device=GPU)
                    held[name] = (
                        torch.nn.Parameter(moved, value.requires_grad) if held is module._parameters else moved
                    )
    return model


def inputs() -> dict[str, torch.Tensor]:
    ids = torch.ones(BATCH, 8, dtype=torch.long, device=GPU)
    return {"input_values": torch.empty(BATCH, 2 * RATE, device=GPU), "input_ids": ids, "attention_mask": ids}


def of_ours(folder):
    return tiny_model()[0]


def that_hears_order(folder):
    return order_aware(*tiny_model(), "attention")


def of_transformers(folder):
    return load_checkpoint(tiny_clap(folder / "clap"))[0]


@pytest.mark.parametrize("make", [of_ours, that_hears_order, of_transformers])
def test_models_stay_on_their_device(make, gpu, tmp_path):
    """Guards against windows, masks, places and filters that are made on the processor."""
    model = make(tmp_path)
    copies = [model, for_inference(model), for_inference(model, torch.bfloat16)]
    for one in copies:
        assert one.front_end.window.device.type == "cpu"  # transformers' model makes it when it is first asked for
    with gpu:
        for one in copies:
            move(one)
            if "_front_end" in one.__dict__:
                move(one.__dict__["_front_end"])
            audio = inputs()["input_values"]
            assert one.get_audio_features(input_values=audio).pooler_output.device == GPU
        outputs = model(**inputs())
        assert {outputs.logits_per_audio.device, outputs.text_embeds.device} == {GPU}


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize("is_mixed", [False, True])
def test_the_objective_stays_on_its_device(taught, is_mixed, gpu, monkeypatch):
    """Guards against targets, keys and shares that are made on the processor."""
    # What is checked of values is taken as right: there are none.
    monkeypatch.setattr(torch.Tensor, "all", lambda tensor: True)
    monkeypatch.setattr(torch.Tensor, "any", lambda tensor: False)
    args = SimpleNamespace(soft_label_weight=0.3, soft_label_normalization="l1", soft_label_temperature=None)
    with gpu:

        def embeds(dim: int = 16) -> torch.Tensor:
            return torch.empty(BATCH, dim, device=GPU)

        number = torch.arange(BATCH, device=GPU)
        facts = {"audio_key": number, "caption_key": number}
        facts |= {"teacher_audio": embeds(24), "teacher_text": embeds(24)} if taught else {}
        facts |= {"partner": number, "own_share": embeds()[:, 0]} if is_mixed else {}
        distillation = Distillation(1.0, 16, 24, 0, GPU) if taught else None
        loss = global_loss(embeds(), embeds(), torch.empty(2, device=GPU), facts, args, distillation)
        assert loss.device == GPU and loss.shape == ()


def test_what_else_works_on_a_gpu_stays_there(gpu):
    """Guards against masks of spectrograms, and floors of a matching, that are made on the processor."""
    with gpu:
        assert masked(torch.empty(BATCH, 99, 64, device=GPU), 10, 5).device == GPU
        product = torch.empty(64, 128, dtype=torch.bfloat16, device=GPU)
        assert _floor_of(_best(product, None, 4), 4, 0.1).device == GPU


def test_another_device_is_seen(gpu):
    """Guards against fake tensors that no longer tell."""
    with gpu, pytest.raises(RuntimeError, match="device"):
        torch.empty(2, device=GPU) + torch.ones(2)
