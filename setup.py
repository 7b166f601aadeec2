"""Installs the package. Extras: `.[app]` for the page of clap-app, `.[onnx]` for ONNX export, `.[st]` for
sentence-transformers, `.[mteb]` for mteb with decoding of its clips, `.[trackio]` for that tracker, `.[docs]` for
building the site, `.[test]` for the tests. `.[compat]` pins the oldest versions.
"""

from pathlib import Path

from setuptools import find_packages, setup


ROOT = Path(__file__).parent
VERSION = next(
    line.split('"')[1]
    for line in (ROOT / "modeling_clap_student" / "version.py").read_text(encoding="utf-8").splitlines()
    if line.startswith("__version__")
)

REQUIRES = [
    # torchaudio ends at 2.11, built for CUDA 13.0. It loads beside torch up to 2.14; 2.15 is built for another CUDA.
    "torch>=2.11,<2.15",
    "torchaudio>=2.11,<2.12",
    "torchdata>=0.11",
    # A release of transformers may change internals that the package uses: tests/test_internals.py lists them. The
    # bound is raised when the tests pass with the release. The others keep theirs within a major version.
    "transformers>=5.17,<5.25",
    "datasets>=5.1,<6",
    "accelerate>=1.12,<2",
    "evaluate>=0.4.6",
    "huggingface_hub>=1.31,<3",
    "filelock>=3.30",
    "tokenizers>=0.23.1",
    "soundfile>=0.13",
    "numpy>=2.0",
    "jinja2>=3.1.4",
    "matplotlib>=3.9",
    "pillow>=11.0",
    "pyyaml>=6.0.2",
    "rich>=14.0",
    "tqdm>=4.67",
]
ONNX = ["onnx>=1.18", "onnxscript>=0.6"]  # onnxscript 0.6 is the first that torch 2.11 and later can use
# A release may change which code of a checkpoint is loaded, and how.
ST = ["sentence-transformers>=6.1,<7"]
# With a version below 1, each release may change what it builds or reports as an error.
DOCS = ["zensical>=0.0.73,<0.1", "mkdocstrings[python]>=1.0.8,<2"]
TYPES = "ty>=0.0.108,<0.0.109"
# gradio 6 takes a page's style in another place than gradio 5. A release may change its own parts of the page.
APP = ["gradio>=6.31,<7"]
MTEB = ">=2.26"  # older ones were not tried with the present checkpoints
# onnxruntime 1.23 is the last for Python 3.10. mteb and zensical need 3.11.
# Metrics and statistics are compared with scikit-learn and, through it, scipy.
TEST = [
    *(
        "pytest>=8.0",
        "pytest-xdist>=3.6",
        "ruff>=0.14",
        "flask>=3.1",
        "onnxruntime>=1.23",
        "playwright>=1.60",
        "scikit-learn>=1.6",
        "tomli>=2.2; python_version < '3.11'",
        TYPES,
    ),
    "setuptools>=77",
    *("nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29"),  # for examples/quickstart.ipynb
    *ONNX,
    *ST,
    *APP,
    f"mteb{MTEB}; python_version >= '3.11'",  # the clips in its tests are already decoded
]


def floor(requirement: str) -> str:
    """`name>=1.2,<3` -> `name==1.2`."""
    name, rest = requirement.split(">=")
    return f"{name}=={rest.split(',')[0]}"


setup(
    name="modeling_clap_student",
    version=VERSION,
    description="Audio-text (CLAP) models that improve without labels: teacher, curation, student.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    url="https://arxiv.org/abs/2305.01864",
    project_urls={
        "The method": "https://arxiv.org/abs/2305.01864",
        "The order of sounds": "https://arxiv.org/abs/2408.09269",
    },
    keywords="audio CLAP zero-shot classification self-training distillation domain-adaptation transformers",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Programming Language :: Python :: 3 :: Only",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["modeling_clap_student", "modeling_clap_student.*"]),
    package_data={
        "modeling_clap_student": ["py.typed"],
        "modeling_clap_student.curation.report": ["*.jinja", "*.css", "*.js"],
        "modeling_clap_student.app": ["*.css", "*.js"],
        "modeling_clap_student.soundscapes": ["captions.json"],
    },
    install_requires=REQUIRES,
    entry_points={
        "console_scripts": [
            f"clap-{name}=modeling_clap_student.commands.{module}:main"
            for name, module in (
                ("teacher", "teacher"),
                ("curate", "curate"),
                ("student", "student"),
                ("eval", "evaluate"),
                ("temporal", "temporal"),
                ("convert", "convert"),
                ("export", "export"),
                ("app", "app"),
            )
        ]
    },
    extras_require={
        "app": APP,
        "onnx": ONNX,
        "st": ST,
        "mteb": [f"mteb[audio]{MTEB}", *ST],
        "trackio": ["trackio>=0.43,<1"],
        "docs": DOCS,
        "test": TEST,
        "compat": [floor(requirement) for requirement in REQUIRES],
    },
)
