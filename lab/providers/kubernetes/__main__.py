"""The process that the engine starts: `pulumi-resource-kubernetes ENGINE_ADDRESS`."""

import sys
import threading

from lab.providers.kubernetes.provider import KubernetesProvider
from lab.providers.plugin import serve

provider = KubernetesProvider(next((argument for argument in sys.argv[1:] if ":" in argument), None))
threading.Thread(target=provider.confirm_created, daemon=True).start()
serve(provider)
