"""Report of a change to a stack: models, infrastructure, cost, budget and policies. It does no input or output."""
