"""Rules for the keys of MLflow."""

from infra.config.rules import Rule

NEEDS_ENVOY = Rule(
    must="must be false without an image of the proxy",
    because="the proxy Envoy verifies the callers of MLflow",
    instead="add mlops:images.envoy, as in envoy: envoyproxy/envoy:v1.40.0, or remove authenticated",
)
