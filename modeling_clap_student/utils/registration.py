"""Registers the model in transformers' Auto classes without importing them or the model, which would take seconds.

An Auto class gets its registration once somebody has imported its module. It gets stand-ins. Each imports the
real class at its first use. Nothing is imported here: transformers' modules import the Auto classes during their own
import, and a half-imported module can't be used.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from types import ModuleType, SimpleNamespace


_PACKAGE = __name__.partition(".")[0]
_CONFIGS = f"{_PACKAGE}.configuration_clap_student"
_AUTO = "transformers.models.auto"


def register_auto_classes() -> None:
    """Registers the configs, models, feature extractor and processor: now, or when their Auto class is imported."""
    registration = _Registration()
    sys.meta_path.insert(0, registration)
    for name in _REGISTER:
        if name in sys.modules:
            registration.imported(name, sys.modules[name])


class _StandIn(type):
    """A class that stands in for one of the package's. Any use beyond its name imports the real class."""

    def __new__(cls, name: str, **attributes):
        return super().__new__(cls, name, (), {"__module__": _PACKAGE, **attributes})

    def __init__(cls, name: str, **attributes):
        super().__init__(name, (), attributes)

    def _real(cls) -> type:
        return getattr(import_module(_PACKAGE), cls.__name__)

    def __getattr__(cls, name: str):
        return getattr(cls._real(), name)

    def __call__(cls, *args, **kwargs):
        return cls._real()(*args, **kwargs)

    def __instancecheck__(cls, instance) -> bool:
        return isinstance(instance, cls._real())

    def __subclasscheck__(cls, subclass) -> bool:
        return issubclass(subclass, cls._real())


def _register_configs(auto: ModuleType, configs) -> None:
    auto.AutoConfig.register("clap_student", configs.ClapStudentConfig)
    auto.AutoConfig.register("clap_student_audio_model", configs.ClapStudentAudioConfig)


def _register_models(auto: ModuleType, configs) -> None:
    for part in ("", "Audio"):
        config = getattr(configs, f"ClapStudent{part}Config")
        auto.AutoModel.register(config, _StandIn(f"ClapStudent{part}Model", config_class=config))


def _register_feature_extractor(auto: ModuleType, configs) -> None:
    auto.AutoFeatureExtractor.register(configs.ClapStudentConfig, _StandIn("ClapStudentFeatureExtractor"))


def _register_processor(auto: ModuleType, configs) -> None:
    auto.AutoProcessor.register(configs.ClapStudentConfig, _StandIn("ClapStudentProcessor"))


_REGISTER = {
    f"{_AUTO}.configuration_auto": _register_configs,
    f"{_AUTO}.modeling_auto": _register_models,
    f"{_AUTO}.feature_extraction_auto": _register_feature_extractor,
    f"{_AUTO}.processing_auto": _register_processor,
}


class _Registration(MetaPathFinder):
    """Watches for imports of the Auto classes' modules and of the configs' modules."""

    def __init__(self):
        self._autos: dict[str, ModuleType] = {}
        # The Auto classes find a class by its config's. Before that is loaded, it can only be found by name.
        names = ("ClapStudentConfig", "ClapStudentAudioConfig")
        self._configs = SimpleNamespace(**{name: _StandIn(name) for name in names})

    def imported(self, name: str, module: ModuleType) -> None:
        """Registers with an Auto class that was imported, or, for configs that were imported, with all Auto
        classes."""
        if name == _CONFIGS:
            self._configs = module
        else:
            self._autos[name] = module
        for auto in self._autos if name == _CONFIGS else [name]:
            _REGISTER[auto](self._autos[auto], self._configs)

    def find_spec(self, name, path=None, target=None):
        if name != _CONFIGS and name not in _REGISTER:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_tell(module: ModuleType) -> None:
                execute(module)
                self.imported(name, module)

            spec.loader.exec_module = execute_and_tell
        return spec
