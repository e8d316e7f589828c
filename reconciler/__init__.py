"""An event-sourced GitOps reconciler for edge AI. Start reading at `reconciler.engine.loop`."""

__version__ = "0.1.0"
