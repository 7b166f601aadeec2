"""Checks that the card computes the same as the processor and float64: embeddings, losses, gradients, and a chain."""

import copy

import torch
import torch.nn.functional as F
from gpu.card import float32_products
from gpu.chain import run_chain
from gpu.hard_pairs import CASES, brute_force
from gpu.models import student_and_teacher, tokenizer_and_texts, waveforms
from gpu.record import Record, Setting, part
from torch import Tensor
from training_step import Ours, Plain, on_device, prepare, rows

from modeling_clap_student.checkpoints.embedding import text_vectors
from modeling_clap_student.checkpoints.inference import for_inference
from modeling_clap_student.curation.matching import match
from modeling_clap_student.encoding_clap_student import embed_windows
from modeling_clap_student.losses import (
    NORMALIZATIONS,
    contrastive_loss,
    soft_contrastive_loss,
    soft_targets,
    temporal_contrastive_loss,
)
from modeling_clap_student.temporal_pooling_clap_student import OrderHead
from modeling_clap_student.training.gradient_cache import CachedGradient, _random_states


def largest(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference of two tensors on any devices."""
    return float((ours.detach().cpu().double() - theirs.detach().cpu().double()).abs().max())


def cosine(ours: Tensor, theirs: Tensor) -> float:
    """The lowest cosine of their rows."""
    return float(F.cosine_similarity(ours.detach().cpu().double(), theirs.detach().cpu().double(), dim=-1).min())


@torch.no_grad()
def embed_audio(record: Record, setting: Setting) -> None:
    """Embeddings of clips."""
    model, heard = student_and_teacher(setting)[0].eval(), waveforms(setting, setting.size(16, 4))
    there = copy.deepcopy(model).to(setting.device)
    spectrograms = model.log_mel(heard)
    expected = model.get_audio_features(input_features=spectrograms).pooler_output
    fast = {dtype: for_inference(there, dtype) for dtype in (torch.float32, torch.bfloat16)}
    heard = heard.to(setting.device)
    with float32_products("ieee"):
        record.check("spectrogram, dB apart", largest(there.log_mel(heard), spectrograms), at_most=0.01)
        record.check("the copy's spectrogram, dB apart", largest(fast[torch.float32].log_mel(heard), spectrograms),
                     at_most=0.01)  # fmt: skip
        for name, encoder in {"the model": there, "its copy for inference": fast[torch.float32]}.items():
            apart = largest(encoder.get_audio_features(heard).pooler_output, expected)
            record.check(f"clips, float32, {name}: largest difference", apart, at_most=1e-4)
    with float32_products("tf32"):
        record.add("spectrogram, TF32, dB apart", largest(there.log_mel(heard), spectrograms))
        apart = largest(fast[torch.float32].get_audio_features(heard).pooler_output, expected)
        record.add("clips, TF32: largest difference", apart)
    embeds = fast[torch.bfloat16].get_audio_features(heard).pooler_output
    # A small network with random weights tolerates less.
    record.check("clips, bfloat16: lowest cosine", cosine(embeds, expected), at_least=setting.size(0.999, 0.99))
    record.add("highest cosine of two different clips", float((expected @ expected.T).fill_diagonal_(-1).max()))


def embed_alone(record: Record, setting: Setting) -> None:
    """The same clip, and the same text, in other company."""
    model = copy.deepcopy(student_and_teacher(setting)[0]).to(setting.device).eval()
    tokenizer, texts = tokenizer_and_texts(setting)
    windows = [wave[None].numpy() for wave in waveforms(setting, setting.size(16, 4))]
    for dtype in ("float32", "bfloat16"):
        encoder = for_inference(model, dtype)
        together = embed_windows(encoder, windows, 8)
        turned = embed_windows(encoder, windows[::-1], 8).flip(0)
        alone = embed_windows(encoder, windows[:1], 8)
        differ = int((together != turned).any(1).sum() + (together[:1] != alone).any(1).sum())
        record.check(f"clips, {dtype}, that get another vector", differ, at_most=0)
        read = text_vectors(encoder, tokenizer, texts)
        again = text_vectors(encoder, tokenizer, texts[::-1]).flip(0)
        record.check(f"texts, {dtype}, that get another vector", int((read != again).any(1).sum()), at_most=0)


def embed_text(record: Record, setting: Setting) -> None:
    """Embeddings of texts."""
    model, (tokenizer, texts) = student_and_teacher(setting)[0].eval(), tokenizer_and_texts(setting)
    expected = text_vectors(model, tokenizer, texts)
    there = copy.deepcopy(model).to(setting.device)
    with float32_products("ieee"):
        record.check("texts, float32: largest difference",
                     largest(text_vectors(there, tokenizer, texts), expected), at_most=1e-4)  # fmt: skip
    got = text_vectors(for_inference(there, torch.bfloat16), tokenizer, texts)
    record.check("texts, bfloat16: lowest cosine", cosine(got, expected), at_least=0.999)


def match_hard_pairs(record: Record, setting: Setting) -> None:
    """Matching against float64 brute force."""
    cases, found_in_all = CASES(setting.size(1, 4)), 0
    for name, (audio, text, threshold, options) in cases.items():
        expected, wrong = brute_force(audio, text, threshold, options), 0
        there = [torch.from_numpy(side).to(setting.device) for side in (audio, text)]
        for given, precision in (((audio, text), "ieee"), (there, "tf32")):
            with float32_products(precision):
                found = match(*given, threshold, device=setting.device, **options)
            wrong += len(expected ^ set(zip(found.clips.tolist(), found.captions.tolist(), strict=True)))
        found_in_all += len(expected)
        if wrong:
            record.check(f"{name}: wrong pairs, of {len(expected)}", wrong, at_most=0)
    record.check(f"cases with {found_in_all} pairs that were tried", len(cases), at_least=19)


def compute_losses(record: Record, setting: Setting) -> None:
    """Losses and their gradients."""
    generator, size = torch.Generator().manual_seed(0), 48
    audio, text = (F.normalize(torch.randn(size, 64, generator=generator).double(), dim=1) for _ in range(2))
    logits = 14 * audio @ text.T
    keys = torch.arange(size) % 20

    def soft(normalization: str):
        temperature = 0.1 if normalization == "softmax" else None
        sides = [audio, text]

        def loss(logits: Tensor) -> Tensor:
            targets = [soft_targets((side @ side.T).to(logits), 0.3, normalization, temperature) for side in sides]
            return soft_contrastive_loss(logits, *targets)

        return loss

    works = {f"soft labels, {name}": soft(name) for name in NORMALIZATIONS}
    works["contrastive"] = lambda logits: contrastive_loss(logits, (keys[:, None] == keys).to(logits.device))
    works["temporal"] = lambda logits: temporal_contrastive_loss(logits, 3, 0.5, 0.7, keys=keys.to(logits.device))
    for name, work in works.items():
        values = []
        for leaf in (logits.clone(), logits.float().to(setting.device)):
            loss = work(leaf.requires_grad_())
            values.append((loss, *torch.autograd.grad(loss, leaf)))
        (expected, slope), (got, ours) = values
        record.check(f"{name}: loss, relative error", abs(got.item() / expected.item() - 1), at_most=1e-5)
        record.check(
            f"{name}: gradient, relative error", largest(ours, slope) / float(slope.abs().max()), at_most=1e-4
        )


def gradients(model: torch.nn.Module) -> Tensor:
    """(1, weights) float64 on the CPU."""
    parts = [weight.grad.flatten().cpu().double() for weight in model.parameters() if weight.grad is not None]
    return torch.cat(parts)[None]


def train_one_step(record: Record, setting: Setting) -> None:
    """One training step."""
    student, teacher = student_and_teacher(setting, 16)
    table, processor = prepare(setting.folder / "step", 16)
    size = setting.size(16, 4)
    options = {"per_device_train_batch_size": size}
    reference = Plain(copy.deepcopy(student), teacher)
    reference.front_ends = [student.log_mel] * 2  # batch norms of few clips magnify their differences
    for name, extra, precision, error, angle in (
        ("float32", {}, "ieee", 1e-4, 1e-3),
        ("TF32", {}, "tf32", 1e-2, 0.1),
        ("bfloat16", {"bf16": True}, "ieee", 0.03, 0.3),
    ):
        with float32_products(precision):
            ours = Ours(copy.deepcopy(student).to(setting.device), copy.deepcopy(teacher), table, processor,
                        setting.folder / "step", **options, **extra)  # fmt: skip
            batch = ours.trainer.data_collator(rows(table, size))
            if name == "float32":
                expected = reference.loss(batch)
                expected.backward()
                slope = gradients(reference.student)
            got = ours.trainer.training_step(ours.model, on_device(batch, setting.device))
        record.check(f"{name}: loss, relative error", abs(got.item() / expected.item() - 1), at_most=error)
        record.check(f"{name}: gradient, 1 - cosine", 1 - cosine(gradients(ours.trainer.model), slope), at_most=angle)
        ours.optimizer.step()
        weights = torch.cat([weight.detach().flatten() for weight in ours.trainer.model.parameters()])
        record.check(f"{name}: weights that are not finite after it", (~weights.isfinite()).sum(), at_most=0)


def cache_a_batch(record: Record, setting: Setting) -> None:
    """Gradient caching."""
    student, teacher = student_and_teacher(setting, 16)
    table, processor = prepare(setting.folder / "cache", 16)
    size, found = setting.size(16, 4), []
    for parts in (1, 2):
        options = {"per_device_train_batch_size": size // parts}
        options |= {"contrastive_batch_size": size} if parts > 1 else {}
        model = copy.deepcopy(student).to(setting.device)
        for norm in model.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):  # in training they see one part at a time
                norm.eval().train = lambda mode=True, norm=norm: norm
        ours = Ours(model, copy.deepcopy(teacher), table, processor, setting.folder / "cache", **options)
        given = rows(table, size)
        chunks = [on_device(ours.trainer.data_collator(given[place::parts]), setting.device) for place in range(parts)]
        with float32_products("ieee"):
            ours.trainer._chunks = chunks if parts > 1 else None
            loss = sum(float(ours.trainer.training_step(ours.model, chunk)) for chunk in chunks)
        found.append((loss, gradients(ours.trainer.model)))
    (expected, slope), (got, ours) = found
    record.check("loss, relative error", abs(got / expected - 1), at_most=1e-5)
    record.check("gradient, relative error", float((ours - slope).norm() / slope.norm()), at_most=1e-4)


def draw_again(record: Record, setting: Setting) -> None:
    """Dropout of a cached batch's second pass."""
    device = torch.device(setting.device)
    one = torch.ones(1000, device=device)
    cached = CachedGradient(one.sum(), 1, one, one, one.sum(), _random_states(device))
    first = F.dropout(one)
    with cached.same_randomness():
        second = F.dropout(one)
    record.check("elements dropped otherwise", int((first != second).sum()), at_most=0)
    record.check("elements dropped otherwise by the next pass", int((first != F.dropout(one)).sum()), at_least=1)


def hear_order(record: Record, setting: Setting) -> None:
    """The order-aware head."""
    torch.manual_seed(0)
    head = OrderHead(64, 32)
    torch.nn.init.normal_(head.output)
    states, mask = torch.randn(8, 21, 64), (torch.arange(21) < torch.arange(6, 22, 2)[:, None]).long()
    expected = copy.deepcopy(head).double().order(states.double(), mask)
    there = copy.deepcopy(head).to(setting.device)
    states, mask = states.to(setting.device), mask.to(setting.device)
    with float32_products("ieee"):
        error = largest(there.order(states, mask), expected) / float(expected.abs().max())
    record.check("float32, relative error", error, at_most=1e-5)
    with torch.autocast(setting.device, torch.bfloat16):
        record.check("bfloat16, lowest cosine", cosine(there.order(states, mask), expected), at_least=0.999)
    turned = cosine(there.order(states.flip(1), torch.ones_like(mask)), there.order(states, torch.ones_like(mask)))
    record.check("the other way round, lowest cosine", turned, at_most=0.999)


MEASURES = (embed_audio, embed_alone, embed_text, match_hard_pairs, compute_losses, train_one_step, cache_a_batch,
            draw_again, hear_order, run_chain)  # fmt: skip

if __name__ == "__main__":
    record, setting = part()
    for measure in MEASURES:
        record.attempt(measure, setting)
