"""Declaration of a stack from its settings: all components, and the stack's outputs."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pulumi
from pulumi import Input, ResourceHookBinding, ResourceOptions

from components import gone, rollout
from components.batch_job import BatchJob, BatchJobArgs
from components.drift_job import DriftJob, DriftJobArgs, Retraining
from components.endpoint import model_cache
from components.endpoint.arms import Challenger, Shadow, Size
from components.endpoint.autoscaling import Autoscaling
from components.endpoint.model_cache import ModelCache, ModelCacheArgs
from components.endpoint.model_endpoint import ModelEndpoint, ModelEndpointArgs
from components.endpoint.prediction_log import PredictionLog
from components.endpoint.tracing import Tracing
from components.foundation import Foundation, Ingress
from components.mlflow_identities import ClientProxy, MlflowIdentities, MlflowIdentitiesArgs
from components.mlflow_login import CLIENT_SECRET, COOKIE_KEY, Login
from components.mlflow_server import Gateway, MlflowServer, MlflowServerArgs
from components.people import People, PeopleArgs
from components.pods import Placement
from components.router.authentication import Callers
from components.shared_ingress import SharedIngress, SharedIngressArgs
from components.training.container import SecretValue
from components.training.job import TrainingJob, TrainingJobArgs
from components.training.schedule import Schedule
from components.training.sweep import Scalar, Sweep
from components.training.templates import TrainingTemplates, TrainingTemplatesArgs
from components.training.validation import ValidationArgs
from contract import names
from infra import token_issuers
from infra.config import aws, image_rules
from infra.config import training as training_settings
from infra.config.drift import Retrain, of_length
from infra.config.endpoint import ReplicaRange
from infra.config.endpoint_ingress import EndpointIngress
from infra.config.stack import Endpoint, Settings, Tracking, Training, secret
from infra.config.training import SecretParameter
from infra.config.two_versions import SecondVersion
from infra.foundations import kinds as foundations
from infra.release.gate import ReleaseGate
from model_preview.images import AUTO

CHECKOUT = Path(__file__).parent.parent
HOUR = timedelta(hours=1)
LOCAL_TRACKING = f"http://localhost:{names.TRACKING_PORT}"
"""Address of the proxy to MLflow in the pod of a client."""


def deploy(stack: Settings) -> None:
    """Declare all components of a stack and export its outputs."""
    gone.watch()
    base = foundations.build(stack)
    opts = ResourceOptions(provider=base.provider)
    People(
        "people",
        PeopleArgs(platform=base.tracking.namespace, training=base.training.namespace, serving=base.serving.namespace),
        opts,
    )
    on_unready = rollout.watch(
        base.access,
        {
            deployment
            for name, endpoint in stack.endpoints.items()
            if endpoint.rollback_on_failure
            for deployment in endpoint.deployments(name)
        },
    )
    tracking = MlflowServer("mlflow", _tracking(stack, base, on_unready), opts)
    proxy = _tracking_proxy(stack, base, opts)
    trainings = {
        name: TrainingJob(name, _training(name, training, stack, base, tracking, proxy=proxy), opts)
        for name, training in stack.training.items()
    }
    templates = {name: each for training in trainings.values() for name, each in training.templates.items()}
    TrainingTemplates("trainers", TrainingTemplatesArgs(templates=templates), opts)
    for name in stack.watched:
        DriftJob(name, _drift(name, stack, base, tracking, trainings, proxy=proxy), opts)
    cache = _model_cache(stack, base, opts)
    if pulumi.runtime.is_dry_run():
        token_issuers.warn({name: endpoint.auth for name, endpoint in stack.endpoints.items() if endpoint.auth})
    gate = ReleaseGate(stack, base.access, tracking.url, base.artifact_store.uri, CHECKOUT)
    endpoints = {
        name: ModelEndpoint(name, _endpoint(name, stack, base, gate, cache=cache, on_unready=on_unready), opts)
        for name in stack.endpoints
    }
    _shared_ingresses(stack, base, endpoints, opts)
    for name in stack.batch:
        BatchJob(name, _batch(name, stack, base, gate), opts)
    if stack.monitoring:
        from infra import observability

        observability.declare(stack, base, tracking.url, opts)
    pulumi.export("tracking", tracking.url)
    pulumi.export("endpoints", {name: endpoint.url for name, endpoint in endpoints.items()})
    ingresses = {"mlflow": stack.tracking.ingress, **{name: each.ingress for name, each in stack.endpoints.items()}}
    if outside := {name: ingress.url for name, ingress in ingresses.items() if ingress}:
        pulumi.export("outside", outside)
    if pulumi.runtime.is_dry_run() and (plain := [url for url in outside.values() if url.startswith("http:")]):
        pulumi.log.warn(
            f"{', '.join(plain)}: the load balancer speaks plain HTTP, so everyone in its networks may read requests "
            "and tokens; write ingress.certificate_arn"
        )
    for name, fact in base.facts.items():
        pulumi.export(name, fact)
    pulumi.export("artifacts", base.artifact_store.uri)


def _tracking(stack: Settings, base: Foundation, on_unready: ResourceHookBinding | None) -> MlflowServerArgs:
    return MlflowServerArgs(
        image=stack.images.tracking,
        **stack.tracking.model_dump(exclude={"authenticated", "ingress", "login", "node_pool"}),
        placement=_placement(base, stack.tracking.node_pool),
        database=base.database,
        artifact_store=base.artifact_store,
        grant=base.tracking,
        clients=base.training.namespace,
        gateway=_gateway(stack),
        ingress=_ingress(base, stack.tracking.ingress, "/health"),
        on_unready=on_unready,
    )


def _gateway(stack: Settings) -> Gateway | None:
    if not (stack.tracking.authenticated and stack.images.envoy):
        return None
    accounts = {job.service_account for job in stack.training.values() if job.service_account}
    watchers = [names.drift_account(name) for name in sorted(stack.watched)]
    login = _login(stack.tracking)
    keys = {CLIENT_SECRET: "login_client_secret", COOKIE_KEY: "login_cookie_key"} if login else {}
    return Gateway(
        image=stack.images.envoy,
        trainers=sorted(accounts),
        watchers=watchers,
        login=login,
        login_secrets={name: secret(key) for name, key in keys.items()},
    )


def _login(tracking: Tracking) -> Login | None:
    login, ingress = tracking.login, tracking.ingress
    if login is None or ingress is None:
        return None
    return Login(
        **login.model_dump(include={"authorization_endpoint", "token_endpoint", "end_session_endpoint"}),
        host=ingress.host,
        tokens=Callers(issuer=login.issuer, audience=login.client_id, keys=login.keys),
        scopes=login.scopes,
        groups_claim=login.groups_claim,
        groups={"people": login.viewers, "promoter": login.promoters},
    )


def _tracking_proxy(stack: Settings, base: Foundation, opts: ResourceOptions) -> ClientProxy | None:
    if not (stack.tracking.authenticated and stack.images.envoy):
        return None
    args = MlflowIdentitiesArgs(
        image=stack.images.envoy, platform=base.tracking.namespace, training=base.training.namespace
    )
    return MlflowIdentities("identities", args, opts).proxy


def _training(
    name: str, job: Training, stack: Settings, base: Foundation, tracking: MlflowServer, *, proxy: ClientProxy | None
) -> TrainingJobArgs:
    return TrainingJobArgs(
        image=job.image or stack.images.training,
        # The commit of another image is unknown.
        commit=None if job.image else stack.images.training_commit,
        command=job.command or (),
        is_script=job.is_script,
        project=job.project or name,
        model=job.model,
        dataset=job.dataset,
        parameters={key: _parameter(value) for key, value in job.parameters.items()},
        cpu=job.cpu,
        memory=job.memory,
        ephemeral_storage=job.ephemeral_storage,
        gpus=job.gpus or 0,
        shared_memory=job.shared_memory,
        queue=job.queue,
        pool_name=job.node_pool,
        pool=base.node_pools[job.node_pool],
        deadline_minutes=job.deadline_minutes,
        retries=job.retries,
        priority_class=job.priority_class,
        service_account=job.service_account,
        schedule=Schedule(**job.schedule.model_dump()) if job.schedule else None,
        sweep=_sweep(job.sweep) if job.sweep else None,
        validation=_validation(job, stack, base),
        tracking_url=_tracking_url(tracking, proxy),
        tracking_proxy=proxy,
        tracking_ui=_tracking_ui(stack, tracking),
        artifact_store=base.artifact_store,
        grant=base.training,
    )


def _validation(job: Training, stack: Settings, base: Foundation) -> ValidationArgs:
    """Return the validation's settings; it reads the training's table, so memory and disk default to the training's."""
    return ValidationArgs(
        image=image_rules.own(job.validation.image) or stack.images.serving,
        takes_image_of_version=job.validation.image == AUTO,
        enabled=job.validation.enabled,
        cron=job.validation.schedule,
        cpu=job.validation.cpu,
        memory=job.validation.memory or job.memory,
        ephemeral_storage=job.ephemeral_storage,
        deadline_minutes=job.validation.deadline_minutes,
        limits=job.validation.limits.model_dump(mode="json", exclude_none=True),
        endpoint=_url_for_validations(champion, stack) if (champion := stack.champion_endpoint(job.model)) else None,
        allow_code=job.validation.allow_code,
        grant=base.validation,
        code_image=stack.images.training if job.is_script else None,
    )


def _drift(
    name: str,
    stack: Settings,
    base: Foundation,
    tracking: MlflowServer,
    trainings: Mapping[str, TrainingJob],
    *,
    proxy: ClientProxy | None,
) -> DriftJobArgs:
    endpoint, drift, outcomes = stack.endpoints[name], stack.watched[name], stack.endpoints[name].outcomes
    kept = {"suspend", "least_rows", "false_alarms_per_year", "cpu", "memory", "deadline_minutes"}
    return DriftJobArgs(
        **drift.model_dump(include=kept),
        image=stack.images.training,
        model=stack.served_model(name),
        version=endpoint.version,
        cron=drift.schedule,
        window_hours=of_length(drift.window) / HOUR,
        outcomes=outcomes.folder if outcomes else None,
        outcomes_days=outcomes.days if outcomes else 0,
        queries=base.log_queries if drift.engine == "athena" else None,
        retraining=_retraining(endpoint.retrain, trainings),
        tracking_url=_tracking_url(tracking, proxy),
        tracking_proxy=proxy,
        artifact_store=base.artifact_store,
        grant=base.drift[name],
    )


def _retraining(retrain: Retrain | None, trainings: Mapping[str, TrainingJob]) -> Retraining | None:
    if retrain is None or retrain.suspend:
        return None
    return Retraining(
        training=trainings[retrain.training].template_name,
        job=trainings[retrain.training].job,
        after=retrain.after,
        pause_hours=of_length(retrain.at_most_every) / HOUR,
    )


def _tracking_url(tracking: MlflowServer, proxy: ClientProxy | None) -> Input[str]:
    """Return the URL of MLflow for a pod; that of the pod's proxy still waits for MLflow."""
    return tracking.url.apply(lambda _: LOCAL_TRACKING) if proxy else tracking.url


def _url_for_validations(endpoint: str, stack: Settings) -> str:
    """Return the URL at which validations reach the endpoint; they have no token, so not through its router."""
    return names.champion_url(endpoint) if stack.endpoints[endpoint].auth else names.endpoint_url(endpoint)


def _parameter(value: Scalar | SecretParameter) -> Scalar | SecretValue:
    return SecretValue(**value.model_dump()) if isinstance(value, SecretParameter) else value


def _sweep(sweep: training_settings.Sweep) -> Sweep:
    return Sweep(points=sweep.all_points, max_parallel=sweep.max_parallel, metric=sweep.metric, goal=sweep.goal)


def _tracking_ui(stack: Settings, tracking: MlflowServer) -> Input[str]:
    """Return the URL at which people reach MLflow: its ingress, else the first of `allowed_hosts`, else its Service."""
    if stack.tracking.ingress:
        return stack.tracking.ingress.url
    return f"http://{stack.tracking.allowed_hosts[0]}" if stack.tracking.allowed_hosts else tracking.url


def _model_cache(stack: Settings, base: Foundation, opts: ResourceOptions) -> ModelCache | None:
    if stack.model_cache is None:
        return None
    args = ModelCacheArgs(image=stack.images.serving, gib=stack.model_cache.gib, namespace=base.serving.namespace)
    return ModelCache(model_cache.NAME, args, opts)


def _endpoint(
    name: str,
    stack: Settings,
    base: Foundation,
    gate: ReleaseGate,
    *,
    cache: ModelCache | None,
    on_unready: ResourceHookBinding | None,
) -> ModelEndpointArgs:
    endpoint = stack.endpoints[name]
    return ModelEndpointArgs(
        image=image_rules.own(endpoint.image) or stack.images.serving,
        model=stack.served_model(name),
        version=endpoint.version,
        files=gate.files(name),
        challenger=_challenger(name, endpoint, gate),
        shadow=_shadow(name, endpoint, gate),
        callers=_callers(endpoint),
        router_image=stack.images.envoy or "",
        experiments=gate.experiments(name),
        experiment_gate=gate.experiment_hooks,
        override=endpoint.override or "",
        history=gate.history(name),
        gate=gate.hooks,
        autoscaling=_autoscaling(endpoint.replicas, endpoint),
        cpu=endpoint.cpu,
        memory=endpoint.memory,
        startup_seconds=endpoint.seconds_to_start,
        drain_seconds=endpoint.drain_seconds,
        max_body_mib=endpoint.max_body_mib,
        example=endpoint.example,
        artifact_store=base.artifact_store,
        grant=base.endpoints[name],
        placement=_placement(base, endpoint.node_pool),
        ingress=_ingress(base, endpoint.ingress, "/ping"),
        path=(endpoint.ingress and endpoint.ingress.path) or "",
        model_cache=cache,
        on_unready=on_unready,
        prediction_log=PredictionLog(**endpoint.prediction_log.model_dump()) if endpoint.prediction_log else None,
        tracing=Tracing(**endpoint.tracing.model_dump()) if endpoint.tracing else None,
    )


def _shared_ingresses(
    stack: Settings, base: Foundation, endpoints: Mapping[str, ModelEndpoint], opts: ResourceOptions
) -> None:
    """Declare a load balancer for each host whose paths belong to endpoints."""
    hosts = defaultdict[str, dict[str, EndpointIngress]](dict)
    for name, endpoint in stack.endpoints.items():
        if endpoint.ingress and endpoint.ingress.path:
            hosts[endpoint.ingress.host][name] = endpoint.ingress
    for host, of_host in hosts.items():
        if settings := _ingress(base, next(iter(of_host.values())), "/ping"):
            args = SharedIngressArgs(
                ingress=settings,
                namespace=base.serving.namespace,
                paths={name: str(each.path) for name, each in of_host.items()},
                backend_seconds=settings.healthy_seconds
                + max(stack.endpoints[name].seconds_to_start for name in of_host),
                after=[endpoints[name] for name in of_host],
            )
            SharedIngress(host, args, opts)


def _autoscaling(replicas: ReplicaRange, endpoint: Endpoint) -> Autoscaling:
    return Autoscaling(min_replicas=replicas.min, max_replicas=replicas.max, **endpoint.autoscaling.model_dump())


def _challenger(name: str, endpoint: Endpoint, gate: ReleaseGate) -> Challenger | None:
    challenger = endpoint.challenger
    return challenger and Challenger(
        **challenger.model_dump(include={"version", "percent", "key", "experiment", "override"}),
        files=gate.files(f"{name}-challenger"),
        size=_size(challenger, endpoint),
    )


def _shadow(name: str, endpoint: Endpoint, gate: ReleaseGate) -> Shadow | None:
    shadow = endpoint.shadow
    return shadow and Shadow(
        version=shadow.version,
        percent=shadow.percent,
        files=gate.files(f"{name}-shadow"),
        size=_size(shadow, endpoint),
    )


def _size(arm: SecondVersion, endpoint: Endpoint) -> Size:
    return Size(
        autoscaling=_autoscaling(arm.replicas or endpoint.replicas, endpoint),
        cpu=arm.cpu or endpoint.cpu,
        memory=arm.memory or endpoint.memory,
    )


def _callers(endpoint: Endpoint) -> Callers | None:
    auth, limits = endpoint.auth, endpoint.limits
    if auth is None:
        return None
    limit = limits.requests_per_minute if limits else None
    return Callers(issuer=auth.issuer, audience=auth.audience, keys=auth.keys, requests_per_minute=limit)


def _batch(name: str, stack: Settings, base: Foundation, gate: ReleaseGate) -> BatchJobArgs:
    batch = stack.batch[name]
    if base.batch is None:
        raise RuntimeError("the foundation of a stack with mlops:batch has no grant for it")
    kept = batch.model_dump(include={"model", "version", "input", "output", "workers", "cpu", "memory", "retries"})
    return BatchJobArgs(
        **kept,
        image=image_rules.own(batch.image) or stack.images.serving,
        files=gate.files(name),
        override=batch.override or "",
        gate=gate.hooks,
        ephemeral_storage=batch.ephemeral_storage,
        deadline_minutes=batch.deadline_minutes,
        schedule=Schedule(**batch.schedule.model_dump()) if batch.schedule else None,
        artifact_store=base.artifact_store,
        grant=base.batch,
        placement=_placement(base, batch.node_pool),
    )


def _placement(base: Foundation, pool: str | None) -> Placement:
    return Placement(priority_class=base.priority_class, node_labels=base.node_pools[pool].labels if pool else {})


def _ingress(base: Foundation, settings: aws.Ingress | None, health_path: str) -> Ingress | None:
    if settings is None or base.ingress is None:
        return None
    return base.ingress(settings.request(health_path))
