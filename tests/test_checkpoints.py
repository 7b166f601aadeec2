"""Opening checkpoints: what does not fit is named in one line, never filled with random numbers."""

import json

import pytest
from safetensors.torch import load_file, save_file

from modeling_clap_student import InputError
from modeling_clap_student.checkpoints.loading import load_checkpoint
from modeling_clap_student.data.sources import split_revision
from modeling_clap_student.hub_clap_student import fingerprint


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_weights_of_other_shapes_are_named(tiny_folder):
    """Guards against a projection that is silently made anew."""
    change_config(tiny_folder, projection_dim=16)
    words = r"audio_projection\.layer_norm\.bias is \(32,\) and not \(16,\); .* and 5 more"
    with pytest.raises(InputError, match=words) as error:
        load_checkpoint(tiny_folder)
    assert "\n" not in str(error.value)


def test_missing_and_unknown_weights_are_named(tiny_folder):
    """Guards against a tower that is half random."""
    weights = load_file(tiny_folder / "model.safetensors")
    weights["audio_model.fc2.bias"] = weights.pop("audio_model.fc1.bias")
    save_file(weights, tiny_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"fc1\.bias is missing; audio_model\.fc2\.bias is unknown"):
        load_checkpoint(tiny_folder)


def test_parts_that_are_not_there_are_named(tiny_folder, tmp_path):
    """Guards against a traceback where a file was forgotten."""
    (tiny_folder / "processor_config.json").unlink()
    with pytest.raises(InputError, match=r"no processor: processor_config\.json"):
        load_checkpoint(tiny_folder)
    (tiny_folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"can't load a checkpoint from .*tiny"):
        load_checkpoint(tiny_folder)
    with pytest.raises(InputError, match="no such checkpoint folder"):
        load_checkpoint(tmp_path / "gone")


def test_an_audio_tower_is_no_teacher(tiny, tmp_path):
    """Guards against a tower without text where a whole model is needed."""
    tiny[0].audio_model.save_pretrained(tmp_path / "tower")
    with pytest.raises(InputError, match="'clap_student_audio_model' checkpoint, and a 'clap_student' or 'clap'"):
        load_checkpoint(tmp_path / "tower")


def test_revisions_stand_behind_hub_ids_alone(tmp_path, monkeypatch):
    """Guards against a folder whose name has an @, taken for a revision."""
    assert split_revision("me/student@0123abc") == ("me/student", "0123abc")
    assert split_revision("me/student") == ("me/student", None)
    assert split_revision("/data/me@home/x") == ("/data/me@home/x", None)
    (tmp_path / "me").mkdir()
    (tmp_path / "me" / "run@2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert split_revision("me/run@2") == ("me/run@2", None)


def test_fingerprints_tell_weights_apart(tiny, tiny_folder):
    """Guards against a teacher taken for another that stands under its name."""
    assert fingerprint(load_checkpoint(tiny_folder)[0]) == fingerprint(tiny[0])
    tiny[0].audio_model.bn0.running_mean[0] += 1e-6
    assert fingerprint(load_checkpoint(tiny_folder)[0]) != fingerprint(tiny[0])
