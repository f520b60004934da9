"""Entry point of the plugin process, `pulumi-resource-PACKAGE ENGINE_ADDRESS`."""

import json
import os
import sys
from pathlib import Path

from tests.engine.recording.plugin import serve
from tests.engine.recording.provider import Recorder, RecordingProvider

file = os.environ.get("MLOPS_RECORDING")
orders = json.loads(os.environ.get("MLOPS_RECORDING_ORDERS") or "{}")
serve(RecordingProvider(sys.argv[1], Recorder(Path(file) if file else None), orders))
