"""Trains a feed-forward network with PyTorch, on the CPU or on all GPUs of the pod, and exports it to ONNX.

PyTorch is only in the image `images/training-gpu`, so this module imports it when a training starts. A project imports
this module as any other.
"""

import io
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from itertools import pairwise
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from onnx_estimators import classifier, regressor
from onnx_estimators.classifier import OnnxClassifier
from onnx_estimators.regressor import OnnxRegressor
from onnx_estimators.session import INPUT, compute
from training.project import Checkpoints, ProjectError

LOG = logging.getLogger("training")
Matrix = NDArray[Any]
TOLERANCE = 1e-5
"""Largest difference between an output of the ONNX network and of PyTorch's, absolute plus as a share of PyTorch's. The
output is a probability, or a number in units of the target's standard deviation."""


class _Network(Protocol):
    """Module of PyTorch, whose types are not used because only one image has PyTorch."""

    def __call__(self, rows: object) -> object: ...
    def eval(self) -> "_Network": ...
    def train(self) -> "_Network": ...
    def to(self, device: object) -> "_Network": ...
    def parameters(self) -> object: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> object: ...


@cache
def _torch(name: str = "torch") -> ModuleType:
    """Return PyTorch, or a module that comes with it.

    Raises:
        ProjectError: PyTorch is not installed.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as missing:
        raise ProjectError(
            "PyTorch is not installed, and the project trains a network; set `image` of the training job to an image "
            "that was built from images/training-gpu, or install torch"
        ) from missing


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Settings of a training."""

    layers: Sequence[int]
    """Width of each hidden layer."""
    dropout: float
    """Share of the units that a training step leaves out, from 0 to below 1."""
    learning_rate: float
    """Learning rate of Adam."""
    batch_size: int
    """Rows of one step, over all processes."""
    epochs: int
    """Largest number of epochs."""
    patience: int
    """Number of epochs without a smaller validation loss after which the training stops."""
    seed: int
    """Seed of the weights, of the order of the rows and of the dropout."""
    gpus: int
    """Number of GPUs that the pod was given; 0 for none."""
    processes: int = 0
    """Number of training processes; 0 for one per GPU, or one on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in the form that a network takes."""

    features: Matrix
    """Numbers, rows by features."""
    labels: Matrix
    """Index of each row's label or, for a regression, its number."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Result of a training."""

    estimator: OnnxClassifier | OnnxRegressor
    """The network with the smallest validation loss."""
    epochs: int
    """Number of epochs that were trained, before and after an interruption."""
    device: str
    """Device that trained: `cpu`, or the name of the GPU with their number."""


@dataclass(frozen=True, kw_only=True)
class _Work:
    """Everything that one training process needs."""

    plan: Plan
    learn: Table
    stop: Table
    sizes: Sequence[int]
    """Number of features, width of each hidden layer, and number of labels (1 for a regression)."""
    device: str
    """PyTorch's name of the device."""
    checkpoints: Checkpoints
    """Place of the states."""
    state: bytes | None
    """State from which the training continues; None to start with the first epoch."""
    result: Path
    """File that the first process writes."""


@dataclass(kw_only=True)
class _Progress:
    """State of a training that the network and its optimizer do not hold."""

    best: dict[str, Any]
    """Weights of the network with the smallest validation loss."""
    least: float = float("inf")
    """That loss."""
    last: float = float("inf")
    """Validation loss after the last epoch."""
    epoch: int = 0
    """Number of epochs so far."""
    worse: int = 0
    """Number of epochs since the smallest loss."""

    def add(self, loss: float, network: _Network) -> None:
        """Count an epoch after which the network has this validation loss."""
        self.epoch, self.last, self.worse = self.epoch + 1, loss, self.worse + 1
        if loss < self.least:
            self.best, self.least, self.worse = _copy(network), loss, 0


def train(plan: Plan, learn: Table, stop: Table, labels: Sequence[str], checkpoints: Checkpoints) -> Trained:
    """Train a network on `learn` until its loss on `stop` does not fall any more.

    After each epoch the state is saved to `checkpoints`. A training that was interrupted continues after the last saved
    epoch, and on the CPU it ends with the same network as an uninterrupted one.

    Args:
        plan: settings.
        learn: rows to learn from.
        stop: rows that decide when to stop.
        labels: labels, in the order of their indexes; empty for a regression.
        checkpoints: place of the states.

    Raises:
        ProjectError: the pod has GPUs, and PyTorch cannot use them; or the validation loss is no finite number.
    """
    torch = _torch()
    device, name = _device(plan)
    processes = plan.processes or (max(plan.gpus, 1) if device == "cuda" else 1)
    LOG.info("training on %s in %d process%s", name, processes, "" if processes == 1 else "es")
    center, scale = (0.0, 1.0) if labels else (float(learn.labels.mean()), float(learn.labels.std()) or 1.0)
    if not labels:
        learn, stop = (replace(part, labels=(part.labels - center) / scale) for part in (learn, stop))
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "trained"
        sizes = [learn.features.shape[1], *plan.layers, len(labels) or 1]
        work = _Work(
            plan=plan, learn=learn, stop=stop, sizes=sizes, device=device, checkpoints=checkpoints,
            state=_saved(checkpoints, sizes), result=result,
        )  # fmt: skip
        if processes == 1:
            _train(work, 0, 1)
        else:
            _launch(work, processes)
        progress = _Progress(**_read(result.read_bytes()))
    if not isfinite(progress.least):
        raise ProjectError(
            f"the validation loss is {progress.last:g} after epoch {progress.epoch}, so the training cannot go on; "
            "fill missing features and scale all of them before the training, or lower learning_rate "
            f"({plan.learning_rate:g})"
        )
    if not isfinite(progress.last):
        LOG.warning(
            "the validation loss is %g after epoch %d; the network of a former epoch is kept, with a loss of %.5f",
            progress.last, progress.epoch, progress.least,
        )  # fmt: skip
    network = _network(work)
    network.load_state_dict(progress.best)
    if labels:
        network = torch.nn.Sequential(network, torch.nn.Softmax(dim=1))
        made = OnnxClassifier(_as_onnx(network, classifier.OUTPUT, stop.features), labels)
    else:
        made = OnnxRegressor(_as_onnx(network, regressor.OUTPUT, stop.features), center, scale)
    return Trained(estimator=made, epochs=progress.epoch, device=name)


def _device(plan: Plan) -> tuple[str, str]:
    """Return PyTorch's name of the device, and a name for people."""
    torch = _torch()
    seen: int = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if seen < plan.gpus:
        raise ProjectError(
            f"the pod has {plan.gpus} GPUs, and PyTorch {torch.__version__} sees {seen}; use an image whose PyTorch "
            f"fits the node's driver (this one is for CUDA {torch.version.cuda or 'nothing'}), or leave `gpus` out"
        )
    if not seen:
        return "cpu", "cpu"
    count = f"{plan.gpus} x " if plan.gpus > 1 else ""
    return "cuda", f"{count}{torch.cuda.get_device_name(0)}"


def _launch(work: _Work, processes: int) -> None:
    """Train in several processes of this machine, which `torchrun`'s launcher starts and watches."""
    launcher = _torch("torch.distributed.launcher.api")
    config = launcher.LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=processes, rdzv_backend="c10d", rdzv_endpoint="127.0.0.1:0",
        max_restarts=0, start_method="spawn", run_id="training",
    )  # fmt: skip
    launcher.elastic_launch(config, _join)(work)


def _join(work: _Work) -> None:
    """Run one of several training processes."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    distributed = _torch("torch.distributed")
    distributed.init_process_group("nccl" if work.device == "cuda" else "gloo")
    try:
        _train(work, distributed.get_rank(), distributed.get_world_size())
    finally:
        distributed.destroy_process_group()


def _train(work: _Work, rank: int, world: int) -> None:
    """Train as process `rank` of `world` processes. All of them see the same validation loss, so all stop together."""
    torch = _torch()
    plan, device = work.plan, torch.device(work.device, rank) if work.device == "cuda" else torch.device("cpu")
    torch.manual_seed(plan.seed)
    network = _network(work).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=plan.learning_rate)
    progress = _Progress(best=_copy(network))
    if work.state is not None:
        saved = _read(work.state)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        progress = _Progress(**saved["progress"])
    features, labels = (torch.as_tensor(part, device=device) for part in _tensors(work, work.learn))
    held = tuple(torch.as_tensor(part, device=device) for part in _tensors(work, work.stop))
    step = torch.nn.parallel.DistributedDataParallel(network) if world > 1 else network
    loss_of = torch.nn.CrossEntropyLoss() if work.sizes[-1] > 1 else torch.nn.MSELoss()
    while progress.epoch < plan.epochs and progress.worse < plan.patience:
        # Each epoch has its own seed, so that a training that continues draws the same numbers.
        seed = plan.seed * 100_003 + progress.epoch
        torch.manual_seed(seed * world + rank)
        order = np.random.default_rng(seed).permutation(len(features))
        network.train()
        for rows in _batches(order, plan.batch_size, rank, world):
            chosen = torch.as_tensor(rows, device=device)
            optimizer.zero_grad()
            loss_of(step(features[chosen]), labels[chosen]).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            progress.add(float(loss_of(network(held[0]), held[1])), network)
        if rank == 0:
            LOG.info("epoch %d: validation loss %.5f", progress.epoch, progress.last)
        if not isfinite(progress.last):
            break
        if rank == 0:
            states = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            work.checkpoints.save(_written({**states, "progress": vars(progress), "sizes": work.sizes}))
    if rank == 0:
        work.result.write_bytes(_written(vars(progress)))


def _saved(checkpoints: Checkpoints, sizes: Sequence[int]) -> bytes | None:
    """Return the state after the last saved epoch; None if there is none, or it is that of another network."""
    content = checkpoints.latest()
    if content is None:
        return None
    state = _read(content)
    if state["sizes"] != sizes:
        LOG.warning("the checkpoint is that of a network of another size; the training starts with the first epoch")
        return None
    LOG.info("continuing after epoch %d", state["progress"]["epoch"])
    return content


def _network(work: _Work) -> _Network:
    """Return the network without its last step, which makes probabilities of its output."""
    torch = _torch()
    sizes, parts = work.sizes, list[object]()
    for before, after in pairwise(sizes[:-1]):
        parts += [torch.nn.Linear(before, after), torch.nn.ReLU(), torch.nn.Dropout(work.plan.dropout)]
    return torch.nn.Sequential(*parts, torch.nn.Linear(*sizes[-2:]))


def _tensors(work: _Work, table: Table) -> tuple[Matrix, Matrix]:
    labels = table.labels.astype(np.int64) if work.sizes[-1] > 1 else table.labels.astype(np.float32).reshape(-1, 1)
    return table.features.astype(np.float32), labels


def _batches(order: Matrix, size: int, rank: int, world: int) -> list[Matrix]:
    """Return the rows of each step of one process. Each process gets as many; up to `world` - 1 rows are left out."""
    mine = order[: len(order) // world * world][rank::world]
    share = max(size // world, 1)
    return [mine[start : start + share] for start in range(0, len(mine), share)]


def _copy(network: _Network) -> dict[str, Any]:
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def _written(state: dict[str, Any]) -> bytes:
    torch = _torch()
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _read(content: bytes) -> dict[str, Any]:
    """Return a state. Only tensors and plain values are loaded, so a checkpoint cannot run code."""
    torch = _torch()
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)


def _as_onnx(network: _Network, output: str, features: Matrix) -> bytes:
    """Return the network in ONNX format, after a comparison of both on these rows.

    Raises:
        RuntimeError: an output differs by more than TOLERANCE.
    """
    torch = _torch()
    for chatty in ("torch.onnx", "onnxscript", "onnx_ir"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        torch.onnx.export(
            network.eval(), (torch.zeros(2, features.shape[1]),), str(file), input_names=[INPUT], output_names=[output],
            dynamic_shapes=({0: torch.export.Dim("count")},), external_data=False, dynamo=True, verbose=False,
        )  # fmt: skip
        content = _without_notes(file)
    with torch.no_grad():
        expected = cast("Any", network(torch.as_tensor(features.astype(np.float32)))).numpy()
    found = compute(content, output, features)
    if not np.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
        apart = float(np.abs(found - expected).max())
        raise RuntimeError(f"the ONNX network and PyTorch's differ by {apart:g} in an output")
    return content


def _without_notes(file: Path) -> bytes:
    """Return a network in ONNX format without the exporter's notes, which hold paths of this machine."""
    onnx = _torch("onnx")
    model = onnx.load(file)
    for noted in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.input):
        noted.ClearField("metadata_props")
        noted.doc_string = ""
    return model.SerializeToString()
