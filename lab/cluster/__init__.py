"""Kubernetes with one node, as plain processes. The node has its own network and mount namespaces."""
