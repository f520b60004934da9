"""Churn model of a neural network, trained with PyTorch on a GPU if there is one, and served by ONNX Runtime."""

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from training.fit import network
from training.project import Parameters, Project, Rows
from training.projects.churn import CATEGORIES, COLUMNS, INTEGERS, NUMBERS, SPLIT, TARGET


class Network(Parameters):
    """Parameters of the network."""

    width: int = Field(default=64, ge=1, le=4096, description="units of each hidden layer")
    depth: int = Field(default=2, ge=1, le=20, description="number of hidden layers")
    dropout: float = Field(default=0.3, ge=0, lt=1, description="share of the units that a step leaves out")
    learning_rate: float = Field(default=0.001, gt=0, le=1, description="learning rate of Adam")
    batch_size: int = Field(default=256, ge=1, description="rows of one step")
    epochs: int = Field(default=100, ge=1, le=100_000, description="largest number of epochs")
    patience: int = Field(default=10, ge=1, description="number of epochs without gain after which it stops")
    validation_share: float = Field(default=0.15, gt=0, lt=1, description="share of the rows that says when to stop")
    processes: int = Field(default=0, ge=0, le=64, description="training processes; 0: one per GPU, or one on the CPU")


def fit(data: Rows, parameters: Network) -> Pipeline:
    """Fit a network. A missing number becomes the median, and an unknown category is ignored."""
    learn, stop = data.divide(parameters.validation_share)
    numbers, categories = ([column.name for column in columns] for columns in ([*INTEGERS, *NUMBERS], CATEGORIES))
    scale = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    encode = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    prepare = ColumnTransformer([("numbers", scale, numbers), ("categories", encode, categories)], sparse_threshold=0)
    prepare.fit(learn.features)

    def table(rows: Rows) -> network.Table:
        labels = pd.Categorical(rows.labels, categories=TARGET.labels).codes
        return network.Table(features=np.asarray(prepare.transform(rows.features)), labels=np.asarray(labels))

    plan = network.Plan(
        layers=[parameters.width] * parameters.depth,
        dropout=parameters.dropout,
        learning_rate=parameters.learning_rate,
        batch_size=parameters.batch_size,
        epochs=parameters.epochs,
        patience=parameters.patience,
        seed=data.seed,
        gpus=data.gpus,
        processes=parameters.processes,
    )
    trained = network.train(plan, table(learn), table(stop), TARGET.labels, data.checkpoints)
    data.facts.update(device=trained.device, epochs_trained=trained.epochs)
    return Pipeline([("prepare", prepare), ("network", trained.estimator)])


PROJECT = Project(
    model="churn-net",
    columns=COLUMNS,
    target=TARGET,
    parameters=Network,
    fit=fit,
    split=SPLIT,
    slices=["contract"],
    trusted=["onnx_estimators.classifier.OnnxClassifier"],
    packages=["onnxruntime"],
)
