"""Estimators that have a fast predictor: their classes, and the allowed values of every argument.

A class, an argument or a value that is not listed here has no fast predictor; the server calls its own `predict`. So an
argument that a new library release adds disables the fast predictor until the argument is checked and listed here.
"""

from collections.abc import Callable, Mapping
from math import isnan
from typing import Any, TypeAlias, cast

import numpy as np

Rule: TypeAlias = Callable[[Any], bool]


def _anything(_: object) -> bool:
    return True


def _nothing(value: object) -> bool:
    """Return True for None, False and empty collections."""
    return not value


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and isnan(value)


def _one_of(*allowed: object) -> Rule:
    return lambda value: isinstance(value, str | None) and value in allowed


def _rules(free: str, **rules: Rule) -> Mapping[str, Rule]:
    """Return the rules of a class. Arguments in `free` matter only in training, or act through stored values."""
    return dict.fromkeys(free.split(), _anything) | rules


def _float64(value: object) -> bool:
    return np.dtype(cast("Any", value)) == np.float64


TREE = """
criterion splitter max_depth min_samples_split min_samples_leaf min_weight_fraction_leaf max_features random_state
max_leaf_nodes min_impurity_decrease class_weight ccp_alpha monotonic_cst
"""
FOREST = f"{TREE} n_estimators bootstrap oob_score n_jobs verbose warm_start max_samples"
LINE = "alpha l1_ratio fit_intercept precompute copy_X max_iter tol warm_start positive random_state selection solver"
ENCODER: Mapping[str, Rule] = _rules("categories", dtype=_float64, min_frequency=_nothing, max_categories=_nothing)
LIGHTGBM = _rules(
    """
    boosting_type num_leaves max_depth learning_rate n_estimators subsample_for_bin class_weight min_split_gain
    min_child_weight min_child_samples subsample subsample_freq colsample_bytree reg_alpha reg_lambda random_state
    n_jobs importance_type
    bagging_fraction bagging_freq bagging_seed cat_l2 cat_smooth data_random_seed deterministic drop_rate drop_seed
    early_stopping_round early_stopping_rounds eval_metric extra_trees feature_fraction feature_fraction_bynode
    feature_fraction_seed force_col_wise force_row_wise is_unbalance lambda_l1 lambda_l2 linear_lambda linear_tree
    max_bin max_cat_threshold max_cat_to_onehot max_delta_step max_drop metric min_data_in_bin min_data_in_leaf
    min_data_per_group min_gain_to_split min_sum_hessian_in_leaf monotone_constraints neg_bagging_fraction num_class
    num_threads other_rate path_smooth pos_bagging_fraction scale_pos_weight seed skip_drop top_rate
    tweedie_variance_power alpha use_missing verbose verbosity zero_as_missing
    """,
    # A user-defined objective replaces the link function.
    objective=lambda value: not callable(value),
)
XGBOOST = _rules(
    """
    base_score callbacks colsample_bylevel colsample_bynode colsample_bytree device early_stopping_rounds
    enable_categorical eval_metric feature_weights gamma grow_policy importance_type interaction_constraints
    learning_rate max_bin max_cat_threshold max_cat_to_onehot max_delta_step max_depth max_leaves min_child_weight
    monotone_constraints multi_strategy n_estimators n_jobs num_parallel_tree objective random_state reg_alpha
    reg_lambda sampling_method scale_pos_weight subsample tree_method use_label_encoder validate_parameters verbosity
    """,
    booster=_one_of(None, "gbtree", "dart"),
    # Not "c", which means that the model encodes categories.
    feature_types=lambda value: set(value or ()) <= {"float", "i", "int", "q"},
    missing=_is_nan,
)
ARGUMENTS: Mapping[tuple[str, str], Mapping[str, Rule]] = {
    ("sklearn", "Pipeline"): _rules("steps memory verbose", transform_input=_nothing),
    ("sklearn", "ColumnTransformer"): _rules(
        # Training decided whether the result is sparse: `sparse_output_`.
        "transformers remainder sparse_threshold n_jobs verbose verbose_feature_names_out force_int_remainder_cols",
        transformer_weights=_nothing,
    ),
    ("sklearn", "FunctionTransformer"): _rules(
        "inverse_func accept_sparse check_inverse feature_names_out inv_kw_args",
        func=_nothing,
        validate=_nothing,
        kw_args=_nothing,
    ),
    ("sklearn", "StandardScaler"): _rules("copy with_mean with_std"),
    ("sklearn", "SimpleImputer"): _rules(
        "fill_value copy keep_empty_features",
        missing_values=_is_nan,
        strategy=_one_of("mean", "median", "most_frequent", "constant"),
        add_indicator=_nothing,
    ),
    ("sklearn", "OneHotEncoder"): {
        **ENCODER,
        **_rules("sparse_output feature_name_combiner", drop=_nothing, handle_unknown=_one_of("error", "ignore")),
    },
    ("sklearn", "OrdinalEncoder"): {
        **ENCODER,
        **_rules("unknown_value encoded_missing_value", handle_unknown=_one_of("error", "use_encoded_value")),
    },
    ("sklearn", "LogisticRegression"): _rules(
        "penalty C l1_ratio dual tol fit_intercept intercept_scaling class_weight random_state solver max_iter verbose "
        "warm_start n_jobs"
    ),
    ("sklearn", "LinearRegression"): _rules("fit_intercept copy_X tol n_jobs positive"),
    **{("sklearn", name): _rules(LINE) for name in ("ElasticNet", "Lasso", "Ridge")},
    **{("sklearn", name): _rules(TREE) for name in ("DecisionTreeClassifier", "DecisionTreeRegressor")},
    **{
        ("sklearn", f"{name}{kind}"): _rules(FOREST)
        for name in ("ExtraTrees", "RandomForest")
        for kind in ("Classifier", "Regressor")
    },
    **{("lightgbm", name): LIGHTGBM for name in ("LGBMClassifier", "LGBMRanker", "LGBMRegressor")},
    **{
        ("xgboost", name): XGBOOST
        for name in ("XGBClassifier", "XGBRanker", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor")
    },
    ("onnx_estimators", "OnnxClassifier"): _rules("network labels"),
    ("onnx_estimators", "OnnxRegressor"): _rules("network center scale"),
    ("lightgbm", "Booster"): {},
    ("xgboost", "Booster"): {},
}


def known(estimator: object) -> str:
    """Return the name of the estimator's class if the class and all its arguments are listed, else an empty string."""
    kind = type(estimator)
    rules = ARGUMENTS.get((kind.__module__.partition(".")[0], kind.__name__))
    # A method set on the object itself replaces the method of its class.
    changed = any(callable(getattr(kind, name, None)) for name in getattr(estimator, "__dict__", ()))
    output = cast("dict[str, object]", getattr(estimator, "_sklearn_output_config", {}))
    if rules is None or changed or set(output.values()) - {None, "default"}:
        return ""
    if not rules:
        return kind.__name__
    arguments = cast("dict[str, object]", cast("Any", estimator).get_params(deep=False))
    fits = all(name in rules and rules[name](value) for name, value in arguments.items())
    return kind.__name__ if fits else ""
