"""Runtimes: the server process that answers inference requests, and the agent's handle on it.

`process` and `endpoint` are light and run in the agent; `server` and what it stands on (`app`, `service`, `loaded`,
`golden`, `tensors`) run in the runtime's own process and need the extra `onnx`.
"""
