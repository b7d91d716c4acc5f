import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import COMMIT, hub
from twins import bundle

from diptych.checkpoints.bundle import fingerprint, read
from diptych.checkpoints.writing import write
from diptych.errors import CheckpointError

# The address of a hub is read when huggingface_hub is imported, so each story runs in a process of its own.
_STORY = """
import sys
from diptych.checkpoints.hub import fetch
from diptych.errors import CheckpointError
for location in sys.argv[1:]:
    try:
        print(fetch(location))
    except CheckpointError as error:
        print(str(error).replace("\\n", " "))
"""


def _tell(endpoint: str, home: Path, *locations: str, **environment: str) -> list[str]:
    environment = os.environ | {
        **{"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"},
        **{"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"},
        **{"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        **environment,
    }
    command = [sys.executable, "-c", _STORY, *locations]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


def test_only_the_files_needed_are_fetched_and_once(tmp_path):
    original = bundle("ViT-B/16")
    write(original, tmp_path / "bundle", format="open_clip")
    files = {path.name: path.read_bytes() for path in (tmp_path / "bundle").iterdir() if path.name != "diptych.json"}
    files |= {"README.md": b"#", "open_clip_pytorch_model.bin": b"the same weights again", "sub/model.safetensors": b""}
    home = tmp_path / "home"
    with hub("org/name", files) as (endpoint, asked):
        locations = ("hf:org/name", f"hf:org/name@{COMMIT}", "hf:org/nome", "hf:org/name@v2", "hf:name", "hf:org/name@")
        first, pinned, unknown, revision, *malformed = _tell(endpoint, home, *locations)
    assert first == pinned
    assert fingerprint(read(first).weights) == fingerprint(original.weights)
    got = [request.rpartition("/")[2] for request in asked if request.startswith("GET org")]
    assert sorted(got) == ["open_clip_config.json", "open_clip_model.safetensors"]
    assert "no model 'org/nome'" in unknown
    assert "no branch, tag or commit 'v2'" in revision
    assert all("hf:organisation/name" in error for error in malformed)

    cached, missing = _tell("http://127.0.0.1:9", home, "hf:org/name", "hf:org/other")
    assert cached == first
    assert "cannot be fetched and is not in the cache" in missing
    offline, absent = _tell("http://127.0.0.1:9", home, "hf:org/name", "hf:org/name@v2", HF_HUB_OFFLINE="1")
    assert offline == first
    assert "not in the cache" in absent
    [empty] = _tell("http://127.0.0.1:9", tmp_path / "no-home", "hf:org/name")
    assert "not in the cache" in empty


def test_a_repository_without_weights_is_refused_before_any_download(tmp_path):
    with hub("org/name", {"README.md": b""}) as (endpoint, asked):
        [error] = _tell(endpoint, tmp_path, "hf:org/name")
    assert "no weights" in error
    assert not [request for request in asked if "resolve" in request]


def test_a_hub_location_is_not_taken_for_a_path():
    with pytest.raises(CheckpointError, match="organisation/name"):
        read("hf:")
