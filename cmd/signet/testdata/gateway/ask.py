"""ask.py URL PLUGIN IMAGE [DIGEST]: asks as the gateway does, by the hook of docs/gateway.md, and prints what comes of it."""

import asyncio
import json
import sys

import image_signing_hook
from cpex.framework import PluginManager

url, plugin, image = sys.argv[1:4]
digest = sys.argv[4] if len(sys.argv) > 4 else None
try:
    manager = PluginManager(url or None, plugin)
    got = asyncio.run(image_signing_hook.require_signed(manager, image, digest, "admin@example.com", "r-1"))
    print(json.dumps({"deploy": got}))
except Exception as e:
    print(json.dumps({"raised": type(e).__name__, "message": str(e)}))
