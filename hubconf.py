"""Entry points for torch.hub, e.g. torch.hub.load(ROOT, "exported", FOLDER, source="local")."""

from model import create_model as create_model
from model import list_models as list_models
from model.export.programs import load_exported as exported

__all__ = ["create_model", "exported", "list_models"]

dependencies = ["torch", "yaml", "numpy"]
