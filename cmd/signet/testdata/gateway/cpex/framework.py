"""What the hook of docs/gateway.md uses of the gateway's plugin framework, with the standard library alone.

It stands in for cpex (docs/gateway.md says how that behaves): models that want their fields, a registry of hooks, and a
manager that sends a hook to an external plugin over MCP and raises as the gateway does.
"""

import json
import urllib.request


class Model:
    """Takes the fields that its class annotates, and no others; those without a default are needed."""

    def __init__(self, **fields):
        known = {}
        for cls in reversed(type(self).__mro__):
            known.update(getattr(cls, "__annotations__", {}))
        for name in fields:
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no field {name}")
        for name in known:
            if name not in fields and not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} needs the field {name}")
            setattr(self, name, fields.get(name, getattr(type(self), name, None)))
        self._fields = list(known)

    def dump(self):
        """None is left out, as the framework does for its models."""
        return {name: getattr(self, name) for name in self._fields if getattr(self, name) is not None}


class PluginPayload(Model):
    pass


class GlobalContext(Model):
    request_id: str
    user: object = None
    state: dict = {}
    metadata: dict = {}


class PluginResult(Model):
    continue_processing: bool = True
    violation: object = None
    metadata: object = None

    def __class_getitem__(cls, payload):
        return (cls, payload)


class PluginViolationError(Exception):
    pass


class PluginError(Exception):
    pass


class _Registry:
    def __init__(self):
        self.hooks = {}

    def register_hook(self, name, payload, result):
        if not issubclass(payload, PluginPayload) or result != PluginResult[payload]:
            raise TypeError("a hook has a payload, and a result of that payload")
        self.hooks[name] = payload


_registry = _Registry()


def get_hook_registry():
    return _registry


class PluginManager:
    """One external plugin at url; with url None, one that could not be initialised and is skipped."""

    def __init__(self, url, name):
        self.url, self.name = url, name

    async def invoke_hook(self, hook, payload, global_context, violations_as_exceptions=False):
        if not isinstance(payload, _registry.hooks[hook]):
            raise TypeError(f"{hook} has another payload")
        if self.url is None:
            return PluginResult(), {}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "invoke_hook", "arguments": {
            "hook_type": hook, "plugin_name": self.name, "payload": payload.dump(),
            "context": {"state": {}, "global_context": global_context.dump(), "metadata": {}},
        }}}
        request = urllib.request.Request(self.url, json.dumps(message).encode(), {
            "Content-Type": "application/json", "Accept": "application/json, text/event-stream"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
            answer = json.load(response)
        reply = json.loads(answer["result"]["content"][0]["text"])
        if "error" in reply:  # on_error: fail
            raise PluginError(reply["error"]["code"] + ": " + reply["error"]["message"])
        result = PluginResult(**{k: v for k, v in reply["result"].items() if k in ("continue_processing", "violation", "metadata")})
        if not result.continue_processing and violations_as_exceptions:
            violation = result.violation
            raise PluginViolationError(violation["code"] + ": " + violation["reason"] + ": " + violation["description"])
        return result, {}
