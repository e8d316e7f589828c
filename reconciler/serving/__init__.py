"""Runtimes: the server process that answers inference requests, and the agent's handle on it.

`process`, `endpoint` and `holder` are light and run in the agent; `server` and what it stands on, which is all else,
run in the runtime's own process and need the extra `onnx`.
"""
