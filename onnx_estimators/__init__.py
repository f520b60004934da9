"""Estimators of scikit-learn's kind whose predictions ONNX Runtime computes.

A network that PyTorch has trained becomes such an estimator, so a model server needs no PyTorch. The training image and
the serving image contain this package; it depends on no other package of this repository, because a model server loads
it together with the model.
"""
