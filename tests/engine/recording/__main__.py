"""The process that the engine starts: `pulumi-resource-PACKAGE ENGINE_ADDRESS`."""

import os
import sys
from pathlib import Path

from tests.engine.recording.plugin import serve
from tests.engine.recording.provider import Recorder, RecordingProvider

file = os.environ.get("MLOPS_RECORDING")
serve(RecordingProvider(sys.argv[1], Recorder(Path(file) if file else None)))
