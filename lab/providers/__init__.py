"""Stand-ins for resource plugins that a machine without internet cannot download.

`kubernetes` works on a real cluster; `recording` works on nothing and writes down what it was asked.
"""
