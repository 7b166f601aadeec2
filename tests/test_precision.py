"""Less memory, the same numbers: attention, recomputed activations, half precision."""

import pytest
import torch
import torch.nn.functional as F
from conftest import CAPTIONS, WITH_BFLOAT16, WITHOUT_BFLOAT16, settle, tones, with_bfloat16

from modeling_clap_student import ClapStudentModel, ClapStudentTrainingArguments
from modeling_clap_student.utils import precision
from modeling_clap_student.utils.precision import NO_BFLOAT16, supports_bfloat16, usable_dtype


@pytest.fixture
def inputs(tiny):
    tokens = tiny[1].tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    return {"input_values": tones(4, 60000), **tokens}


def test_attention_is_torchs_and_equals_the_plain_one(tiny, tiny_folder, inputs, monkeypatch):
    """Guards against a text tower that holds all attention weights in memory, or whose mask means another thing."""
    calls = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *args, **kw: calls.append(1) or fused(*args, **kw))
    embeds = []
    for implementation, expected_calls in ((None, 1), ("eager", 0)):
        model = ClapStudentModel.from_pretrained(tiny_folder, attn_implementation=implementation)
        for config in (model.config, model.text_model.config):
            assert config._attn_implementation == (implementation or "sdpa")
        calls.clear()
        with torch.no_grad():
            embeds.append(model(**inputs).text_embeds)
        assert len(calls) == expected_calls  # one layer
    torch.testing.assert_close(embeds[0], embeds[1], atol=1e-5, rtol=0)
    padded = inputs["attention_mask"].sum(dim=1).argmin()
    length = inputs["attention_mask"][padded].sum()
    assert length < inputs["input_ids"].shape[1]
    with torch.no_grad():
        alone = tiny[0].get_text_features(inputs["input_ids"][padded, None, :length]).pooler_output[0]
    torch.testing.assert_close(embeds[0][padded], alone, atol=1e-5, rtol=0)


def test_gradient_checkpointing_recomputes_and_changes_no_gradient(tiny, inputs):
    """Guards against a switch that is refused, does nothing, or changes what is learnt."""
    model = tiny[0].train()
    calls = []
    model.text_model.encoder.layer[0].attention.register_forward_hook(lambda *_: calls.append(1))

    def gradients():
        calls.clear()
        model.zero_grad()
        model(**inputs, return_loss=True).loss.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    plain = gradients()
    assert len(calls) == 1
    model.gradient_checkpointing_enable()
    recomputed = gradients()
    assert len(calls) == 2
    assert plain.keys() == recomputed.keys() and any(grad.abs().max() > 0 for grad in plain.values())
    torch.testing.assert_close(recomputed, plain)


def test_audio_model_alone_refuses_gradient_checkpointing(tiny):
    """Guards against a tower that takes the switch and recomputes nothing."""
    with pytest.raises(ValueError, match="does not support"):
        tiny[0].audio_model.gradient_checkpointing_enable()


def test_bfloat16_is_close_and_learns(tiny, tiny_folder, inputs):
    """Guards against embeddings that half precision ruins, a front end that it reaches, and losses it can't follow."""
    settle(tiny[0]).save_pretrained(tiny_folder)
    model = ClapStudentModel.from_pretrained(tiny_folder, dtype="bfloat16").eval()
    assert {buffer.dtype for buffer in model.audio_model.front_end.buffers()} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    with torch.no_grad():
        full, half = tiny[0](**inputs), model(**inputs)
    for name in ("audio_embeds", "text_embeds"):
        expected, got = full[name], half[name].float()
        cosine = F.cosine_similarity(expected, got).min()
        print(f"{name}: cosine {cosine:.6f}, largest difference {(expected - got).abs().max():.4f}")
        assert got.isfinite().all() and cosine > 0.99
        assert (expected @ expected.T).fill_diagonal_(0).max() < 0.99  # no other clip or caption is as close
    torch.testing.assert_close(half.logits_per_audio.float(), full.logits_per_audio, atol=0.2, rtol=0)
    model.train()(**inputs, return_loss=True).loss.backward()
    for tower in (model.audio_model, model.text_model, model.audio_projection, model.text_projection):
        assert all(parameter.grad.isfinite().all() for parameter in tower.parameters())
        assert any(parameter.grad.abs().max() > 0 for parameter in tower.parameters())


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (WITH_BFLOAT16, True),
        (WITHOUT_BFLOAT16, False),
        ("flags\t\t: fpu avx2 amx_tile amx_bf16 amx_int8\n", True),
        ("flags\t\t: fpu avx512f avx512bw avx512vl avx512_vnni\n", False),
        ("processor\t: 0\nFeatures\t: fp asimd aes sha2 bf16 i8mm\nCPU implementer\t: 0x41\n", True),
        ("processor\t: 0\nFeatures\t: fp asimd aes sha2\n", False),
        (WITH_BFLOAT16 + WITHOUT_BFLOAT16, False),  # cores of two kinds
        ("model name\t: says bf16 and avx512_bf16\n", False),
        ("", False),
    ],
)
def test_processors_that_have_bfloat16(tmp_path, monkeypatch, cpuinfo, expected):
    """Guards against a name that only looks like the instruction's, and Arm's lines being read as Intel's."""
    with_bfloat16(tmp_path, monkeypatch, cpuinfo)
    assert supports_bfloat16() is expected


def test_processors_where_nothing_tells_the_instructions(tmp_path, monkeypatch):
    """On other systems torch is asked."""
    monkeypatch.setattr(precision, "_CPUINFO", tmp_path / "missing")
    for known, expected in (({"avx512_bf16": True}, True), ({"avx2": True, "amx_bf16": False}, False), ({}, False)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert supports_bfloat16() is expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert supports_bfloat16() is False


@pytest.mark.parametrize("has", [True, False])
def test_what_dtype_means(tmp_path, monkeypatch, has):
    """Guards against results of --dtype auto that depend on the CPU."""
    with_bfloat16(tmp_path, monkeypatch, WITH_BFLOAT16 if has else WITHOUT_BFLOAT16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has)
    assert usable_dtype("auto", "cpu") == usable_dtype("float32", "cpu") == "float32"
    for dtype, device in (("auto", "cuda"), ("bfloat16", "cuda"), ("bfloat16", "cpu")):
        assert usable_dtype(dtype, device) == ("bfloat16" if has else "float32")


@pytest.mark.parametrize("asked", ["flag", "launcher"])
@pytest.mark.parametrize("has", [True, False])
def test_training_in_bfloat16_needs_its_instructions(tmp_path, monkeypatch, capsys, asked, has):
    """Guards against --bf16, or the launcher's --mixed_precision, that makes a step ten times as slow."""
    with_bfloat16(tmp_path, monkeypatch, WITH_BFLOAT16 if has else WITHOUT_BFLOAT16)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16" if asked == "launcher" else "no")
    args = ClapStudentTrainingArguments(str(tmp_path), use_cpu=True, bf16=asked == "flag")
    assert args.mixed_precision == ("bf16" if has else "no") and args.bf16 is (has and asked == "flag")
    assert capsys.readouterr().out.count(NO_BFLOAT16) == (not has)
