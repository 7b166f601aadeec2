"""Which weights learn, how fast, and what the average of them is."""

import pytest
import torch
from test_training import make_trainer

from modeling_clap_student import ClapStudentTrainingArguments, InputError
from modeling_clap_student.training.optimization import parameter_groups


def test_layers_learn_the_more_slowly_the_deeper(tiny):
    """Guards against a layer in the wrong group, and a weight in none or in two."""
    model = tiny[0]
    decayed = {"audio_model.fc1.weight"}
    groups = parameter_groups(model, 1e-3, 0.01, decayed, 0.5)
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert len(rate) == len(list(model.parameters())) == sum(len(group["params"]) for group in groups)
    named = dict(model.named_parameters())
    blocks, layers = len(model.audio_model.blocks), model.config.text_config.num_hidden_layers
    depths = {
        "logit_scale": 0, "audio_projection.linear1.weight": 0, "text_projection.layer_norm.bias": 0,
        "audio_model.fc1.weight": 1, f"audio_model.blocks.{blocks - 1}.conv1.weight": 1,
        "audio_model.blocks.0.bn2.bias": blocks, "audio_model.bn0.weight": blocks + 1,
        f"text_model.encoder.layer.{layers - 1}.output.dense.weight": 1,
        "text_model.encoder.layer.0.output.dense.weight": layers,
        "text_model.embeddings.word_embeddings.weight": layers + 1,
    }  # fmt: skip
    for name, depth in depths.items():
        assert rate[id(named[name])] == pytest.approx(1e-3 * 0.5**depth), name
    decay = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert [name for name, value in named.items() if decay[id(value)]] == ["audio_model.fc1.weight"]


def test_the_trainer_uses_them(tiny, captioned_folder, tmp_path):
    """Guards against a flag that nothing reads."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path, layer_wise_lr_decay=0.5, learning_rate=1e-3)
    rates = {group["lr"] for group in trainer.create_optimizer().param_groups}
    assert max(rates) == pytest.approx(1e-3) and len(rates) > 4


@pytest.mark.parametrize(
    "flag, tower, other",
    [("freeze_audio_encoder", "audio_model", "text_model"), ("freeze_text_encoder", "text_model", "audio_model")],
)
def test_a_frozen_tower_stays_to_the_bit(tiny, captioned_folder, tmp_path, flag, tower, other):
    """Guards against batch statistics or decay that change what should stay, and a projection that stays too."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path, learning_rate=1e-2, weight_decay=0.1, **{flag: True})
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(before[name], value)}
    assert not any(name.startswith(tower) for name in changed)
    assert any(name.startswith(other) for name in changed)
    assert any(name.startswith(tower.replace("model", "projection")) for name in changed)


def test_frozen_batch_norms_keep_their_statistics_and_learn(tiny, captioned_folder, tmp_path):
    """Guards against a mean and variance of the last few batches, which evaluation would go by."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path, learning_rate=1e-2, freeze_batch_norm=True)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(before[name], value)}
    assert not any("running_" in name or "num_batches" in name for name in changed)
    assert {"audio_model.bn0.weight", "audio_model.blocks.0.bn1.bias", "audio_model.blocks.0.conv1.weight"} <= changed


def test_a_moving_average_ends_the_run(tiny, captioned_folder, tmp_path):
    """Guards against an average of other weights, of another decay, or one that training goes on from."""
    options = {"max_steps": 5, "learning_rate": 1e-2, "num_train_epochs": 5}
    trainer = make_trainer(tiny, captioned_folder, tmp_path, ema_decay=0.8, **options)
    seen, final = [], trainer.final_weights
    weight = trainer.model.text_projection.linear1.weight
    final.on_step_end = recording(final.on_step_end, lambda: seen.append(weight.detach().double()))
    trainer.train()
    expected = seen[0]
    for value in seen[1:]:
        expected = 0.8 * expected + 0.2 * value
    assert len(seen) == 5 and not torch.equal(seen[0], seen[4])
    torch.testing.assert_close(trainer.model.text_projection.linear1.weight.double(), expected, atol=1e-6, rtol=1e-5)


def test_a_share_of_the_start_ends_the_run(tiny, captioned_folder, tmp_path):
    """Guards against the other share, statistics that are left out, and training that goes on from the mixture."""
    trainer = make_trainer(tiny, captioned_folder, tmp_path, start_share=0.3, max_steps=3, learning_rate=1e-2)
    start = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trained, final = {}, trainer.final_weights

    def look():
        trained.update({name: value.clone() for name, value in trainer.model.state_dict().items()})

    final.on_step_end = recording(final.on_step_end, look)
    trainer.train()
    for name, value in trainer.model.state_dict().items():
        expected = 0.3 * start[name].double() + 0.7 * trained[name].double()
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected, atol=1e-6, rtol=1e-5)
    ended = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    with trainer.weights_to_score():
        assert all(torch.equal(value, ended[name]) for name, value in trainer.model.state_dict().items())
    for name in ("audio_model.bn0.running_mean", "text_projection.linear1.weight", "logit_scale"):
        assert not torch.equal(trained[name], start[name]), name


def test_a_share_of_the_start_and_an_average_go_together(tiny, captioned_folder, tmp_path):
    """Guards against one of the two being left out."""
    options = {"ema_decay": 0.8, "start_share": 0.3, "max_steps": 3, "learning_rate": 1e-2}
    trainer = make_trainer(tiny, captioned_folder, tmp_path, **options)
    start = trainer.model.text_projection.linear1.weight.detach().clone()
    trainer.train()
    average = trainer.final_weights.average.module.text_projection.linear1.weight.detach()
    found = trainer.model.text_projection.linear1.weight.detach()
    torch.testing.assert_close(found, 0.3 * start + 0.7 * average)


def test_a_new_model_has_no_start_to_keep():
    """Guards against a share of random weights."""
    args = ClapStudentTrainingArguments(start_share=0.3)
    args.check_start("teacher")
    with pytest.raises(InputError, match="--start_share"):
        args.check_start("fresh")


def recording(function, look):
    def wrapped(*args, **kwargs):
        look()
        return function(*args, **kwargs)

    return wrapped
