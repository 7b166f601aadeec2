"""Makes transformers' Auto classes know the model, without importing any of them.

They and the model take seconds to import. So an Auto class is told when its own module is imported, by whomever, and
it is told of a stand-in that loads the real class when it is first used.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from types import ModuleType


_PACKAGE = __name__.partition(".")[0]
_CONFIGS = f"{_PACKAGE}.configuration_clap_student"
_AUTO = "transformers.models.auto"
# Modules that the registration imports -> the last class that each defines. They import an Auto class themselves.
_NEEDED = {_CONFIGS: "ClapStudentConfig", "transformers.models.bert.configuration_bert": "BertConfig"}


def register_auto_classes() -> None:
    """Registers the configs, models, feature extractor and processor: now, or when their Auto class is imported."""
    registration = _Registration()
    sys.meta_path.insert(0, registration)
    registration.ready |= {name: sys.modules[name] for name in _REGISTER if name in sys.modules}
    registration.register()


def _register_configs(auto: ModuleType, configs: ModuleType) -> None:
    for config in (configs.ClapStudentConfig, configs.ClapStudentAudioConfig):
        auto.AutoConfig.register(config.model_type, config)


def _register_models(auto: ModuleType, configs: ModuleType) -> None:
    for part in ("", "Audio"):
        config = getattr(configs, f"ClapStudent{part}Config")
        auto.AutoModel.register(config, _StandIn(f"ClapStudent{part}Model", config_class=config))


def _register_feature_extractor(auto: ModuleType, configs: ModuleType) -> None:
    auto.AutoFeatureExtractor.register(configs.ClapStudentConfig, _StandIn("ClapStudentFeatureExtractor"))


def _register_processor(auto: ModuleType, configs: ModuleType) -> None:
    auto.AutoProcessor.register(configs.ClapStudentConfig, _StandIn("ClapStudentProcessor"))


_REGISTER = {
    f"{_AUTO}.configuration_auto": _register_configs,
    f"{_AUTO}.modeling_auto": _register_models,
    f"{_AUTO}.feature_extraction_auto": _register_feature_extractor,
    f"{_AUTO}.processing_auto": _register_processor,
}


class _Registration(MetaPathFinder):
    """Sees the Auto classes' modules being imported.

    Attributes:
        ready: name -> module, of those that are imported and not told yet.
    """

    def __init__(self):
        self.ready: dict[str, ModuleType] = {}

    def register(self) -> None:
        """Tells the Auto classes that are there. That imports the configs, which are small."""
        if any(name in sys.modules and not hasattr(sys.modules[name], last) for name, last in _NEEDED.items()):
            return  # it is being imported, and that imported an Auto class, which is told when it is there
        while self.ready:
            name, auto = self.ready.popitem()
            _REGISTER[name](auto, import_module(_CONFIGS))

    def find_spec(self, name, path=None, target=None):
        if name not in _NEEDED and name not in _REGISTER:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module: ModuleType) -> None:
                execute(module)
                if name in _REGISTER:
                    self.ready[name] = module
                self.register()

            spec.loader.exec_module = execute_and_register
        return spec


class _StandIn(type):
    """A class that stands for one of the package's, which is imported when anything but its name is asked for."""

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
