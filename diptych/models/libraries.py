"""Models made by timm and Transformers from names and options that a file may have brought.

Both can be talked into fetching weights and code, and into reading other files, by options alone. So an architecture is
one of the library's own, an option is one that this architecture has, its value is a number, a switch or a word, what
is known to fetch is refused by name besides, and the hub is out of reach while a model is made.
"""

from __future__ import annotations

import importlib
import inspect
import re
import threading
from collections.abc import Collection, Generator, Mapping
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
_WORD = re.compile(r"[\w-]{0,64}")  # names an activation, a norm, a pooling; no path, address or repository
# What configs of Transformers tell of a model besides what it is; nothing of it makes another encoder.
_NOTES = frozenset(
    {"id2label", "label2id", "architectures", "_name_or_path", "name_or_path", "transformers_version", "torch_dtype"}
    | {"dtype", "model_type", "problem_type", "task_specific_params", "finetuning_task", "tokenizer_class"}
)
_ELSEWHERE = ("self", "device", "dtype")  # parameters that say where a model is, not what
_COUNTS = re.compile(r"layer|depth|block|stage")
_MOST_LAYERS = 1000
_DEEPEST = 8  # objects in objects
_SPARE = 10_000_000  # numbers that a model may have beyond twice those of its weights, such as masks
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
    list, for options that its class does not have, or that fetch, and for those that timm cannot build with.
    """
    timm = library("timm", "timm")
    if not isinstance(name, str) or not timm.is_model(name):
        raise ConfigError(f"timm has no {name!r:.80}; {nearest(str(name), timm.list_models())}")
    refuse_fetching(options)
    try:
        with offline():
            if options:  # the rest of what the factory takes says where weights come from
                with torch.device("meta"):
                    kind: Any = type(timm.create_model(name, pretrained=False))
                known = inspect.signature(kind.__init__).parameters
                check_options(options, [key for key in known if key not in _ELSEWHERE], f"{name} of timm")
            return timm.create_model(name, **{**options, **ours, "pretrained": False})
    except ConfigError:
        raise
    except Exception as error:  # whatever the factory of that name raises
        raise ConfigError(f"timm cannot make {name!r}: {error!s:.300}") from error


def transformers_config(architecture: str, options: Mapping[str, Any], **ours: Any) -> Any:
    """The config of a ``model_type`` of Transformers: ``options`` are what a file says of it and win over ``ours``.
    Raises ConfigError as ``timm_model``."""
    transformers = library("transformers", "transformers")
    if architecture in _OF_TIMM:
        raise ConfigError(f"{architecture} of Transformers is a model of timm: name it as that (kind timm)")
    refuse_fetching(options)
    try:
        with offline():
            if options:
                check_options(options, _fields(transformers, architecture), f"{architecture} of Transformers")
            return transformers.AutoConfig.for_model(architecture, **{**ours, **options})
    except ConfigError:
        raise
    except Exception as error:  # each config checks its values in its own way
        raise ConfigError(f"Transformers cannot make a {architecture!r:.80}: {error!s:.300}") from error


def _fields(transformers: Any, architecture: str) -> list[str]:
    """The options of an architecture, by their names and by older ones."""
    fresh = transformers.AutoConfig.for_model(architecture)
    return [*fresh.to_dict(), *fresh.attribute_map]


def published_config(config: Mapping[str, Any]) -> Any:
    """The config of a published model from its ``config.json``: what the architecture of that name has, and none of
    what others left there, which Transformers ignores. Raises ConfigError as ``transformers_config``."""
    transformers, architecture = library("transformers", "transformers"), config["model_type"]
    told = {key: value for key, value in config.items() if key not in _NOTES}
    refuse_fetching(told)
    try:
        with offline():
            known = _fields(transformers, architecture)
    except Exception as error:  # likewise
        raise ConfigError(f"Transformers cannot make a {architecture!r:.80}: {error!s:.300}") from error
    return transformers_config(architecture, {key: told[key] for key in told if key in known})


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
            hollow = transformers.AutoModel.from_config(config)
        check_size(hollow, tensors)
        kind: Any = type(hollow)
        # Without a path: nothing but these weights is looked at, such as adapters that lie in the same folder.
        encoder, report = kind.from_pretrained(
            None, config=config, state_dict=dict(tensors), dtype=torch.float32, output_loading_info=True
        )
    return encoder, sorted(report["missing_keys"])


def check_size(hollow: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """ConfigError for a model, on the meta device, that would take far more memory than its weights have."""
    wanted = sum(tensor.numel() for tensor in (*hollow.parameters(), *hollow.buffers()))
    stored = sum(tensor.numel() for tensor in tensors.values())
    if wanted > 2 * stored + _SPARE:
        raise ConfigError(f"a model of {wanted:,} numbers is described, but the weights have {stored:,}")


def check_options(options: Mapping[str, Any], known: Collection[str], whose: str) -> None:
    """ConfigError for an option that is none of ``known``, or whose value is no number, switch, word, null, nor lists
    and objects of these."""
    for option, value in options.items():
        if option not in known:
            raise ConfigError(f"{whose} has no option {option!r:.80}; {nearest(str(option), known)}")
        _check_plain(value, f"{whose}: {option}")


def _check_plain(value: Any, where: str, depth: int = 0) -> None:
    if depth > _DEEPEST:
        raise ConfigError(f"{where} lies in objects more than {_DEEPEST} deep")
    if isinstance(value, Mapping | list | tuple):
        for part in (*value, *value.values()) if isinstance(value, Mapping) else value:
            _check_plain(part, where, depth + 1)
    elif not (value is None or isinstance(value, int | float) or (isinstance(value, str) and _WORD.fullmatch(value))):
        raise ConfigError(f"{where} is {value!r:.80}; only numbers, true, false, null and single words are taken")


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
