"""Names that are contracts: people, other programs and the images rely on them."""

PLATFORM = "mlops-platform"
TRAINING = "ml-training"
SERVING = "ml-serving"

TRACKING_SERVICE = "mlflow"
TRACKING_PORT = 5000
TRACKING_PODS = {"app.kubernetes.io/component": "tracking"}
SERVING_PORT = 8080


def selector(name: str, instance: str) -> dict[str, str]:
    """The labels that Services, Deployments and policies select by. They never change: a selector cannot."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/instance": instance}


def labels(name: str, instance: str, component: str, **more: str) -> dict[str, str]:
    """All labels of an object: the selector's, and what a person searches by; `more` as in version="3"."""
    return {
        **selector(name, instance),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "mlops",
        "app.kubernetes.io/managed-by": "pulumi",
        **{f"app.kubernetes.io/{key}": value for key, value in more.items()},
    }
