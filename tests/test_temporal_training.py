"""The stages' objective, the retention term, and the Trainer: what learns, what stays, and how a run goes on.

The clips are tones of four classes; models are tiny and have random weights.
"""

import copy
import math
import os
import socket
from itertools import product
from pathlib import Path

import pytest
import torch
from accelerate import PartialState
from conftest import settle, tiny_model, write_tone
from test_temporal_loss import by_loops
from transformers import TrainerCallback

from modeling_clap_student import InputError
from modeling_clap_student.data.benchmarks import read_benchmark
from modeling_clap_student.data.skipping import SkippedClips
from modeling_clap_student.losses import temporal_contrastive_loss
from modeling_clap_student.temporal.arguments import TemporalTrainingArguments
from modeling_clap_student.temporal.collation import SceneCollator, SceneKinds
from modeling_clap_student.temporal.narration import Narrator
from modeling_clap_student.temporal.scenes import Deck, SceneRenderer
from modeling_clap_student.temporal.trainer import TemporalTrainer, order_aware, temporal_objective


PITCHES = {"hum": 150, "tone": 500, "whistle": 1500, "hiss": 5000}
ALPHAS = {
    "alpha_same": 0.5, "alpha_cross": 2.0, "alpha_same_overlay": 0.3, "alpha_cross_overlay": 1.5,
    "reverse_weight": 0.7, "overlay_weight": 0.4,
}  # fmt: skip


def write_clips(folder: Path) -> Path:
    for name, number in product(PITCHES, range(2)):
        write_tone(folder / name / f"{number}.wav", PITCHES[name] + 11 * number, seconds=1.0 + number)
    return folder


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips"))


def start_model(pooling="attention"):
    """A settled model about to be post-trained, and the same before."""
    model, processor = tiny_model()
    return order_aware(settle(model), processor, pooling), model


def make_trainer(clips, tmp_path, stage="b", model=None, kinds=None, validation=None, callbacks=None, **arguments):
    aware, base = model or start_model("mean_max" if arguments.get("frozen_pooling") else "attention")
    options = {
        "max_steps": 2, "per_device_train_batch_size": 2, "save_strategy": "no", "eval_strategy": "no",
        "load_best_model_at_end": False, "learning_rate": 1e-2, "encoder_learning_rate": 1e-3, "warmup_steps": 0,
        "disable_tqdm": True, "logging_steps": 1,
    }  # fmt: skip
    args = TemporalTrainingArguments(output_dir=str(tmp_path / "out"), **{**options, **arguments})
    table = read_benchmark(str(clips)).clips
    renderer = SceneRenderer(table, 44100, SkippedClips(tmp_path / "skipped.csv"))
    kinds = dict(kinds or {})
    narrator = Narrator(**{name: kinds.pop(name) for name in ("paraphrase_from", "prompted") if name in kinds})
    kinds = SceneKinds(stage, retention=args.retention_weight > 0, **kinds)
    return TemporalTrainer(
        model=aware,
        args=args,
        base=base,
        validation=validation,
        data_collator=SceneCollator(Deck(table, 0, "seen"), renderer, aware.processor.tokenizer, kinds, narrator),
        processing_class=aware.processor,
        callbacks=callbacks,
    )


def batch_of(trainer, *numbers: int) -> dict:
    return trainer.data_collator([{"number": number} for number in numbers])


def copied(model) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def changed(before: dict, after: dict) -> set[str]:
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


# The objective.


def arguments(tmp_path, **options) -> TemporalTrainingArguments:
    return TemporalTrainingArguments(output_dir=str(tmp_path), **options)


def problem(scenes: int, dtype=torch.float64) -> dict:
    """Embeddings of a joint batch that share a weight, with captions that say the same among them."""
    generator = torch.Generator().manual_seed(1)
    rows = 5 * scenes
    inputs, texts, weight = (
        torch.randn(size, dtype=dtype, generator=generator) for size in ((rows, 6), (rows, 6), (6, 4))
    )
    keys = torch.arange(rows) + 2**61
    keys[1] = keys[0]  # of stage A
    keys[2 * scenes + 1] = keys[3 * scenes]  # of stage B: forward as another's reverse
    return {"inputs": inputs, "texts": texts, "weight": weight, "keys": keys, "scale": torch.tensor(2.0, dtype=dtype)}


def objective(given: dict, scenes: list[int], args) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Loss and gradients of some of the problem's scenes; `scenes` are their numbers."""
    count = len(given["keys"]) // 5
    rows = torch.tensor([block * count + scene for block in range(5) for scene in scenes], dtype=torch.long)
    weight, scale = (given[name].clone().requires_grad_() for name in ("weight", "scale"))
    audio, text = (torch.nn.functional.normalize(given[name][rows] @ weight, dim=1) for name in ("inputs", "texts"))
    parts = [("a", 2, len(scenes)), ("b", 3, len(scenes))]
    loss = temporal_objective(audio, text, scale, given["keys"][rows], given["keys"][rows, None], parts, args)
    loss.backward()
    return loss.detach(), weight.grad, scale.grad


def test_the_objective_is_the_sum_of_its_stages(tmp_path):
    """Guards against alphas that reach stage A, blocks cut at the wrong row, and a scale without its exponent."""
    given, scenes = problem(3), 3
    found = objective(given, [0, 1, 2], arguments(tmp_path, **ALPHAS))[0]
    audio, text = (torch.nn.functional.normalize(given[name] @ given["weight"], dim=1) for name in ("inputs", "texts"))
    logits = math.exp(2.0) * audio @ text.T
    a, b = slice(0, 2 * scenes), slice(2 * scenes, None)
    keys = given["keys"].tolist()
    expected = sum(by_loops(logits[a, a], 2, (1, 1), (1, 1), (1, 1), keys[a])) / 2
    expected += sum(by_loops(logits[b, b], 3, (0.5, 0.3), (2.0, 1.5), (1, 0.7, 0.4), keys[b])) / 2
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_other_captions_are_compared_with_scenes_and_with_the_method_s_captions(tmp_path):
    """Guards against captions beside another part's scenes, and a target that gives way: its gradient is none."""
    generator, scenes, args = torch.Generator().manual_seed(4), 3, arguments(tmp_path)
    audio, text, again = (
        torch.nn.functional.normalize(torch.randn(rows, 4, dtype=torch.float64, generator=generator), dim=1)
        for rows in (15, 15, 6)
    )
    keys, facts = torch.arange(21), torch.arange(15)[:, None]
    keys[15] = keys[6]  # which says what the first scene's own caption says
    scale, parts = torch.tensor(2.0, dtype=torch.float64), [("a", 2, scenes), ("b", 3, scenes), ("again", 2, scenes)]
    text, again = text.requires_grad_(), again.requires_grad_()
    whole = temporal_objective(audio, torch.cat([text, again]), scale, keys, facts, parts, args)
    without = temporal_objective(audio, text, scale, keys[:15], facts, parts[:2], args)
    b = slice(6, 12)
    rest = [
        temporal_contrastive_loss(math.exp(2.0) * source @ again.T, 2, keys=keys[15:], facts=facts[b])
        for source in (audio[b], text[b].detach())
    ]
    assert (whole - without).item() == pytest.approx(sum(rest).item(), rel=1e-12)
    of_text = [torch.autograd.grad(loss, text, retain_graph=True)[0] for loss in (whole, without)]
    assert torch.equal(*of_text) and torch.autograd.grad(whole, again)[0].abs().sum() > 0


def test_overlays_weigh_as_orders_unless_told(tmp_path):
    """Guards against an ablation of α that leaves the overlays as they were."""
    weights = arguments(tmp_path, alpha_same=0.0, alpha_cross=0.5).loss_weights(3)
    assert weights == {"alpha_same": (0.0, 0.0), "alpha_cross": (0.5, 0.5), "block_weights": (1.0, 1.0, 1.0)}
    assert arguments(tmp_path, alpha_same_overlay=0.0).loss_weights(2)["alpha_same"] == (1.0, 0.0)
    assert arguments(tmp_path, overlay_weight=3.0).loss_weights(2)["block_weights"] == (1.0, 1.0)


def test_the_scale_acts_within_1_and_100(tmp_path):
    """Guards against a temperature that runs away in a long post-training."""
    given, args = problem(2), arguments(tmp_path)
    for given_scale, acts_as in ((9.0, math.log(100)), (-3.0, 0.0)):
        far, near = (
            objective(given | {"scale": torch.tensor(scale, dtype=torch.float64)}, [0, 1], args)
            for scale in (given_scale, acts_as)
        )
        torch.testing.assert_close(far[0], near[0], rtol=1e-6, atol=0)
        assert far[2] == 0


@pytest.mark.parametrize(
    "options",
    [{"alpha_same": -1.0}, {"retention_weight": -1.0}, {"per_device_train_batch_size": 1}, {"validation_scenes": 1}],
)
def test_impossible_arguments_are_refused(options, tmp_path):
    """Guards against hours of training with a setting that means nothing."""
    with pytest.raises(ValueError, match=f"--{next(iter(options))} must (lie in|be at least)"):
        arguments(tmp_path, **options)


# Two processes.

STEPS = {"max_steps": 2, "max_grad_norm": 0, "optim": "sgd", **ALPHAS}
WAYS = {"all": {}, "authors": {"frozen_pooling": True, "retention_weight": 0.0}}
BORDERS = (3, 2, 4, 6)  # scenes of the first process; the second one has the rest of 6, none in the end


class Gradients(TrainerCallback):
    """Keeps the gradient of every step, as the optimiser sees it."""

    def __init__(self):
        self.steps = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        learnt = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
        self.steps.append({name.removeprefix("module."): gradient for name, gradient in learnt.items()})


def some_steps(clips: Path, folder: Path, scenes_at_a_time: int, **options) -> dict:
    """Losses, gradients and weights of two joint steps; in float64, but that frozen convolutions are float32."""
    if options.get("frozen_pooling"):
        model, base = start_model("mean_max")
    else:
        model, base = start_model()
        torch.nn.init.normal_(model.audio_model.pooling.output, std=0.1, generator=torch.Generator().manual_seed(2))
        model.double()
    gradients = Gradients()
    trainer = make_trainer(
        clips, folder, "joint", (model, base), callbacks=[gradients],
        per_device_train_batch_size=scenes_at_a_time, **STEPS, **options,
    )  # fmt: skip
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "gradients": gradients.steps, "weights": copied(trainer.model)}


def _as_rank(rank: int, world: int, port: int, folder: Path, clips: Path) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": str(world),
        "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(world), "CUDA_VISIBLE_DEVICES": "",
    }  # fmt: skip
    found = {way: some_steps(clips, folder, 2, **options) for way, options in WAYS.items()}
    for border in BORDERS:  # the Trainer has joined the processes
        scenes = [range(border), range(border, 6)][rank]
        loss, weight, scale = objective(problem(6), list(scenes), arguments(folder, **ALPHAS))
        for gradient in (weight, scale):
            torch.distributed.all_reduce(gradient)
        found[border] = {"loss": loss, "weight": weight / world, "scale": scale / world}
    if rank == world - 1:
        torch.save(found, folder / "found.pt")
    torch.distributed.barrier()
    PartialState().destroy_process_group()


@pytest.fixture(scope="module")
def of_two(tmp_path_factory, clips) -> dict:
    """What two processes came to."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_as_rank, (2, port, folder, clips), nprocs=2)
    return torch.load(folder / "found.pt", weights_only=True)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.slow
def test_two_processes_have_the_loss_and_gradient_of_one(of_two, border, tmp_path):
    """Guards against local negatives, blocks of one process behind those of another, uneven parts."""
    loss, weight, scale = objective(problem(6), list(range(6)), arguments(tmp_path, **ALPHAS))
    torch.testing.assert_close(of_two[border]["loss"], loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(of_two[border]["weight"], weight, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(of_two[border]["scale"], scale, rtol=1e-10, atol=1e-13)


@pytest.fixture
def one_thread():
    """Spectrograms are float32: with another number of threads, loudest frames that are equal come out otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_as_one(of_two, way, clips, tmp_path, one_thread):
    """Guards against other scenes, a retention term of one process alone, and weights that DDP waits for."""
    one, two = some_steps(clips, tmp_path, 4, **WAYS[way]), of_two[way]
    rounding = 1e-4 if "frozen_pooling" in WAYS[way] else 1e-6
    assert two["losses"] == pytest.approx(one["losses"], rel=rounding)
    pairs = [*zip(one["gradients"], two["gradients"], strict=True), (one["weights"], two["weights"])]
    for mine, theirs in pairs:
        assert mine.keys() == theirs.keys()
        norm = sum(value.double().norm() ** 2 for value in mine.values()) ** 0.5
        apart = sum((value.double() - theirs[name].double()).norm() ** 2 for name, value in mine.items()) ** 0.5
        assert norm > 0 and apart / norm < rounding


# Retention.


def test_retention_is_the_mean_square_of_what_moved(clips, tmp_path):
    """Guards against other rows, prompts of other clips, a sum for a mean: against float64 models and plain loops."""
    model, base = start_model()
    with torch.no_grad():
        for number, weight in enumerate(model.parameters()):
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number))
    exact = copy.deepcopy(base).double().eval()
    moved = copy.deepcopy(model).double().eval()
    trainer = make_trainer(clips, tmp_path, model=(model, base), retention_weight=3.0)
    batch = batch_of(trainer, 0, 1, 2, 3, 4)
    with torch.no_grad():
        with_it = trainer.compute_loss(model.eval(), dict(batch))
        trainer.base, kept = None, trainer.base
        without = trainer.compute_loss(model, dict(batch))
        trainer.base, expected = kept, 0.0
        scenes = [trainer.data_collator.deck.scene(number) for number in (0, 2, 4)]
        for scene in scenes:
            wave = torch.from_numpy(trainer.data_collator.renderer.original(scene.clip_a, scene.seed))[None]
            tokens = base.processor.tokenizer(f"this is a sound of {scene.class_a}", return_tensors="pt")
            for heads in ((m.get_audio_features(wave) for m in (moved, exact)),
                          (m.get_text_features(**tokens) for m in (moved, exact))):  # fmt: skip
                now, then = (head.pooler_output for head in heads)
                expected += (now - then).square().sum().item() / 6
    assert expected > 0.01
    assert (with_it - without).item() == pytest.approx(3.0 * expected, rel=1e-4)


@pytest.mark.parametrize("frozen", [False, True])
def test_nothing_has_moved_at_the_first_step(clips, tmp_path, frozen):
    """Guards against a pooling that does not start as CLAP's, and a base that hears other windows."""
    trainer = make_trainer(clips, tmp_path, freeze_audio_encoder=frozen)
    batch = batch_of(trainer, 0, 1, 2, 3)
    trainer._train_mode(trainer.model)  # the tiny model has no dropout
    with torch.no_grad():
        found = trainer.compute_loss(trainer.model, dict(batch))
        trainer.base = None
        without = trainer.compute_loss(trainer.model, dict(batch))
    assert abs(found - without).item() <= 10.0 * 1e-9


# What learns.


def test_batch_norms_keep_their_statistics(clips, tmp_path):
    """Guards against statistics of synthetic scenes in the place of those of the base's audio."""
    trainer = make_trainer(clips, tmp_path, "joint")
    before = copied(trainer.model)
    trainer.train()
    moved = changed(before, trainer.model.state_dict())
    assert not any(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in moved)
    learnt = {name for name, _ in trainer.model.named_parameters()}
    assert learnt - moved <= {name for name in learnt if ".attention.self.key.bias" in name}  # a softmax cancels it


def test_frozen_convolutions_hear_the_same_and_stay(clips, tmp_path):
    """Guards against a fast path that is another model's, and weights of the tower that weight decay moves.

    Frozen, it is a copy of the convolutions that hears each scene, once; the rest of the model gets its frames.
    """
    slow, fast = (make_trainer(clips, tmp_path, freeze_audio_encoder=yes, weight_decay=0.1) for yes in (False, True))
    batches = [batch_of(trainer, 0, 1, 2, 3) for trainer in (slow, fast)]
    assert ["input_frames" in batch for batch in batches] == [False, True]
    losses = [t.compute_loss(t.model, batch) for t, batch in zip((slow, fast), batches, strict=True)]
    assert losses[1].item() == pytest.approx(losses[0].item(), abs=1e-4)
    before = copied(fast.model)
    fast.train()
    moved = changed(before, fast.model.state_dict())
    assert not any(name.startswith(("audio_model.blocks.", "audio_model.bn0.")) for name in moved)
    assert {"audio_model.pooling.output", "audio_model.fc1.weight", "logit_scale"} <= moved


def test_the_authors_arm_trains_what_the_authors_trained(clips, tmp_path):
    """Guards against a comparison with an arm that learns more than theirs, or less."""
    trainer = make_trainer(clips, tmp_path, frozen_pooling=True, weight_decay=0.1)
    before = copied(trainer.model)
    trainer.train()
    moved = changed(before, trainer.model.state_dict())
    last = trainer.model.config.text_config.num_hidden_layers - 1
    parts = ("audio_model.fc1.", "audio_projection.", "text_projection.", f"text_model.encoder.layer.{last}.")
    assert all(name.startswith(parts) for name in moved)
    for part in parts:
        left = {name for name in before if name.startswith(part)} - moved
        assert all(".attention.self.key.bias" in name for name in left)  # a softmax cancels its gradient


def test_towers_learn_at_their_own_rate(clips, tmp_path):
    """Guards against a projection's rate for the towers, whose knowledge it would wipe out."""
    trainer = make_trainer(clips, tmp_path, learning_rate=1e-3, encoder_learning_rate=1e-5)
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    groups = trainer.create_optimizer().param_groups
    rates = {names[id(weight)]: group["lr"] for group in groups for weight in group["params"]}
    assert rates.keys() == set(names.values())
    poolings = ("audio_model.pooling.", "text_pooling.")
    above = (*poolings, "audio_model.fc1.", "audio_projection.", "text_projection.", "logit_scale")
    assert all(rate == (1e-3 if name.startswith(above) else 1e-5) for name, rate in rates.items())


@pytest.mark.parametrize("distinct", [7, 4000])
def test_scenes_come_again_when_all_were_heard(clips, tmp_path, distinct):
    """Guards against scenes that are left out, or heard again before others, or shared among accumulated steps."""
    trainer = make_trainer(clips, tmp_path, max_steps=3, gradient_accumulation_steps=2, num_scenes=distinct)
    collate, seen = trainer.data_collator, []

    def remembering(rows):
        seen.extend(row["number"] for row in rows)
        return collate(rows)

    trainer.data_collator = remembering
    trainer.train()
    assert seen == [place % distinct for place in range(12)] and trainer.state.global_step == 3


def test_frames_are_not_kept_for_a_base_of_other_convolutions(clips, tmp_path):
    """Guards against a retention term whose base gets the frames of another tower."""
    model, base = start_model()
    other = copy.deepcopy(base)
    with torch.no_grad():
        other.audio_model.blocks[0].conv1.weight *= 1.5
    exact = copy.deepcopy(other).eval()
    trainer = make_trainer(clips, tmp_path, model=(model, other), freeze_audio_encoder=True)
    batch = batch_of(trainer, 0, 1)
    assert "input_frames" not in batch
    with torch.no_grad():
        outputs = model.eval()(batch["input_ids"], batch["input_values"], batch["attention_mask"])
        found = trainer._drift(outputs.audio_embeds, outputs.text_embeds, batch)
        then = exact.get_audio_features(batch["input_values"][-1:]).pooler_output
    assert found.item() == pytest.approx((outputs.audio_embeds[-1:] - then).square().sum().item() / 2, rel=1e-3)


def test_workers_beside_frozen_convolutions_are_refused(clips, tmp_path):
    """Guards against scenes that each worker hears anew, with a copy of the tower of its own."""
    with pytest.raises(InputError, match="--dataloader_num_workers"):
        make_trainer(clips, tmp_path, freeze_audio_encoder=True, dataloader_num_workers=2)


def test_training_learns_to_tell_the_order(clips, tmp_path):
    """Guards against gradients that never reach what hears and reads order, and keys or blocks that hide it."""
    model, base = start_model()
    trainer = make_trainer(
        clips, tmp_path, model=(model, base), max_steps=60, per_device_train_batch_size=8, retention_weight=0.0,
        learning_rate=1e-3, num_scenes=16, logging_steps=60, freeze_audio_encoder=True,
        kinds={"paraphrase_from": 1.0, "prompted": False, "overlays": False},
    )  # fmt: skip
    batch = batch_of(trainer, *range(1000, 1008))  # scenes that training does not hear
    trainer.train()
    with torch.no_grad():
        audio = model.eval().get_audio_features(input_frames=batch["input_frames"]).pooler_output
        text = model.get_text_features(batch["input_ids"], batch["attention_mask"]).pooler_output
    margins = ((audio[:8] - audio[8:]) * (text[:8] - text[8:])).sum(dim=1)
    assert margins.min() > 0.1  # all eight; by chance it would be half


# How a run goes on and stops.


def test_a_text_tower_that_does_not_learn_reads_once(clips, tmp_path):
    """Guards against another gradient than that of reading every caption each time, and one frozen in error."""
    start = start_model()
    reads = make_trainer(clips, tmp_path, model=start, freeze_text_encoder=True)
    batch = batch_of(reads, 0, 1, 2)
    gradients = []
    for reader in (reads.read, None):
        reads.read = reader
        reads.model.zero_grad()
        reads.compute_loss(reads.model, dict(batch)).backward()
        gradients.append({n: p.grad.clone() for n, p in reads.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and any("text_pooling" in name for name in gradients[0])
    assert not any(name.startswith("text_model.") for name in gradients[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-6)
    assert make_trainer(clips, tmp_path).read is None
    assert make_trainer(clips, tmp_path, frozen_pooling=True).read is None


def test_a_resumed_run_ends_like_the_uninterrupted_one(clips, tmp_path):
    """Guards against other scenes, dropout or optimiser state after an interruption: weights to the bit."""
    weights, scores = [], []

    def validation(model):
        scores.append(model.logit_scale.item())
        return {"selection": len(scores) / 100}

    for resume in (None, str(tmp_path / "out" / "checkpoint-2")):
        model, base = start_model()
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.3
        trainer = make_trainer(
            clips, tmp_path, "joint", (model, base), validation=validation, max_steps=5, save_strategy="steps",
            save_steps=2, eval_strategy="steps", eval_steps=2, load_best_model_at_end=True, save_total_limit=9,
            gradient_accumulation_steps=2,
        )  # fmt: skip
        torch.manual_seed(3 if resume is None else 4)
        assert trainer.train(resume_from_checkpoint=resume).global_step == 5
        weights.append(copied(trainer.model))
    assert not changed(*weights) and len(scores) == 5


def test_a_checkpoint_of_other_alphas_is_refused(clips, tmp_path):
    """Guards against an ablation that goes on from another arm's optimiser."""
    options = {"save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    make_trainer(clips, tmp_path, **options).train()
    with pytest.raises(InputError, match=r"of another run: hyperparameters.alpha_same was 1.0 and is 0.0"):
        make_trainer(clips, tmp_path, alpha_same=0.0, **options).train("last")


def test_a_loss_that_is_no_number_stops_the_run(clips, tmp_path):
    """Guards against hours of training on NaN, and against a stop that does not say which clips it was."""
    trainer = make_trainer(clips, tmp_path, save_strategy="steps", save_steps=1)
    collate, batches = trainer.data_collator, []

    def poisoned(rows):
        batches.append(collate(rows))
        if len(batches) == 2:
            batches[-1]["input_values"][1] = float("inf")
        return batches[-1]

    trainer.data_collator = poisoned
    with pytest.raises(InputError, match=r"loss is nan at step 2.*whole checkpoint is .*checkpoint-1") as stop:
        trainer.train()
    assert all(clip in str(stop.value) for clip in batches[1]["audio_id"])
    assert all(value.isfinite().all() for value in trainer.model.parameters())


def test_several_gpus_without_a_launcher_are_refused(clips, tmp_path, monkeypatch):
    """Guards against DataParallel, whose negatives come from one GPU alone."""
    monkeypatch.setattr(TemporalTrainingArguments, "n_gpu", 2)
    with pytest.raises(InputError, match="accelerate launch --num_processes 2"):
        make_trainer(clips, tmp_path)
