"""What a user does with the Hub, over HTTP: push, load where the package is unknown, pin, retry, keep secrets.

The Hub is `hub_server.HubServer` on the loopback address. Each command and each reader is a process of its own with an
empty cache.
"""

import hashlib
import inspect
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import FAST, ROOT, SMALL, numbers, write_tone
from hub_server import HubServer, run_python
from huggingface_hub import ModelCard, parse_eval_result_entries

from modeling_clap_student import ClapStudentModel


TOKEN = "hf_me_secret"
WITHOUT_PACKAGE = "import sys; sys.modules['modeling_clap_student'] = None\n"


def clip() -> np.ndarray:
    return np.sin(np.arange(300000) * 0.05).astype(np.float32)


def digest(model) -> str:
    """Equal for models that give the same numbers to the bit."""
    embeds = [model.encode_audio(clip(), sampling_rate=44100), model.encode_text(["hum", "a high whistle"])]
    return hashlib.sha256(b"".join(e.numpy().tobytes() for e in embeds)).hexdigest()


def run_fresh(code: str, server: HubServer, token: str | None = None, **options) -> str:
    """What the code prints in a new process with an empty cache, where the package can't be imported."""
    shared = "import hashlib, numpy as np\n" + inspect.getsource(clip) + inspect.getsource(digest)
    return run_python(WITHOUT_PACKAGE + shared + code, server, token, **options).stdout.strip()


def stored(server: HubServer, kind: str, name: str, commit: int = -1) -> dict[str, bytes]:
    """The files of a repository."""
    return {path: file.data for path, file in server.repos[kind, name].commits[commit].files.items()}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub to which the whole chain was pushed: me/teacher, the private me/esc50-ads, me/student.

    Yields the server, the folder of the outputs, and all that the commands printed.
    """
    folder = tmp_path_factory.mktemp("chain")
    for number in range(8):
        write_tone(folder / "captioned" / f"{number}.wav", 200 * (number + 1))
        write_tone(folder / "pool" / f"{number}.flac", 300 * (number + 1))
    captions = [f"{n}.wav,{('a low hum', 'a high whistle')[n % 2]} {n}" for n in range(8)]
    labels = [f"{n}.wav,{('low_hum', 'high_whistle')[n % 2]}" for n in range(8)]
    (folder / "captioned" / "metadata.csv").write_text("\n".join(["file_name,caption", *captions]))
    (folder / "labelled").symlink_to(folder / "captioned")
    (folder / "labelled.csv").write_text("\n".join(["label", "low_hum", "high_whistle"]))
    task = folder / "task"
    task.mkdir()
    for number in range(8):
        write_tone(task / f"{number}.wav", 250 * (number + 1) + 7)
    (task / "metadata.csv").write_text("\n".join(["file_name,label", *labels]))
    printed = []
    with HubServer({TOKEN: "me", "hf_you_secret": "you"}) as server:

        def run(script, *flags):
            done = run_python([ROOT / script, *flags], server, TOKEN)
            printed.append(done.stdout + done.stderr)

        push = ["--push_to_hub", "true", "--hub_token", TOKEN, "--license", "cc-by-4.0", "--hub_model_id"]
        out = folder / "out"
        run("run_teacher.py", "--corpus", folder / "captioned", "--output_dir", out / "teacher", *SMALL, *FAST, *push,
            "me/teacher")  # fmt: skip
        run("curate.py", "--strategy", "ads", "--teacher", "me/teacher", "--captions", folder / "captioned", "--audio",
            folder / "pool", "--labels", folder / "labelled.csv", *numbers("ads"), "--output_dir", out / "set",
            "--push_to_hub", "me/esc50-ads", "--private")  # fmt: skip
        run("run_student.py", "--strategy", "ads", "--improvement_set", "me/esc50-ads", "--task", task,
            "--output_dir", out / "student", *FAST, *push, "me/student")  # fmt: skip
        yield server, out, "\n".join(printed)


@pytest.mark.slow
def test_a_pushed_student_loads_where_the_package_is_unknown(hub, tmp_path):
    """Guards against a checkpoint that lacks a file of its code, or gives other numbers: equal to the bit."""
    server, out, _ = hub
    code = """
from transformers import AutoFeatureExtractor, AutoModel, AutoProcessor, AutoTokenizer, pipeline

model = AutoModel.from_pretrained("me/student", trust_remote_code=True)
parts = [kind.from_pretrained("me/student", trust_remote_code=True) for kind in
         (AutoProcessor, AutoFeatureExtractor, AutoTokenizer)]
waveform = clip()
inputs = parts[0](text=["hum", "a high whistle"], audio=[waveform], sampling_rate=44100, return_tensors="pt")
scores = pipeline("zero-shot-audio-classification", model="me/student", trust_remote_code=True)(
    waveform, candidate_labels=["hum", "whistle"])
print(type(model).__name__, digest(model), *(type(part).__name__ for part in parts),
      hashlib.sha256(model(**inputs).logits_per_audio.detach().numpy().tobytes()).hexdigest(), len(scores))
"""
    local = ClapStudentModel.from_pretrained(out / "student")
    inputs = local.processor(text=["hum", "a high whistle"], audio=[clip()], sampling_rate=44100, return_tensors="pt")
    logits = hashlib.sha256(local(**inputs).logits_per_audio.detach().numpy().tobytes()).hexdigest()
    seen = run_fresh(code, server).split()
    assert seen == [
        "ClapStudentModel",
        digest(local),
        "ClapStudentProcessor",
        "ClapStudentFeatureExtractor",
        "TokenizersBackend",
        logits,
        "2",
    ]


@pytest.mark.slow
def test_the_cards_own_lines_run(hub, tmp_path):
    """Guards against a card whose three lines of code do not work."""
    server, _, _ = hub
    write_tone(tmp_path / "clip.wav", 500, seconds=2)
    card = stored(server, "models", "me/student")["README.md"].decode()
    uses = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert [len(use.strip().splitlines()) for use in uses] == [3, 4] and "SentenceTransformer(" in uses[1]
    cosines = [run_fresh(f"import os; os.chdir({str(tmp_path)!r})\n{use}", server) for use in uses]
    assert cosines[0].startswith("tensor([[") and cosines[0] == cosines[1]


@pytest.mark.slow
def test_a_pushed_student_is_a_sentence_transformer(hub):
    """Guards against a checkpoint that only one of two libraries loads, or that loses code on its way back."""
    server, out, _ = hub
    code = f"""
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

model = SentenceTransformer("me/student", trust_remote_code=True, device="cpu")
model.push_to_hub("me/sentences", token="{TOKEN}")
for name in ("me/student", "me/sentences"):
    model = SentenceTransformer(name, trust_remote_code=True, device="cpu")
    embeds = [model.encode([clip()], sampling_rate=44100), model.encode(["hum", "a high whistle"], batch_size=64)]
    print(hashlib.sha256(b"".join(e.tobytes() for e in embeds)).hexdigest())
print(digest(AutoModel.from_pretrained("me/sentences", trust_remote_code=True)))
"""
    expected = digest(ClapStudentModel.from_pretrained(out / "student"))
    assert run_fresh(code, server, TOKEN).split()[-3:] == [expected] * 3
    alone = """
from transformers import AutoModel
sys.modules["sentence_transformers"] = None
print(digest(AutoModel.from_pretrained("me/student", trust_remote_code=True)))
"""
    assert run_fresh(alone, server) == expected
    card = ModelCard(stored(server, "models", "me/student")["README.md"].decode())
    assert {"sentence-transformers", "custom_code"} <= set(card.data.tags) and card.data.widget[0]["source_sentence"]
    assert ".eval_results/" not in "".join(stored(server, "models", "me/student"))


@pytest.mark.slow
def test_scores_on_benchmarks_of_the_hub_reach_their_leaderboards(hub):
    """Guards against a file that the Hub shows as an error: of a folder, of a dataset that is no benchmark."""
    server, out, _ = hub
    code = f"""
from huggingface_hub import HfApi
from modeling_clap_student import ClapStudentModel

api = HfApi()
tasks = {{"one": "tasks:\\n- id: zero_shot", "two": "tasks:\\n- id: a\\n- id: b", "odd": "- 1", "none": None}}
for name, text in tasks.items():
    api.create_repo(f"me/{{name}}", repo_type="dataset")
    if text:
        api.upload_file(path_or_fileobj=text.encode(), path_in_repo="eval.yaml", repo_id=f"me/{{name}}",
                        repo_type="dataset")
model = ClapStudentModel.from_pretrained({str(out / "student")!r})
row = {{"metric": "accuracy", "value": 0.51234, "n": 8, "low": 0.2, "high": 0.8}}
names = [*(f"me/{{name}}" for name in tasks), "me/gone", "folder/mine", "esc50"]
model.config.record = {{"results": [row | {{"task": name}} for name in names]}}
model.push_to_hub("me/scored")
"""
    run_python(code, server, TOKEN)
    files = stored(server, "models", "me/scored")
    (name,) = [name for name in files if name.startswith(".eval_results/")]
    (entry,) = parse_eval_result_entries(yaml.safe_load(files[name]))
    assert name == ".eval_results/me_one.yaml" and entry.notes == "zero-shot accuracy, 8 clips, the value in percent"
    assert (entry.dataset_id, entry.task_id, entry.value) == ("me/one", "zero_shot", 51.23)
    assert entry.source_url == "https://huggingface.co/me/scored"


def test_the_card_tells_how_the_student_was_made(hub):
    """Guards against a card that a reader can't trust: scores, teacher, data, revisions, hyper-parameters, licence."""
    server, out, _ = hub
    card = ModelCard(stored(server, "models", "me/student")["README.md"].decode())
    results = json.loads((out / "student" / "results.json").read_text())
    (score,) = card.data.eval_results
    assert score.metric_value == pytest.approx(results["student_accuracy"], abs=1e-4)
    assert score.dataset_name == Path(results["scores"][0]["student"]["task"]).name and score.metric_args["n"] == 8
    assert card.data.license == "cc-by-4.0" and card.data.library_name == "transformers"
    assert card.data.base_model == "me/teacher" and card.data.datasets == ["me/esc50-ads"]
    assert card.data.pipeline_tag == "zero-shot-audio-classification"
    record = json.loads(re.search(r"```json\n(.*?)```", card.text, re.DOTALL)[1])
    teacher_commits = [commit.id for commit in server.repos["models", "me/teacher"].commits]
    assert record["teacher"]["name"] == "me/teacher" and record["teacher"]["revision"] in teacher_commits
    assert record["datasets"][0]["revision"] == server.repos["datasets", "me/esc50-ads"].commits[-1].id
    assert record["improvement_set"]["strategy"] == "ads" and record["improvement_set"]["num_pairs"] == 8
    settings = record["hyperparameters"]
    assert settings["soft_label_weight"] == 0.3 and settings["max_steps"] == 2 and settings["learning_rate"] == 1e-4
    assert f"| teacher | {score.dataset_name} | accuracy |" in card.text


def test_folders_of_the_machine_are_not_pushed(hub):
    """Guards against the name of a user in arguments.json, results.json, a card or training_args.bin."""
    server, out, _ = hub
    pushed = {
        (name, path): data
        for kind, name in server.repos
        for commit in range(len(server.repos[kind, name].commits))
        for path, data in stored(server, kind, name, commit).items()
    }
    for place, data in list(pushed.items()):
        if zipfile.is_zipfile(file := io.BytesIO(data)):
            with zipfile.ZipFile(file) as archive:
                pushed |= {(*place, name): archive.read(name) for name in archive.namelist()}
    assert {"arguments.json", "config.json", "provenance.json", "results.json"} <= {path for _, path, *_ in pushed}
    assert not [place for place, data in pushed.items() if str(out.parent).encode() in data]


@pytest.mark.slow
def test_pushed_pairs_are_a_dataset_like_any_other(hub):
    """Guards against pairs that only hold paths of the machine that made them, and a private set that anyone reads."""
    server, out, _ = hub
    code = """
from datasets import load_dataset

pairs = load_dataset("me/esc50-ads", split="train")
streamed = list(load_dataset("me/esc50-ads", split="train", streaming=True))
assert streamed == list(pairs)
print(len(pairs), pairs.column_names, [len(row["audio"]["bytes"]) for row in pairs], streamed[0]["audio"]["path"])
"""
    seen = run_fresh(code, server, TOKEN)
    assert seen.startswith("8 ['audio', 'caption', 'similarity', 'audio_id', 'caption_id', 'label'")
    sizes = {path.stat().st_size for path in (out.parent / "pool").iterdir()}
    assert set(map(int, re.search(r"\[(\d[\d, ]*)\]", seen)[1].split(", "))) <= sizes
    assert seen.endswith(".flac") and "/" not in seen.split()[-1]
    for token in (None, "hf_you_secret"):
        refused = run_python(
            "from datasets import load_dataset; load_dataset('me/esc50-ads')", server, token, check=False
        )
        assert refused.returncode == 1 and "esc50-ads" in refused.stderr


@pytest.mark.slow
def test_training_streams_pairs_from_the_hub_and_goes_on_at_the_very_row(hub):
    """Guards against remote Parquet files that a resumed run reads from another place."""
    server, _, _ = hub
    code = """
from itertools import islice
from torchdata.stateful_dataloader import StatefulDataLoader
from modeling_clap_student.curation.improvement_set import load_improvement_set
from modeling_clap_student.data.replay import MixedStream

def loader(workers):
    pairs, replay, provenance = load_improvement_set("stream=me/esc50-ads")
    assert provenance["strategy"] == "ads"
    return StatefulDataLoader(MixedStream(pairs, replay, 2, 1, 0.5, 0), batch_size=None, num_workers=workers)

for workers in (0, 1):
    whole = list(islice(loader(workers), 9))
    first = loader(workers)
    head = list(islice(first, 4))
    resumed = loader(workers)
    resumed.load_state_dict(first.state_dict())
    assert head + list(islice(resumed, 5)) == whole
    assert all(row["audio"]["bytes"] for batch in whole for row in batch)
print("the same")
"""
    assert run_python(code, server, TOKEN).stdout.strip() == "the same"


@pytest.mark.slow
def test_a_revision_pins_the_weights(hub):
    """Guards against a pinned commit that gives the newest weights, or the newest code."""
    server, out, _ = hub
    code = f"""
from modeling_clap_student import ClapStudentModel
import torch

model = ClapStudentModel.from_pretrained({str(out / "student")!r})
with torch.no_grad():
    model.text_projection.linear1.weight.mul_(2)
print(model.push_to_hub("me/student", commit_message="Another").oid)
"""
    before, first = (
        digest(ClapStudentModel.from_pretrained(out / "student")),
        server.repos["models", "me/student"].at(None).id,
    )
    second = run_python(code, server, TOKEN).stdout.strip().splitlines()[-1]
    code = """
from transformers import AutoModel
for revision in {}:
    print(digest(AutoModel.from_pretrained("me/student", revision=revision, trust_remote_code=True)))
"""
    pinned, newest = run_fresh(code.format([first, second]), server).splitlines()
    assert pinned == before and newest != before
    flags = ["--model", f"me/student@{first}", "--task", out.parent / "task", "--output_dir", out / "eval"]
    run_python([ROOT / "run_eval.py", *flags], server)
    scores = json.loads((out / "eval" / "results.json").read_text())
    assert scores[0]["value"] == json.loads((out / "student" / "results.json").read_text())["student_accuracy"]
    (evaluated,) = json.loads((out / "eval" / "details.json").read_text())["models"]
    assert evaluated["model"] == f"me/student@{first}" and evaluated["revision"] == first
    # Its card still tells how it was made, but not the scores of other weights.
    card = stored(server, "models", "me/student")["README.md"].decode()
    assert "me/esc50-ads" in card and "model-index" not in card and "weights were changed" in card


@pytest.mark.slow
def test_a_model_that_is_loaded_and_pushed_again_keeps_its_card_and_processor(hub, tmp_path):
    """Guards against scores, tokenizer or code that get lost on the way: from a process without the package, with a
    token given by hand, into a private repository and on from there."""
    server, out, _ = hub
    code = f"""
import os
from transformers import AutoModel, AutoProcessor

os.environ.pop("HF_TOKEN", None)
os.chdir({str(out)!r})
model = AutoModel.from_pretrained("student", trust_remote_code=True)
os.chdir("/")
model.push_to_hub("me/again", private=True, token="{TOKEN}")
model = AutoModel.from_pretrained("me/again", token="{TOKEN}", trust_remote_code=True)
model.save_pretrained({str(tmp_path / "x")!r}, push_to_hub=True, repo_id="me/third", token="{TOKEN}")
model = AutoModel.from_pretrained("me/third", trust_remote_code=True)
print(digest(model), type(AutoProcessor.from_pretrained("me/third", trust_remote_code=True)).__name__)
"""
    assert run_fresh(code, server).split() == [
        digest(ClapStudentModel.from_pretrained(out / "student")),
        "ClapStudentProcessor",
    ]
    assert server.repos["models", "me/again"].private
    card = stored(server, "models", "me/third")["README.md"].decode()
    assert "model-index" in card and 'from_pretrained("me/third"' in card
    refused = run_python(
        "from transformers import AutoConfig; AutoConfig.from_pretrained('me/again')", server, check=False
    )
    assert refused.returncode == 1


@pytest.mark.slow
def test_cards_of_converted_checkpoints_run_too(hub, tmp_path):
    """Guards against a card that names the folder of the machine that made it."""
    server, _, _ = hub
    code = f"""
import sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tests" / "reference")!r}]
from pathlib import Path
import test_conversion as t
t.save_checkpoint(Path({str(tmp_path)!r}) / "clap.pth", t.small_clap()[1])
t.save_checkpoint(Path({str(tmp_path)!r}) / "Cnn14.pth", t.small_panns())
t.scratch_tokenizer(t.CAPTIONS).save_pretrained({str(tmp_path / "tokenizer")!r})
"""
    run_python(code, server)
    write_tone(tmp_path / "clip.wav", 500, seconds=2)
    for source in ("clap", "Cnn14"):
        flags = [tmp_path / f"{source}.pth", "--output_dir", tmp_path / f"{source}_out", "--license", "mit"]
        flags += ["--tokenizer", tmp_path / "tokenizer", "--push_to_hub", f"me/{source}"]
        run_python(["-m", "modeling_clap_student.commands.convert", *flags], server, TOKEN)
        card = ModelCard(stored(server, "models", f"me/{source}")["README.md"].decode())
        assert card.data.license == "mit" and "sha256" in card.text
        use = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)[1]
        printed = run_fresh(f"import os; os.chdir({str(tmp_path)!r})\n{use}", server)
        assert printed.startswith("tensor([[")


@pytest.mark.slow
def test_an_interrupted_push_changes_nothing_and_can_be_tried_again(hub):
    """Guards against half a checkpoint on the Hub, and gigabytes sent twice."""
    server, out, _ = hub
    code = f"""
from modeling_clap_student import ClapStudentModel

ClapStudentModel.from_pretrained({str(out / "teacher")!r}).push_to_hub("me/copy", private=True)
"""
    server.fail_uploads(1)
    assert run_python(code, server, TOKEN, check=False).returncode == 1
    assert set(stored(server, "models", "me/copy")) == {".gitattributes"}
    server.fail_uploads(1, drop=True)  # a connection that breaks is tried again by itself
    run_python(code, server, TOKEN)
    assert "model.safetensors" in stored(server, "models", "me/copy")
    sent = len(server.uploads)
    run_python(code, server, TOKEN)
    assert len(server.uploads) == sent
    assert server.repos["models", "me/copy"].private


@pytest.mark.slow
def test_a_command_whose_push_breaks_off_says_what_is_left_to_do(hub, tmp_path):
    """Guards against a traceback after hours of work, and results lost with the connection."""
    server, out, _ = hub
    server.fail_uploads(1)
    flags = ["--strategy", "du", "--teacher", out / "teacher", "--captions", out.parent / "captioned", "--audio",
             out.parent / "pool", "--num_pairs", "4", "--output_dir", tmp_path / "du", "--push_to_hub"]  # fmt: skip
    done = run_python([ROOT / "curate.py", *flags, "me/du"], server, TOKEN, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: can't push to me/du" in done.stderr and "run the same command again" in done.stderr
    assert (tmp_path / "du" / "provenance.json").exists()
    done = run_python([ROOT / "curate.py", *flags, "me/du"], server, check=False)
    assert done.returncode == 1 and "error: can't push to me/du" in done.stderr and "Traceback" not in done.stderr
    done = run_python(
        [ROOT / "run_eval.py", "--model", "me/esc50-ads", "--task", out.parent / "task", "--output_dir", tmp_path],
        server,
        TOKEN,
        check=False,
    )
    assert done.returncode == 1 and "error: can't load a checkpoint from me/esc50-ads" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_student_whose_push_breaks_off_is_whole_and_pushed_by_the_next_run(hub, tmp_path):
    """Guards against a training lost with the connection, or repeated only to push it."""
    server, out, _ = hub
    flags = ["--strategy", "ads", "--teacher", out / "teacher", "--improvement_set", out / "set", "--task",
             out.parent / "task", "--output_dir", tmp_path / "s", *FAST, "--push_to_hub", "true",
             "--hub_model_id", "me/late"]  # fmt: skip
    server.fail_uploads(1)
    done = run_python([ROOT / "run_student.py", *flags], server, TOKEN, check=False)
    assert done.returncode == 1 and "error: can't push to me/late" in done.stderr and "Traceback" not in done.stderr
    assert json.loads((tmp_path / "s" / "results.json").read_text())["student_accuracy"] is not None
    done = run_python([ROOT / "run_student.py", *flags], server, TOKEN)
    assert "reusing the student" in done.stdout and "pushed to" in done.stdout
    assert "model.safetensors" in stored(server, "models", "me/late")
    flags = [*flags[:-1], "you/late", "--output_dir", tmp_path / "other"]
    done = run_python([ROOT / "run_student.py", *flags], server, TOKEN, check=False)
    assert done.returncode == 1 and "error: can't make the Hub repository you/late" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_trainer_pushes_by_itself(hub):
    """Guards against `trainer.push_to_hub()` that leaves out the card, the processor or the code."""
    server, out, _ = hub
    code = f"""
import copy
from modeling_clap_student import ClapStudentModel, ClapStudentTrainer, ClapStudentTrainingArguments
from modeling_clap_student.data.collation import ClapCollator
from modeling_clap_student.data.corpora import read_corpora
from modeling_clap_student.data.decoding import SkippedClips

model = ClapStudentModel.from_pretrained({str(out / "teacher")!r})
args = ClapStudentTrainingArguments(output_dir={str(out / "api")!r}, max_steps=1, per_device_train_batch_size=4,
                                    hub_model_id="me/api", hub_token="{TOKEN}", save_strategy="no")
assert "{TOKEN}" not in repr(args) + str(args) and copy.deepcopy(args).hub_token == "{TOKEN}"
collator = ClapCollator(model.processor, SkippedClips({str(out / "skipped.csv")!r}))
trainer = ClapStudentTrainer(model=model, args=args, train_dataset=read_corpora([{str(out.parent / "captioned")!r}]),
                             data_collator=collator, processing_class=model.processor)
trainer.train()
trainer.push_to_hub(license="mit")
"""
    run_python(code, server)
    files = stored(server, "models", "me/api")
    assert {"README.md", "config.json", "model.safetensors", "modeling_clap_student.py", "processor_config.json",
            "tokenizer.json", "training_args.bin"} <= set(files)  # fmt: skip
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "mit" and '"max_steps": 1' in card.text and "me/api" in card.text


def test_no_token_is_left_anywhere(hub):
    """Guards against a secret in what was printed, pushed or saved: training_args.bin is a pickle of all arguments."""
    server, out, printed = hub
    assert TOKEN not in printed
    files = {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for (kind, name), repo in server.repos.items():
        for number, commit in enumerate(repo.commits):
            files |= {f"{kind}/{name}/{number}/{path}": file.data for path, file in commit.files.items()}
    assert any(name.endswith("training_args.bin") for name in files) and len(files) > 50
    assert [name for name, data in files.items() if TOKEN.encode() in data] == []


def test_only_this_hub_was_asked(hub, capsys):
    """Guards against requests to other hosts, and lists what was served."""
    server, _, _ = hub
    with capsys.disabled():
        print("\n" + "\n".join(sorted(set(server.requests))))
    # load_dataset counts downloads at one host, and asks another whether it knows the parquet files.
    known = ("s3.amazonaws.com", "datasets-server")
    assert [line for line in server.unserved if not any(host in line for host in known)] == []
    assert "POST /api/repos/create" in server.requests
