"""A run on its way to a device: prediction, ONNX export with its proof, int8, what a clip costs.

Begin with ``prediction``, then ``export``. Imports: report and what lies below.
"""
