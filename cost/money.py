"""Amounts of US dollars as people read them."""


def usd(amount: float | None) -> str:
    """Such as `$1,234.50`; `not estimated` for None, which is no zero."""
    return "not estimated" if amount is None else f"${amount:,.2f}"


def signed(amount: float) -> str:
    """A difference, such as `+$12.00` or `-$3.50`."""
    return f"{'-' if round(amount, 2) < 0 else '+'}${abs(amount):,.2f}"
