"""Models made by timm and Transformers from names and options that a file may have brought.

Both can be talked into fetching weights and code by options alone. So an architecture is one of the library's own,
options that name something to fetch are refused, and the hub is out of reach while a model is made.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch
from torch import nn

from diptych.errors import ConfigError, MissingExtra, nearest

# What names weights, code or kernels that are elsewhere. Attention that is built in may be named.
_FETCHES = re.compile(
    r"pretrained(_cfg\w*|_model_args)?|checkpoint_path|cache_dir|backbone|backbone_kwargs|use_\w*backbone|auto_map"
    r"|trust_remote_code|\w*_implementation(_internal)?|use_kernels|kernel_config|quantization_config"
)
_BUILT_IN = ("eager", "sdpa")
_COUNTS = re.compile(r"layer|depth|block|stage")
_MOST_LAYERS = 1000
_DEEPEST = 8  # objects in objects
_OF_TIMM = ("timm_backbone", "timm_wrapper")  # Transformers' door to all of timm
_one_at_a_time = threading.RLock()


def library(name: str, extra: str) -> ModuleType:
    """An optional library; MissingExtra, which says how to install it, where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra(f"{name} is an extra: pip install 'diptych[{extra}]' ({error})") from error


def timm_model(name: str, options: Mapping[str, Any], **ours: Any) -> Any:
    """An architecture of timm with random weights.

    ``options``: what a file says of it; ``ours`` win over them. Raises ConfigError for a name that is not of timm's own
    list, for options that fetch, and for those that timm cannot build with.
    """
    timm = library("timm", "timm")
    if not isinstance(name, str) or not timm.is_model(name):
        raise ConfigError(f"timm has no {name!r:.80}; {nearest(str(name), timm.list_models())}")
    refuse_fetching(options)
    try:
        with offline():
            return timm.create_model(name, **{**options, **ours, "pretrained": False})
    except Exception as error:  # whatever the factory of that name raises
        raise ConfigError(f"timm cannot make {name!r}: {error!s:.300}") from error


def transformers_config(architecture: str, options: Mapping[str, Any]) -> Any:
    """The config of a ``model_type`` of Transformers; ConfigError as in ``timm_model``."""
    transformers = library("transformers", "transformers")
    if architecture in _OF_TIMM:
        raise ConfigError(f"{architecture} of Transformers is a model of timm: name it as that (kind timm)")
    refuse_fetching(options)
    try:
        with offline():
            return transformers.AutoConfig.for_model(architecture, **options)
    except Exception as error:  # each config checks its values in its own way
        raise ConfigError(f"Transformers cannot make a {architecture!r:.80}: {error!s:.300}") from error


def tower_config(architecture: str, sizes: Mapping[str, Any], options: Mapping[str, Any]) -> Any:
    """The same for a tower: ``sizes`` are what its spec says, ``options`` what stands in that by the library's names.
    Raises ConfigError, with the nearest name, for an option that the architecture does not have."""
    known = transformers_config(architecture, {}).to_dict()
    for option in options:
        if option not in known:
            raise ConfigError(f"{architecture} of Transformers has no option {option!r:.80}; {nearest(option, known)}")
    return transformers_config(architecture, {**sizes, **options})


def transformers_model(config: Any) -> nn.Module:
    """The encoder of a config, with random weights. Raises ConfigError where the library cannot build it."""
    transformers = library("transformers", "transformers")
    try:
        with offline():
            try:  # BERT and its kin have a layer after the last one, which nothing here uses, unless told otherwise
                return transformers.AutoModel.from_config(config, add_pooling_layer=False)
            except TypeError:
                return transformers.AutoModel.from_config(config)
    except Exception as error:  # likewise
        raise ConfigError(f"Transformers cannot make a {config.model_type!r}: {error!s:.300}") from error


def transformers_encoder(config: Any, tensors: Mapping[str, torch.Tensor]) -> tuple[nn.Module, list[str]]:
    """The encoder of a config with weights as Transformers keeps them, whatever it called them when they were saved;
    and the names of those that are missing."""
    transformers = library("transformers", "transformers")
    with offline():
        with torch.device("meta"):
            kind = type(transformers.AutoModel.from_config(config))
        # Without a path: nothing but these weights is looked at, such as adapters that lie in the same folder.
        encoder, report = kind.from_pretrained(
            None, config=config, state_dict=dict(tensors), dtype=torch.float32, output_loading_info=True
        )
    return encoder, sorted(report["missing_keys"])


def refuse_fetching(options: Any, depth: int = 0) -> None:
    """ConfigError for options that name something to fetch, at any depth, or that make models without end."""
    if not isinstance(options, Mapping):
        raise ConfigError(f"options are an object, not {options!r:.80}")
    if depth > _DEEPEST:
        raise ConfigError(f"options lie in one another more than {_DEEPEST} deep")
    for key, value in options.items():
        if _FETCHES.fullmatch(str(key)) and value and value not in _BUILT_IN:
            raise ConfigError(f"{key} = {value!r:.80} could fetch weights or code from elsewhere; take it out")
        if isinstance(value, int) and value > _MOST_LAYERS and _COUNTS.search(str(key)):
            raise ConfigError(f"{key} is {value:,}; no model has more than {_MOST_LAYERS:,}")
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, Mapping):
                refuse_fetching(part, depth + 1)


@contextmanager
def offline() -> Generator[None]:
    """Nothing of either library reaches the hub, whatever makes it try. One thread at a time, since the switch is
    huggingface_hub's own and there is one."""
    constants: Any = importlib.import_module("huggingface_hub.constants")
    with _one_at_a_time:
        before = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = True
        try:
            yield
        finally:
            constants.HF_HUB_OFFLINE = before
