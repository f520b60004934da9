"""Amounts of US dollars as people read them."""


def usd(amount: float | None) -> str:
    """Format an amount as `$1,234.50`, and None as `not estimated`."""
    return "not estimated" if amount is None else f"${amount:,.2f}"


def signed(amount: float) -> str:
    """Format a difference as `+$12.00` or `-$3.50`."""
    return f"{'-' if round(amount, 2) < 0 else '+'}${abs(amount):,.2f}"
