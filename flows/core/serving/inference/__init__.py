"""Requests of the Open Inference Protocol v2: tensors, the features of their rows, the models in service."""
