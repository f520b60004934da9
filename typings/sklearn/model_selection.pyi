import pandas as pd

def train_test_split(
    table: pd.DataFrame, *, test_size: float, random_state: int, stratify: pd.Series[str]
) -> tuple[pd.DataFrame, pd.DataFrame]: ...
