"""The protocols: which recordings are for training, for curation and for scoring, and the sizes.

Two are kept. docs/results.md says what was known when each was chosen. **2** starts from random weights:

captioned    `captioned_sfx`, `esc50_extra`, ESC-10 folds 1 and 2, the last two with their recordings' titles
pool         `wild`, UrbanSound8K fold 1, ESC-10 fold 3: audio alone
downstream   ESC-10 folds 4 and 5, UrbanSound8K fold 2

**3** starts, like the paper, from an audio tower that has heard much audio, and scores all of ESC-50's classes:

pretrained   `pretrain.py`: the tower gives a public encoder's embeddings of the folder's audio; no word is read
captioned    `captioned_sfx`, ESC-50 fold 1 with its recordings' titles
pool         `wild`, UrbanSound8K fold 1, ESC-50 fold 2: audio alone
downstream   ESC-50 fold 3 (400 clips, 50 classes), UrbanSound8K fold 2 (888 clips)
rows         all of the paper's Tables 2 and 3, each with β = 0.5 and 0.3; a second round; no replay
seeds        0, 1 and 2; teacher and ADS+SL also 3 and 4
ADS          four captions of each label and its prompt, of each label the clips that the teacher finds most probable
             (`BY_LABEL`); students end halfway between the teacher's weights and the trained ones (`--start_share`)
text tower   keeps its weights (`--text keeps`); then all again with one that learns (`--text learns`), and with a
             teacher's that keeps and students' that learn (`--text students`)

From the downstream sets, curation sees only the class names, and every command leaves out their clips and recordings
(`--task`). The pool's labels rank options, with other seeds (`--tables options --seeds 100`). Nothing is trained on
them. Downstream sets choose nothing. Protocol 3 was first run with protocol 2's recipe (`BY_QUANTILE`, no share of the
start, β = 0.3), and its students were no better than their teachers. The captions and clips of ADS, the share of the
start and β = 0.5 were then chosen by the pool's labels, with teachers of seeds 100 and 101. Then the protocol was run
with them. The table `recipe` removes them again. Sizes are those of protocol 2.
"""

from dataclasses import dataclass, field


# The captions that ADS takes, and the clips for them.
BY_QUANTILE = ["--caption_quantile", "0.8"]
BY_LABEL = ["--captions_per_label", "4", "--label_prompts", "true", "--contrast_labels", "true"]


@dataclass(frozen=True)
class Protocol:
    """The common part of a grid's steps. `{data}` and `{weights}`, the pretrained tower's folder, are filled in later.

    A domain is one of the downstream sets. DS and ADS are curated for it. Everything else is the same for all.

    Attributes:
        captioned: the teachers' training data, and the captions to choose from.
        pool: audio alone.
        domains: name -> the set to score, which everything else leaves out.
        pool_sets: the parts of the pool that have classes. No training and no curation reads these; they may rank
            options.
        model: flags of a new model.
        ads: flags for the captions and clips of ADS.
        student: flags of every student.
        betas: weights of the soft labels. Rows do not mention the first one.
        tables: the default tables.
        output_dir: the default folder of results.
        is_pretrained: whether teachers start from the tower of `pretrain.py`. Each model is then scored as soon as it
            exists, so that its weights need not be kept.
        further_seeds: for teacher and ADS+SL only.
    """

    captioned: list[str]
    pool: list[str]
    domains: dict[str, str]
    pool_sets: dict[str, str]
    model: list[str]
    ads: list[str]
    student: list[str]
    betas: tuple[str, ...]
    tables: list[str]
    output_dir: str
    is_pretrained: bool = False
    further_seeds: list[int] = field(default_factory=list)

    @property
    def sets(self) -> dict[str, str]:
        """All labelled sets."""
        return self.domains | self.pool_sets


_MODEL = ["--projection_dim", "512", "--dropout", "0.2", "--hop_length", "640"]

SECOND = Protocol(
    captioned=["audiofolder={data}/captioned_sfx", "esc50={data}/esc50_extra", "esc50:1,2={data}/esc10"],
    pool=["folder={data}/wild", "urbansound8k:1={data}/urbansound8k", "esc50:3={data}/esc10"],
    domains={"esc10": "esc50:4,5={data}/esc10", "urbansound8k": "urbansound8k:2={data}/urbansound8k"},
    pool_sets={"pool_esc10": "esc50:3={data}/esc10", "pool_urbansound8k": "urbansound8k:1={data}/urbansound8k"},
    model=_MODEL,
    ads=BY_QUANTILE,
    student=[],
    betas=("0.3",),
    tables=["2", "3", "ablations"],
    output_dir="outputs/reproduction",
)
THIRD = Protocol(
    captioned=["audiofolder={data}/captioned_sfx", "esc50:1={data}/esc50_16k"],
    pool=["folder={data}/wild", "urbansound8k:1={data}/urbansound8k", "esc50:2={data}/esc50_16k"],
    domains={"esc50": "esc50:3={data}/esc50_16k", "urbansound8k": "urbansound8k:2={data}/urbansound8k"},
    pool_sets={"pool_esc50": "esc50:2={data}/esc50_16k", "pool_urbansound8k": "urbansound8k:1={data}/urbansound8k"},
    model=[*_MODEL, "--audio_weights", "{weights}"],
    ads=BY_LABEL,
    student=["--start_share", "0.5"],
    betas=("0.5", "0.3"),
    tables=["2", "3", "rounds", "seeds", "recipe"],
    output_dir="outputs/real",
    is_pretrained=True,
    further_seeds=[3, 4],
)
PROTOCOLS = {"2": SECOND, "3": THIRD}

# Whether the text towers of the teacher and of the students are frozen.
TEXT = {"keeps": ("true", "true"), "learns": ("false", "false"), "students": ("true", "false")}


__all__ = ["PROTOCOLS", "SECOND", "TEXT", "Protocol"]
