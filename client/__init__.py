"""Client of endpoints: predict the rows of a file, and write typed clients. It needs a URL or a kubeconfig."""
