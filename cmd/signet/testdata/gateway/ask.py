"""Asks as the gateway does, by the hook of docs/gateway.md, and prints what comes of it.

On stdin is a list of [url, plugin, image, digest]; printed is a line of JSON for each.
"""

import asyncio
import json
import sys

import image_signing_hook
from cpex.framework import PluginManager

for url, plugin, image, digest in json.load(sys.stdin):
    try:
        manager = PluginManager(url or None, plugin)
        got = asyncio.run(image_signing_hook.require_signed(manager, image, digest or None, "admin@example.com", "r-1"))
        print(json.dumps({"deploy": got}))
    except Exception as e:
        print(json.dumps({"raised": type(e).__name__, "message": str(e)}))
