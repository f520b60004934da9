from training.validation.limits import Limits
from training.validation.script_checks import logged


def refused(limits: Limits, new: dict[str, float], old: dict[str, float]) -> list[str]:
    return [check.said for check in logged(2, 1, {2: new, 1: old}, limits) if check.outcome == "refused"]


def test_a_metric_of_a_script_is_better_when_smaller_if_its_largest_value_is_limited() -> None:
    limits = Limits(most={"perplexity": 30}, compared=("perplexity",), any_loss=0.1)
    assert refused(limits, {"perplexity": 18}, {"perplexity": 20}) == []
    (said,) = refused(limits, {"perplexity": 23}, {"perplexity": 20})
    assert said.startswith("perplexity (smaller is better) 23 after 20 of version 1")
    assert refused(limits, {"perplexity": 31}, {"perplexity": 30}) == [
        "perplexity is 31, as its run logged it, and must be at most 30"
    ]


def test_any_other_metric_of_a_script_is_better_when_larger_and_its_loss_is_a_share() -> None:
    limits = Limits(compared=("profit",), any_loss=0.1)
    assert refused(limits, {"profit": 950}, {"profit": 1000}) == []
    assert len(refused(limits, {"profit": 850}, {"profit": 1000})) == 1
