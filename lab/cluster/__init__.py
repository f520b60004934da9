"""A single-node Kubernetes as plain processes, with a node in network and mount namespaces of its own."""
